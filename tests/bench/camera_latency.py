"""From a 5-megapixel picture to the decision in a subscriber's hands, step by step, at 10, 30 and 60 a second.

    python tests/bench/camera_latency.py [--quick]

The camera is a GStreamer pipeline that repeats one rendered part at 2448 x 2048, grey, and stamps each picture when it
is due; so reading, the grabber process, shared memory and everything behind are the real ones, exposure and the cable
are not there. `grab` is from the stamp to the station's hands. Needs GStreamer and PyGObject (docs/cameras.md).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from figure import Figure, spread, table
from line import Line
from machine import Others, machine, warn_if_busy
from material import Material, made

from sad_runtime.pictures import picture_files, read_picture
from sad_runtime.subscriber import Subscriber

WIDTH_PX, HEIGHT_PX = 2448, 2048
RATES = (10, 30, 60)
SECONDS, QUICK_SECONDS = 20, 3
CONFIG = "scene: {frozen_after: 0}\ntrigger: {deadline_ms: 1000}\npictures: {keep: []}\n"
PIPELINE = (
    "gst://filesrc location={picture} ! pngdec ! videoconvert ! video/x-raw,format=GRAY8 ! imagefreeze is-live=true "
    "! video/x-raw,framerate={rate}/1"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pictures, to see that it runs")
    seconds = QUICK_SECONDS if parser.parse_args().quick else SECONDS
    warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="sad-bench-") as folder, Others() as others:
        material = made(Path(folder) / "material", 8)
        tables = [_measured(material, Path(folder), rate, seconds) for rate in RATES]
        facts = machine()
    print("\n".join(f"{name:<9} {value}" for name, value in facts.items()))
    print(f"{'load':<9} {others.note}\n")
    print("\n\n".join(tables))
    return 0


def _measured(material: Material, folder: Path, rate: int, seconds: int) -> str:
    picture, config = folder / "part.png", folder / "station.yaml"
    part = read_picture(picture_files(material.pictures, recursive=False)[0])
    large = cv2.resize(part, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(picture), cv2.cvtColor(large, cv2.COLOR_BGR2GRAY))
    config.write_text(CONFIG)
    times: dict[str, list[float]] = defaultdict(list)
    ids: list[int] = []
    camera = PIPELINE.format(picture=picture, rate=rate)
    options = ("--backend", "openvino", "--config", str(config))
    with Line(material.bundle, camera, *options) as line, Subscriber(line.decisions) as feed:
        for _ in range(rate):  # the first second is not counted
            line.next_decision(feed)
        for _ in range(rate * seconds):
            decision = line.next_decision(feed)
            if decision.verdict.value == "INVALID":
                raise RuntimeError(f"part {decision.seq} came out INVALID {decision.reason.value}\n{line.log[-1500:]}")
            total_ms = feed.age_ms(decision)
            ids.append(decision.frame_id or 0)
            times["stamp of the picture to a subscriber"].append(total_ms)
            for step in ("wait", "pre", "infer", "post", "publish"):
                times["  grab: stamp to the station" if step == "wait" else f"  {step}"].append(
                    decision.latency_ms[step]
                )
            times["  transport"].append(total_ms - decision.age_ms)
    missed = int(np.sum(np.diff(ids) - 1))
    figures = [Figure(name, "ms", spread(values)) for name, values in times.items()]
    return table(
        f"{rate} pictures a second, {WIDTH_PX} x {HEIGHT_PX} grey; {missed} of {len(ids)} passed over", figures
    )


if __name__ == "__main__":
    sys.exit(main())
