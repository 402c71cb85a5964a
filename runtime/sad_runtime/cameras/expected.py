"""The settings of a camera that nobody can set from here: what its pictures are expected to be, and a check of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sad_runtime.cameras.base import Setting
from sad_runtime.errors import CameraError, UsageError

WIDTH, HEIGHT = "width_px", "height_px"


@dataclass(frozen=True)
class ExpectedSize:
    uri: str
    width_px: int | None
    height_px: int | None

    def check(self, width: int, height: int) -> None:
        """Raises CameraError where the pictures have another size: another camera, or set up anew."""
        if self.width_px not in (None, width) or self.height_px not in (None, height):
            raise CameraError(
                f"camera {self.uri}: its pictures are {width}x{height}, expected "
                f"{self.width_px or 'any'}x{self.height_px or 'any'}. Is it the right camera? Set it there, or mend "
                f"{WIDTH} and {HEIGHT} under camera.settings"
            )


def expected_size(uri: str, settings: Mapping[str, Setting], others: tuple[str, ...] = ()) -> ExpectedSize:
    """What `settings` say of the size. Raises UsageError for a key that is neither that nor one of `others`."""
    known = (WIDTH, HEIGHT, *others)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UsageError(f"camera {uri}: no setting {', '.join(unknown)}; there are {', '.join(known)}")
    return ExpectedSize(uri, whole_number(uri, settings, WIDTH), whole_number(uri, settings, HEIGHT))


def whole_number(uri: str, settings: Mapping[str, Setting], name: str) -> int | None:
    """The setting `name` as a whole number above 0, None where it is not given. Raises UsageError."""
    value = settings.get(name)
    if value is None:
        return None
    if isinstance(value, (bool, str)) or not value > 0 or not float(value).is_integer():
        raise UsageError(f"camera {uri}: {name} takes a whole number above 0, got {value!r}")
    return int(value)
