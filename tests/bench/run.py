"""Measures speed and memory, each beside a bare peer in the same run, and prints a table. `make bench` runs it all.

    python tests/bench/run.py                      everything, about eight minutes
    python tests/bench/run.py latency startup      some
    python tests/bench/run.py --json figures.json  also for scripts

docs/benchmarks.md tells what the figures mean. Budgets are told, not enforced: the exit code is 0 whatever they are.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

from figure import Figure, table
from machine import Others, machine, warn_if_busy
from material import Material, made

BENCHES = {
    "latency": "capture to decision at a subscriber, over bare inference",
    "startup": "process start to Ready",
    "memory": "what a station keeps, and whether it grows",
    "gateway": "decision to PLC register, and how soon a lost station shows there",
    "examples": "training examples a second",
    "training": "a training step and its memory, over bare arithmetic",
}
PICTURES, QUICK_PICTURES = 40, 8


def main() -> int:
    arguments = _arguments()
    warn_if_busy()
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="sad-bench-") as folder, Others() as others:
        _say("preparing: render parts, export an untrained model")
        material = made(Path(folder) / "material", QUICK_PICTURES if arguments.quick else PICTURES)
        found = {name: _measured(name, material, arguments.quick) for name in arguments.names}
    print("\n".join(f"{name:<9} {value}" for name, value in facts.items()))
    print(f"{'load':<9} {others.note}\n")
    print("\n\n".join(table(f"{name}, {BENCHES[name]}", figures) for name, figures in found.items()))
    if arguments.json is not None:
        load = {"others": others.share, "before": others.load_before}
        figures = [{"bench": name, **figure.as_object()} for name in found for figure in found[name]]
        arguments.json.write_text(json.dumps({"machine": facts, "load": load, "figures": figures}, indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    benches = "\n".join(f"  {name:<10} {text}" for name, text in BENCHES.items())
    parser = argparse.ArgumentParser(
        description="Measures speed and memory beside bare peers. Leave the machine alone meanwhile.",
        epilog=f"benches:\n{benches}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benches (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: does it run? The figures mean nothing")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHES)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    arguments.names = arguments.names or list(BENCHES)
    return arguments


def _measured(name: str, material: Material, quick: bool) -> list[Figure]:
    began_s = time.monotonic()
    _say(f"measuring {name}: {BENCHES[name]}")
    bench = importlib.import_module(name)  # by name, so that torch is not loaded for benches that do without
    figures: list[Figure] = bench.figures(material, quick)
    _say(f"{name} took {time.monotonic() - began_s:.0f} s")
    return figures


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
