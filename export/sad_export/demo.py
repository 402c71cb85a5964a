"""`sad-demo`: the whole way on one machine, offline: render parts, train, export, run a line, look at what came out."""

from __future__ import annotations

import argparse
import importlib.util
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sad_export.demo_line import Outcome, table, write_picture
from sad_export.demo_plc import belt
from sad_runtime.cameras.demo.parts import PARTS
from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.cli.progress import Progress, clock
from sad_runtime.errors import MissingExtra, SadError, UsageError
from sad_runtime.files import made_folder
from sad_runtime.messages import Decision
from sad_runtime.subscriber import Subscriber

EXAMPLES = """\
  sad-demo                              a washer, about four minutes on two cores
  sad-demo --part board --steps 600     another part, longer training
  sad-demo --parts 300                  a longer line"""
LINE_SEED = 2026
"""The line's parts are drawn with another seed than the pictures that were learnt from."""
DEFECTIVE = 0.4
BELT_PARTS = 40
PATIENCE_S = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "sad-demo",
        "Shows the whole way on rendered parts, with no camera, GPU or download: pictures of good parts, training, "
        "export through the parity gate, a line whose every decision is received and held against the truth, and a "
        "simulated PLC that triggers it.",
        EXAMPLES,
    )
    parser.add_argument("--part", default="washer", choices=sorted(PARTS), help="what the line makes (default: washer)")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for everything (default: demo-out)")
    parser.add_argument("--pictures", type=int, default=120, help="good pictures to learn from (default: 120)")
    parser.add_argument("--steps", type=int, default=480, help="training steps (default: 480)")
    parser.add_argument("--parts", type=int, default=120, help="parts that run over the line (default: 120)")
    parser.add_argument(
        "--defect-px", type=int, default=20, help="size of the defects; 0 draws it, from 3 px up (default: 20)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of pictures and training (default: 1)")
    return run_command(parser, _work, argv)


def _work(arguments: argparse.Namespace) -> int:
    if arguments.pictures < 20 or arguments.parts < 1 or arguments.steps < 1:
        raise UsageError("--pictures takes at least 20, --parts and --steps at least 1")
    for package in ("torch", "scipy", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:  # now, not after rendering for a minute
            raise MissingExtra(package, "train,export", "the demo")
    started = time.monotonic()
    out: Path = arguments.out
    made_folder(out)
    counts = f"n={arguments.pictures}&good=40&defect=72"
    data = f"demo:{arguments.part}?{counts}&seed={arguments.seed}&defect_px={arguments.defect_px}"
    bundle = out / f"{arguments.part}.sad"
    _say(1, f"learn from {arguments.pictures} rendered pictures of good parts")
    options = ["--steps", str(arguments.steps), "--seed", str(arguments.seed), "--restart"]
    _command("sad_train.cli", ["--data", data, "--out", str(out / "run"), *options])
    _say(2, "export: one graph from pixels to verdict, proved against the trained model")
    _command("sad_export.cli", [str(out / "run"), "--out", str(bundle), "--target-false-reject", "5%"])
    _say(3, "measure it on parts it has never seen")
    _command("sad_train.evaluation.cli", [str(bundle), "--data", data, "--report", str(out / "evaluation.html")])
    _say(4, f"run a line of {arguments.parts} parts, and receive every decision")
    outcomes = _line(arguments, bundle)
    print("\n" + table(outcomes))
    write_picture(out / "line.png", bundle, outcomes, LINE_SEED, arguments.defect_px or None)
    _say(5, "let a PLC trigger it: parts on a conveyor, a reject gate, Modbus/TCP in between")
    belt(_camera(arguments), bundle, out, BELT_PARTS)
    _say(6, f"done in {clock(time.monotonic() - started)}. Look at:")
    print(f"  {out / 'line.png'}          parts, heatmaps and verdicts of the line")
    print(f"  {out / 'evaluation.html'}   figures, scores and the misses on held-out parts")
    print(f"  {out / 'run' / 'report.html'}   how it learnt")
    print(f"Go on: sad-runtime --camera demo:{arguments.part} --bundle {bundle}, and sad-tail in a second window")
    return 0


def _say(number: int, text: str) -> None:
    print(f"\n[{number}/6] {text}", flush=True)


def _command(module: str, arguments: list[str]) -> None:
    """One of sad's own commands, in a process of its own as a user would run it."""
    code = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    if result.returncode:
        raise SadError(f"{module}: ended with exit code {result.returncode}; see above")


def _camera(arguments: argparse.Namespace) -> str:
    camera = f"demo:{arguments.part}?defects={DEFECTIVE}&seed={LINE_SEED}"
    return f"{camera}&defect_px={arguments.defect_px}" if arguments.defect_px else camera


def _line(arguments: argparse.Namespace, bundle: Path) -> list[Outcome]:
    """Runs the station in its own process, subscribes, and pairs each decision with the truth."""
    camera = f"{_camera(arguments)}&fps=20&n={arguments.parts}"
    with tempfile.TemporaryDirectory(prefix="sad-") as folder:
        addresses = {name: f"ipc://{folder}/{name}" for name in ("decisions", "heatmaps", "snapshot", "commands")}
        flags = [word for name, address in addresses.items() for word in (f"--{name}", address)]
        options = ["--camera", camera, "--bundle", str(bundle), "--station", "demo", "--state", folder]
        log = arguments.out / "runtime.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "sad_runtime.cli.runtime", *options, *flags], stderr=stream
            )
            try:
                decisions = _received(addresses["decisions"], arguments.parts, process, log)
                process.wait(PATIENCE_S)
            finally:
                process.kill()
        truth = _truth(Path(folder) / "demo" / "journal.sqlite")
    return [Outcome(decision, truth[decision.run, decision.seq]) for decision in decisions]


def _received(address: str, parts: int, process: subprocess.Popen[bytes], log: Path) -> list[Decision]:
    """Every decision of the run, in order. Raises SadError when the station ends or falls silent before that."""
    decisions: list[Decision] = []
    progress = Progress("line", parts)
    with Subscriber(address, station="demo", history=True) as feed:
        heard = time.monotonic()
        while len(decisions) < parts:
            decision = feed.poll(500)
            if decision is not None:
                decisions.append(decision)
                heard = time.monotonic()
                progress.step(len(decisions), decision.verdict.value)
            elif process.poll() is not None or time.monotonic() - heard > PATIENCE_S:
                raise SadError(f"the line stopped after {len(decisions)} of {parts} parts; see {log}")
        if feed.lost or [decision.seq for decision in decisions] != list(range(1, parts + 1)):
            raise SadError(f"{feed.lost} decisions were lost on the way; see {log}")
    return decisions


def _truth(journal: Path) -> dict[tuple[str, int], str]:
    """(run, seq) -> what the camera rendered, as the journal keeps it: `demo:washer#12 scratch`."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT run, seq, source FROM decisions").fetchall()
    return {(run, seq): source for run, seq, source in rows}
