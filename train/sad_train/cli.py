"""`sad-train`: from a folder of good pictures to a trained run."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.errors import ConfigError, DataError, MissingExtra, SadError, UsageError
from sad_runtime.presets import preset_path
from sad_runtime.schema import parse, yaml_values
from sad_train.config import TrainConfig
from sad_train.data.dataset import Dataset, joined_datasets, read_dataset
from sad_train.data.dataset_check import DatasetCheck, check_dataset, joined_checks
from sad_train.synthesis.nsa_tables import PAPER_CLASSES

ALL = "all"
BACKBONE, FLOW, NSA = "backbone", "fastflow", "nsa"
Sets = Sequence[tuple[Dataset, DatasetCheck]]
EXAMPLES = """\
  sad-train --data parts/capsule --out runs/capsule
  sad-train --data demo:washer?n=120 --out runs/washer --steps 400
  sad-train --data mvtec/bottle --preset paper --paper-class bottle --device cuda
  sad-train --data parts/capsule --method cutpaste_3way --preview looks
  sad-train --data parts/capsule --data parts/pill --method all --preset small --out runs/all
  sad-train --data parts/capsule --data parts/pill --method backbone --out runs/site
  sad-train --data parts/capsule --method fastflow --backbone runs/site
  sad-train --data parts/capsule --check"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "sad-train",
        "Learns what good parts look like, from pictures of good parts only. A run that was cut off goes on where it "
        "was when the same command is given again.",
        EXAMPLES,
    )
    parser.add_argument(
        "--data",
        required=True,
        action="append",
        help="folder of pictures (MVTec layout, or good ones only), or demo:PART; several for methods all, backbone",
    )
    parser.add_argument("--out", type=Path, help="run folder (default: runs/NAME); its parent for --method all")
    parser.add_argument(
        "--method",
        default=NSA,
        help="nsa, cutpaste, cutpaste_scar, cutpaste_3way, anoseg, fastflow or reseg; backbone, to prepare an encoder "
        "for fastflow; all, to train every method on every set (default: nsa)",
    )
    parser.add_argument(
        "--preset",
        default="fast",
        help="fast (CPU, minutes), small (128 px, a minute or two, to compare methods) or paper (as published, GPU; "
        "reseg: full)",
    )
    parser.add_argument("--config", type=Path, help="YAML file with any of the preset's keys; wins over the preset")
    parser.add_argument("--paper-class", help="take the paper's constants for this class (nsa, preset paper)")
    parser.add_argument("--seed", type=int, help="seed of everything random (default: 0)")
    parser.add_argument("--seeds", metavar="N,N", help="seeds for --method all (default: 0)")
    parser.add_argument("--steps", type=int, help="number of training steps; sets time and quality")
    parser.add_argument("--size", type=int, metavar="PX", help="side that pictures are resized to (default: 256)")
    parser.add_argument("--batch", type=int, help="examples in a step")
    parser.add_argument("--network", help="the network by name, as in --network resnet18; methods say which they take")
    parser.add_argument(
        "--backbone",
        metavar="PATH",
        help="for method fastflow: a file of ResNet weights, or a run of --method backbone (default: learns one first)",
    )
    parser.add_argument("--backbone-licence", metavar="TEXT", help="terms of the backbone file, for the bundle")
    parser.add_argument("--workers", type=int, help="processes that make examples")
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda"], help="default: a GPU when there is one"
    )
    parser.add_argument("--check", action="store_true", help="only check the pictures, and say what was found")
    parser.add_argument(
        "--preview", type=Path, metavar="DIR", help="only draw what the method would train on, DIR/METHOD.png"
    )
    parser.add_argument("--restart", action="store_true", help="start over although --out holds a run")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout at the end")
    return run_command(parser, _work, argv)


