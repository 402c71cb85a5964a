"""The pictures a threshold is set on or checked with: a folder of camera frames, or those a bundle carries.

All come out at model size, so what the backend sees is what it sees on the line. Pictures that cannot be used are an
error naming every one of them; an exact copy of another counts once, because copies add no evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sad_runtime.bundle import Bundle
from sad_runtime.cli.progress import progressing
from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec, Roi
from sad_runtime.pictures import decode_picture, picture_files, read_picture
from sad_runtime.preprocess import Picture, model_picture

FOLDER = "calibration"


@dataclass
class Samples:
    """Pictures by name; `by_digest` and `copies` fill while `pictures` reads them one after the other."""

    what: str
    names: list[str]
    read: Callable[[str], Picture]
    """Gives a picture at model size, or raises DataError."""
    by_digest: dict[str, str] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)

    def pictures(self) -> Iterator[Picture]:
        """Every distinct picture, (H, W, C) uint8. Raises DataError at the end if any could not be used."""
        unusable = []
        for name in progressing(self.names, self.what):
            try:
                picture = self.read(name)
            except DataError as error:
                unusable.append(str(error))
                continue
            digest = hashlib.sha256(picture.tobytes()).hexdigest()
            if digest in self.by_digest:
                self.copies.append(name)
                continue
            self.by_digest[digest] = name
            yield picture
        if unusable:
            raise DataError(
                f"{len(unusable)} of {len(self.names)} {self.what} cannot be used; mend or remove them:\n  "
                + "\n  ".join(unusable)
            )

    @property
    def used(self) -> list[str]:
        """Names of the distinct pictures, in the order read."""
        return list(self.by_digest.values())


def samples_from_bundle(bundle: Bundle) -> Samples:
    """The good calibration pictures inside the bundle, at model size already."""
    names = bundle.names(FOLDER)
    if not names:
        raise DataError(
            f"{bundle.path}: carries no calibration pictures (exported with --no-pictures). "
            "Give a folder of good parts: --good DIR"
        )
    spec = bundle.manifest.input
    return Samples(
        "calibration pictures",
        names,
        lambda name: model_picture(decode_picture(bundle.read(name), f"{bundle.path}: {name}"), spec),
    )


def samples_from_folder(folder: Path, spec: InputSpec, roi: Roi | None, what: str, *, recursive: bool) -> Samples:
    """Full camera frames in `folder`, cropped to `roi` and resized. `what` names them: "good parts"."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of {what}")
    files = picture_files(folder, recursive=recursive)
    if not files:
        below = sorted({path.parent for path in picture_files(folder, recursive=True)}, key=_likely_good)
        hint = f"; name the folder that holds them, for example {below[0]}" if below else ""
        raise DataError(f"{folder}: no pictures of {what} (png, jpg, bmp, tiff){hint}")

    def read(name: str) -> Picture:
        picture = read_picture(Path(name))
        try:
            return model_picture(picture, spec, roi)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None

    return Samples(what, [str(path) for path in files], read)


def _likely_good(folder: Path) -> tuple[bool, Path]:
    """Sorts `train/good` before the folders of a data set that hold something else."""
    return (folder.name != "good", folder)
