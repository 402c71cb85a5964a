"""Which pictures of a `demo:` camera are of bad parts: what nobody on a real line can know.

Asks the camera itself, so that truth and picture have one source. It needs numpy and OpenCV, unlike the rest of
`plc/`, and imports them only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from sad_runtime.errors import UsageError

IsBad = Callable[[int], bool]
"""By frame_id."""


def truth_of(camera: str) -> IsBad:
    """`camera`: the URI that the station was started with. Raises UsageError for one that is not `demo:`."""
    if not camera.startswith("demo:"):
        raise UsageError(f"--camera {camera}: only of a demo: camera is it known which parts are bad; leave it out")
    from sad_runtime.cameras.demo.parts import GOOD
    from sad_runtime.cameras.rendered import RenderedCamera
    from sad_runtime.cameras.table import raw_camera_for

    rendered = raw_camera_for(camera)
    if not isinstance(rendered, RenderedCamera):
        raise UsageError(f"--camera {camera}: not a camera that renders parts")
    truth = rendered.truth
    return lambda frame_id: truth(frame_id) != GOOD


def period_of(camera: str) -> float:
    """Seconds from one picture to the next of a camera that `truth_of` takes."""
    from sad_runtime.cameras.rendered import DemoOptions

    named = parse_qs(urlsplit(camera).query).get("fps")
    fps = float(named[-1]) if named else DemoOptions().fps
    return 1 / fps if fps > 0 else 0.0