def _work(arguments: argparse.Namespace) -> int:
    if arguments.method != ALL:
        if arguments.seeds is not None:
            raise UsageError(f"--seeds is for --method {ALL}; give --seed, one training at a time")
        _config(arguments, arguments.method)  # what is wrong there is said before any picture is read
    sets = [(dataset, _checked(dataset)) for dataset in map(read_dataset, arguments.data)]
    if arguments.check:
        return _report_checks(sets, as_json=arguments.json)
    for dataset, check in sets:
        if check.errors:
            raise DataError(f"{dataset.root}: {len(check.errors)} problem(s) to mend first: " + "; ".join(check.errors))
    # Spinning OpenMP threads and the processes that make examples take the cores from each other: on two busy cores
    # 60 steps took 65 s, with sleeping threads 12 s. Must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from sad_train import session  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "scipy"):
            raise
        raise MissingExtra(error.name, "train", "training") from None
    if arguments.preview is not None:
        return _preview(arguments, sets)
    return _train_all(arguments, sets) if arguments.method == ALL else _train_one(arguments, sets)


def _report_checks(sets: Sets, *, as_json: bool) -> int:
    if as_json:
        found = [
            {"data_digest": check.data_digest, "errors": check.errors, "warnings": check.warnings} for _, check in sets
        ]
        print(json.dumps(found[0] if len(found) == 1 else found))
    for dataset, check in [] if as_json else sets:
        sizes = ", ".join(f"{count} of {size}" for size, count in check.sizes.items())
        print(f"{dataset.root}: {len(dataset.train_good)} good pictures to train on. Pictures in all: {sizes}")
        print(f"To mend: {len(check.errors)}. To think about: {len(check.warnings)}.")
    return 2 if any(check.errors for _, check in sets) else 0


def _preview(arguments: argparse.Namespace, sets: Sets) -> int:
    from sad_train.campaign import COMPARED
    from sad_train.previews import write_example_grid

    ((dataset, _),) = _only_one(sets, "--preview")
    for method in COMPARED if arguments.method == ALL else [arguments.method]:
        path = write_example_grid(dataset, _config(arguments, method), arguments.preview / f"{method}.png")
        print(f"{path}: {method}" if path else f"{method}: trains on good pictures as they are", file=sys.stderr)
    return 0


def _train_one(arguments: argparse.Namespace, sets: Sets) -> int:
    from sad_train.session import trained

    config = _config(arguments, arguments.method)
    if arguments.method == BACKBONE:
        sets = _joined(sets)
    ((dataset, check),) = _only_one(sets, f"--method {arguments.method}")
    out = arguments.out or Path("runs") / dataset.name
    summary = trained(dataset, check, config, out, device=arguments.device, restart=arguments.restart)
    if not summary:  # another process of the same torchrun tells
        return 0
    if arguments.json:
        print(json.dumps(summary))
    else:
        print(f"{out}: finished after {summary['minutes']:.1f} minutes of training. Look at {out / 'report.html'}")
        backbone = f"sad-train --method fastflow --backbone {out} --data FOLDER"
        print(f"Next: {backbone if arguments.method == BACKBONE else f'sad-export {out} --out {dataset.name}.sad'}")
    return 0


def _train_all(arguments: argparse.Namespace, sets: Sets) -> int:
    from sad_train.campaign import COMPARED, entries, trained_all
    from sad_train.distributed import launched_together

    if launched_together():
        raise UsageError("--method all runs in one process; give torchrun one training at a time")
    if arguments.seed is not None:
        raise UsageError("--seed: --method all takes --seeds, as in --seeds 0,1,2")
    try:
        seeds = [int(text) for text in (arguments.seeds or "0").split(",")]
    except ValueError:
        raise UsageError(f"--seeds {arguments.seeds}: give whole numbers, as in 0,1,2") from None
    out = arguments.out or Path("runs") / ALL
    wanted = entries(sets, COMPARED, seeds, out, lambda method, seed: _config(arguments, method, seed))
    summaries, failures = trained_all(wanted, device=arguments.device, restart=arguments.restart)
    if arguments.json:
        print(json.dumps({"runs": summaries, "failures": failures}))
    else:
        data = " ".join(f"--data {shlex.quote(given)}" for given in arguments.data)
        print(f"{out}: {len(wanted) - len(failures)} of {len(wanted)} trainings are finished")
        print(f"Next: sad-evaluate --compare {out} {data} --report compare.html")
    if failures:
        raise SadError(f"{len(failures)} training(s) failed: " + "; ".join(failures))
    return 0


