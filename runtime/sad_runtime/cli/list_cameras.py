"""`sad-runtime --list-cameras`: every camera this box can see, as the URI to write after --camera."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from sad_runtime.cameras.listing import Listing, in_children, producers_in

PRODUCERS = "GENICAM_GENTL64_PATH"


def list_cameras(*, as_json: bool = False) -> int:
    """Returns the exit code: 0 also where there is none, for none is an answer."""
    producers = producers_in(os.environ.get(PRODUCERS, ""))
    found = in_children(producers)
    if as_json:
        print(json.dumps({"kinds": [asdict(listing) for listing in found]}))
    else:
        print(table(found, any_producers=bool(producers)))
    return 0


def table(found: list[Listing], *, any_producers: bool) -> str:
    """One camera a line, then a line for each kind that shows none."""
    cameras = [(camera.uri, camera) for listing in found for camera in listing.cameras]
    width = max((len(uri) for uri, _ in cameras), default=0)
    lines = [
        "  ".join(part for part in (uri.ljust(width), camera.model, _serial(camera.serial), camera.standing) if part)
        for uri, camera in cameras
    ]
    lines += [f"{listing.kind}: {listing.trouble or 'none found'}" for listing in found if not listing.cameras]
    if not any_producers:
        lines.append(f"genicam: no producer; {PRODUCERS} names the folders of .cti files, as their makers set it")
    return "\n".join(lines)


def _serial(serial: str) -> str:
    return f"serial {serial}" if serial else ""
