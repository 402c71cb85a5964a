"""A station for hours: does it keep its memory, its descriptors, its threads, its disk, its latency, and every record?

    python tests/bench/soak.py --parts 1000000                          the stand-in backend at full speed
    python tests/bench/soak.py --minutes 60 --bundle nsa.sad --camera 'demo:washer?fps=20&drop=1'
    python tests/bench/soak.py --minutes 10 --json figures.json

A real `sad-runtime` with its grabber, journal, kept pictures and feed, limits set so low that all of them bite. A
subscriber takes every decision, and asks again for those that it missed. Samples are taken every few seconds; slopes
are fitted to the second half, after caches have filled. Exit code 1 when something grew, was lost or came twice.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import psutil
from line import Line
from machine import Others, machine
from material import Material, made

from sad_runtime.messages import Decision
from sad_runtime.subscriber import Subscriber

SAMPLE_S = 5.0
KEEP_ROWS, PICTURES_MB = 50_000, 20
CONFIG = """\
journal: {{keep_rows: {rows}}}
pictures: {{keep: [PASS, FAIL, INVALID], max_mb: {mb}}}
trigger: {{deadline_ms: 2000}}
"""
MEMORY_MB_AN_HOUR, HANDLES_AN_HOUR = 10.0, 1.0
LEAST_MB, LEAST_HANDLES = 8.0, 3
"""Less is no growth in a run of half a minute: caches still fill, and a sample may meet a file that is just open. A
leak of 1 kB or of a handle in a hundred parts is more, within 20,000."""
"""Above this something leaks: a station runs for months."""
JOURNAL_MB = 2.0 * KEEP_ROWS / 1000 + 20
"""2 kB a row, and the write-ahead log."""


@dataclass
class Sample:
    at_s: float
    parts: int
    memory_mb: float
    """Resident, of the station and its grabber."""
    descriptors: int
    threads: int
    journal_mb: float
    pictures_mb: float


@dataclass
class Soak:
    samples: list[Sample] = field(default_factory=list)
    latencies_ms: list[list[float]] = field(default_factory=list)
    """By sample: from capture to the subscriber."""
    verdicts: Counter[str] = field(default_factory=Counter)
    recovered: int = 0
    """Asked again, since the subscriber was too slow: not a fault of the station."""
    twice: int = 0
    lost: int = 0
    last_seq: int = 0

    def take(self, decision: Decision, age_ms: float, recovered: bool) -> None:
        if decision.seq <= self.last_seq:
            self.twice += 1
            return
        self.lost += decision.seq - self.last_seq - 1
        self.last_seq = decision.seq
        self.verdicts[f"{decision.verdict.value} {decision.reason.value}"] += 1
        self.recovered += recovered
        if not recovered:
            self.latencies_ms[-1].append(age_ms)


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="sad-soak-") as folder, Others() as others:
        material = made(Path(folder) / "material", 8)
        soak = _soaked(arguments, material, Path(folder))
        facts = machine() | {"load": others.note}
    found = _figures(soak)
    print("\n".join(f"{name:<10} {value}" for name, value in facts.items()))
    print("\n".join(f"{name:<44} {value}" for name, value in found.items()))
    wrong = _wrong(soak, found)
    print("\n".join(wrong) if wrong else "nothing grew, nothing was lost, nothing came twice")
    if arguments.json is not None:
        whole = {"machine": facts, "figures": found, "wrong": wrong, "samples": [asdict(one) for one in soak.samples]}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=0, metavar="N", help="end after so many")
    parser.add_argument("--minutes", type=float, default=0.0, metavar="M", help="or after so long")
    parser.add_argument("--bundle", type=Path, metavar="FILE", help="with its own backend; default: the stand-in")
    parser.add_argument("--camera", metavar="URI", help="default: small pictures from a folder, at full speed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write figures and samples there")
    arguments = parser.parse_args()
    if not (arguments.parts or arguments.minutes):
        parser.error("how long? --parts N or --minutes M")
    return arguments


def _soaked(arguments: argparse.Namespace, material: Material, folder: Path) -> Soak:
    config = folder / "station.yaml"
    config.write_text(CONFIG.format(rows=KEEP_ROWS, mb=PICTURES_MB))
    backend = [] if arguments.bundle else ["--backend", "constant"]
    camera = arguments.camera or f"folder:{material.small_pictures}?loop=1"
    soak = Soak()
    with (
        Line(arguments.bundle or material.bundle, camera, "--config", str(config), *backend) as line,
        Subscriber(line.decisions) as feed,
    ):
        began_s = due_s = time.monotonic()
        soak.latencies_ms.append([])
        while not _over(arguments, soak, time.monotonic() - began_s):
            decision = line.next_decision(feed)
            soak.take(decision, feed.age_ms(decision), feed.recovered(decision))
            if time.monotonic() >= due_s:
                soak.samples.append(_sample(line, soak, time.monotonic() - began_s))
                soak.latencies_ms.append([])
                due_s += SAMPLE_S
                _say(soak.samples[-1])
        soak.lost += feed.lost
    return soak


def _over(arguments: argparse.Namespace, soak: Soak, passed_s: float) -> bool:
    enough = bool(arguments.parts) and soak.last_seq >= arguments.parts
    return enough or (bool(arguments.minutes) and passed_s >= 60 * arguments.minutes)


def _sample(line: Line, soak: Soak, at_s: float) -> Sample:
    process = psutil.Process(line.process.pid)
    family = [process, *process.children(recursive=True)]
    return Sample(
        at_s=round(at_s, 1),
        parts=soak.last_seq,
        memory_mb=sum(one.memory_info().rss for one in family) / 1e6,
        descriptors=sum(one.num_fds() for one in family),
        threads=sum(one.num_threads() for one in family),
        journal_mb=line.journal_mb,
        pictures_mb=line.pictures_mb,
    )


def _figures(soak: Soak) -> dict[str, float | int | str]:
    half = soak.samples[len(soak.samples) // 2 :]
    hours = [sample.at_s / 3600 for sample in half]
    all_ms = np.concatenate([np.array(one) for one in soak.latencies_ms])
    quarter = max(1, len(soak.latencies_ms) // 4)
    quarters = (soak.latencies_ms[:quarter], soak.latencies_ms[-quarter:])
    ends = [np.concatenate([np.array(one) for one in part]) for part in quarters]
    last = soak.samples[-1]
    return {
        "parts": soak.last_seq,
        "hours": round(last.at_s / 3600, 3),
        "parts a second": round(soak.last_seq / last.at_s, 1),
        "verdicts": ", ".join(f"{count} {name}" for name, count in soak.verdicts.most_common()),
        "memory, MB": round(last.memory_mb, 1),
        "memory slope, MB an hour": round(_slope(hours, [sample.memory_mb for sample in half]), 2),
        "memory slope, MB a million parts": round(
            _slope([sample.parts / 1e6 for sample in half], [sample.memory_mb for sample in half]), 2
        ),
        "descriptors": last.descriptors,
        "descriptors slope, an hour": round(_slope(hours, [float(sample.descriptors) for sample in half]), 3),
        "threads": last.threads,
        "threads, most and least in the second half": " ".join(
            str(pick(sample.threads for sample in half)) for pick in (max, min)
        ),
        "journal, most MB": round(max(sample.journal_mb for sample in soak.samples), 1),
        "pictures, most MB": round(max(sample.pictures_mb for sample in soak.samples), 1),
        "latency p50 p99 p99.9 max, ms": " ".join(
            f"{np.percentile(all_ms, share):.2f}" for share in (50, 99, 99.9, 100)
        ),
        "p99.9 of the first and of the last quarter, ms": " ".join(
            f"{np.percentile(part, 99.9):.2f}" if len(part) else "none" for part in ends
        ),
        "asked again by the subscriber": soak.recovered,
        "lost": soak.lost,
        "twice": soak.twice,
    }


def _slope(x: list[float], y: list[float]) -> float:
    """Of the line through the points with the least median error (Theil and Sen): a few odd samples move nothing."""
    step = max(1, len(x) // 200)
    points = list(zip(x[::step], y[::step], strict=True))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
    return float(np.median(slopes)) if slopes else 0.0


def _wrong(soak: Soak, found: dict[str, float | int | str]) -> list[str]:
    handles = [sample.descriptors for sample in soak.samples[len(soak.samples) // 2 :]]
    grew_mb = float(found["memory slope, MB an hour"]) * float(found["hours"]) / 2
    checks = {
        f"memory grew by {grew_mb:.1f} MB in the second half": grew_mb
        > max(LEAST_MB, MEMORY_MB_AN_HOUR * float(found["hours"])),
        "descriptors grew": max(handles) - min(handles) >= LEAST_HANDLES
        and float(found["descriptors slope, an hour"]) > HANDLES_AN_HOUR,
        "the journal outgrew its limit": float(found["journal, most MB"]) > JOURNAL_MB,
        "the pictures outgrew their limit": float(found["pictures, most MB"]) > 1.1 * PICTURES_MB + 2,
        f"{soak.lost} decisions were lost": bool(soak.lost),
        f"{soak.twice} decisions came twice": bool(soak.twice),
    }
    return [text for text, wrong in checks.items() if wrong]


def _say(sample: Sample) -> None:
    print(
        f"{sample.at_s:7.0f} s {sample.parts:9d} parts {sample.memory_mb:6.1f} MB {sample.descriptors} descriptors "
        f"{sample.threads} threads, journal {sample.journal_mb:.1f} MB, pictures {sample.pictures_mb:.1f} MB",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