def _joined(sets: Sets) -> Sets:
    datasets, checks = zip(*sets, strict=True)
    return [(joined_datasets(datasets), joined_checks(datasets, checks))]


def _only_one(sets: Sets, what: str) -> Sets:
    if len(sets) != 1:
        raise UsageError(f"{what} takes one --data, not {len(sets)}; several are for --method {ALL} and {BACKBONE}")
    return sets


def _config(arguments: argparse.Namespace, method: str, seed: int | None = None) -> TrainConfig:
    """Preset, then --config, then flags; the last word wins."""
    preset = preset_path(f"train/{method}-{arguments.preset}")
    values = _yaml(preset)
    where = str(preset)
    if arguments.config is not None:
        values = _overlaid(values, _yaml(arguments.config))
        where = str(arguments.config)
    given = {
        "seed": arguments.seed if seed is None else seed,
        "steps": arguments.steps,
        "size_px": arguments.size,
        "batch": arguments.batch,
        "network": arguments.network,
        "workers": arguments.workers,
    }
    flags = {key: value for key, value in given.items() if value is not None}
    values |= flags
    if flags:
        where += " with the flags over it"
    if arguments.backbone is not None or arguments.backbone_licence is not None:
        _apply_backbone(values, arguments)
    if arguments.steps is not None:
        values["epochs"] = None
    if arguments.paper_class is not None and _is_of_nsa(arguments, method):
        _apply_paper_class(values, arguments.paper_class, keep_steps=arguments.steps is not None)
    return parse(TrainConfig, values, where)


def _apply_backbone(values: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.method not in (FLOW, ALL):
        raise UsageError(f"--backbone and --backbone-licence are for method {FLOW}, not {arguments.method}")
    told = {"backbone": arguments.backbone, "backbone_licence": arguments.backbone_licence}
    given = {key: value for key, value in told.items() if value is not None}
    values["fastflow"] = {**values.get("fastflow", {}), **given}


def _overlaid(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` wins key by key, also within a group of keys such as `nuisance`."""
    merged = values | over
    for key, group in over.items():
        if isinstance(group, dict) and isinstance(below := values.get(key), dict):
            merged[key] = _overlaid(below, group)
    return merged


def _yaml(path: Path) -> dict[str, Any]:
    values = yaml_values(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values")
    return values


def _is_of_nsa(arguments: argparse.Namespace, method: str) -> bool:
    """Whether the paper's classes mean anything to a method: they are NSA's, with its schedule and its crops."""
    if arguments.method not in (NSA, ALL):
        raise UsageError(f"--paper-class is for method {NSA}, not {arguments.method}")
    return method == NSA


def _apply_paper_class(values: dict[str, Any], name: str, *, keep_steps: bool) -> None:
    if name not in PAPER_CLASSES:
        raise ConfigError(f"--paper-class {name}: the paper has {', '.join(PAPER_CLASSES)}")
    row = PAPER_CLASSES[name]
    values["nsa"] = {**values.get("nsa", {}), "paper_class": name}
    if not keep_steps:
        values["epochs"] = row.epochs
    if row.texture:
        values |= {"size_px": 264, "crop_px": 256, "centre_px": 264, "flip": True}
    if not row.aligned:
        values["nuisance"] = {**values.get("nuisance", {}), "rotation_deg": 5}


def _checked(dataset: Dataset) -> DatasetCheck:
    check = check_dataset(dataset)
    for line in check.errors:
        print(f"error: {line}", file=sys.stderr)
    for line in check.warnings:
        print(f"warning: {line}", file=sys.stderr)
    return check
