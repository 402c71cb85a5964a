"""One training from a checked data set to a finished run folder: split, profile, train or resume, previews, report."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sad_runtime.errors import ConfigError, DataError, UsageError
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.data.dataset import Dataset
from sad_train.data.dataset_check import DatasetCheck
from sad_train.data.goodset import all_grey, loaded
from sad_train.data.profile import Profile, measured_profile
from sad_train.data.split import Split, joined_split, split_of
from sad_train.distributed import Ranks, joined
from sad_train.house_backbone import house_config, house_run, named_backbone, wants_house_backbone
from sad_train.loop import train
from sad_train.methods.table import method_named
from sad_train.previews import write_previews
from sad_train.provenance import checkout_commit, versions
from sad_train.run import Checkpoint, Provenance, Run
from sad_train.training_report import places_missing, write_report

log = logging.getLogger("sad-train")

HOW_IT_RUNS = frozenset({"workers", "checkpoint_every_s"})
"""Settings that change nothing about what is learnt, so a run may go on with others."""


class AlreadyFinished(UsageError):
    """The run is there, with the same settings and pictures, and needs nothing more."""


def trained(
    dataset: Dataset,
    check: DatasetCheck,
    config: TrainConfig,
    out: Path,
    *,
    device: str,
    restart: bool,
) -> dict[str, Any]:
    """Trains and returns the summary that `sad-train --json` prints; {} in all but the first of several processes."""
    with joined(device) as ranks:
        splits = [
            split_of(
                paths,
                check.digests,
                calibration_share=config.calibration_share,
                validation_share=config.validation_share,
                seed=config.seed,
            )
            for paths in dataset.sets or [dataset.train_good]
        ]
        return _trained(Run(out), dataset, check, joined_split(splits), config, ranks, restart=restart)


def _trained(
    run: Run, dataset: Dataset, check: DatasetCheck, split: Split, config: TrainConfig, ranks: Ranks, *, restart: bool
) -> dict[str, Any]:
    with run.locked() if ranks.first else nullcontext():
        config = _settled(config, split, ranks)
        _check_fits(split, config)
        resume = None if restart else _resumable(run, config, check)
        channels = config.channels or (1 if all_grey(dataset.train_good) else 3)
        spec = InputSpec(height=config.size_px, width=config.size_px, channels=channels)
        if resume is not None:
            backbone = resume.provenance.backbone
        else:
            if wants_house_backbone(config):
                _house_backbone(run, dataset, check, split, config, channels, ranks, restart=restart)
            backbone = named_backbone(config, run, split, channels)
        pictures, watched = (
            loaded(split.paths(share), spec, config.roi_box, spill=run.folder) for share in ("train", "validation")
        )
        profile = measured_profile(list(pictures))
        provenance = Provenance(
            part=dataset.name,
            data_digest=check.data_digest,
            pictures=len(dataset.train_good),
            versions=versions(),
            commit=checkout_commit(),
            backbone=backbone,
        )
        ranks.wait()  # all have read what the run folder holds before the first one writes there
        if ranks.first:
            _announce(split, profile, ranks, config, resume)
            if resume is None:
                run.clear()
            run.write(config, split, profile)
        last = train(run, pictures, watched, spec, config, profile, provenance, ranks, resume=resume)
        if not ranks.first:
            return {}
        if told := places_missing(run):
            log.warning("%s", told)
        previews = write_previews(run, last, pictures, watched)
        write_report(run, last, check, previews)
    return _summary(run, last)


def _house_backbone(
    run: Run,
    dataset: Dataset,
    check: DatasetCheck,
    split: Split,
    config: TrainConfig,
    channels: int,
    ranks: Ranks,
    *,
    restart: bool,
) -> None:
    """A run within the run, on the very pictures that the run itself learns from."""
    house = house_run(run)
    log.info("no backbone is named, so one is learnt from the good pictures first: %s", house.folder)
    learnt_from = split.model_copy(update={"calibration": []})
    try:
        _trained(house, dataset, check, learnt_from, house_config(config, channels), ranks, restart=restart)
    except AlreadyFinished:
        log.info("%s: learnt before", house.folder)


def _announce(split: Split, profile: Profile, ranks: Ranks, config: TrainConfig, resume: Checkpoint | None) -> None:
    log.info(
        "%d pictures train, %d calibrate, %d watch; %s, %s, on %s",
        *(len(getattr(split, share)) for share in ("train", "calibration", "validation")),
        profile.kind,
        "aligned" if profile.aligned else "not aligned",
        ranks.device if ranks.count == 1 else f"{ranks.count} processes",
    )
    if resume is not None:
        log.info("going on at step %d of %d", resume.step, config.steps)


def _check_fits(split: Split, config: TrainConfig) -> None:
    """Raises DataError or ConfigError for what the method would only stumble over in the end."""
    method, count = method_named(config.method), len(split.train)
    if config.score == "mean" and not method.logits:
        raise ConfigError(f"score: mean: the heatmap of method {config.method} holds distances; take peak")
    if config.score == "network" and method.inspects and not method.scores:
        raise ConfigError(f"score: network: the network of method {config.method} has no score; take peak or mean")
    if count < method.least_pictures:
        raise DataError(
            f"method {config.method} needs at least {method.least_pictures} good pictures to train on; {count} are "
            "left beside those kept for the threshold and the report. Bring more, or take method nsa"
        )


def _settled(config: TrainConfig, split: Split, ranks: Ranks) -> TrainConfig:
    """Epochs become steps, now that the number of pictures is known."""
    if config.batch % ranks.count:
        raise UsageError(f"batch {config.batch} does not divide among {ranks.count} processes")
    if config.epochs is None:
        return config
    steps = max(1, round(config.epochs * len(split.train) / config.batch))
    return config.model_copy(update={"steps": steps})


def _resumable(run: Run, config: TrainConfig, check: DatasetCheck) -> Checkpoint | None:
    """The checkpoint to go on from; None for a fresh start. Raises when --out holds something else."""
    if not run.exists():
        return None
    kept = run.config()
    settings = [name for name in TrainConfig.model_fields if name not in HOW_IT_RUNS]
    changed = [name for name in settings if getattr(kept, name) != getattr(config, name)]
    if changed:
        raise ConfigError(
            f"{run.folder}: holds a run with another {', '.join(changed)}. Give another --out, or --restart to drop it"
        )
    if not run.checkpoint_file.exists():
        return None
    checkpoint = run.load()
    if checkpoint.provenance.data_digest != check.data_digest:
        raise ConfigError(f"{run.folder}: the pictures changed since this run began. Give --restart, or another --out")
    if checkpoint.finished and run.report.exists():
        raise AlreadyFinished(f"{run.folder}: this run is finished. Give another --out, or --restart to train it again")
    return checkpoint


def _summary(run: Run, last: Checkpoint) -> dict[str, Any]:
    metrics = run.metrics()
    return {
        "run": str(run.folder),
        "method": last.config.method,
        "preset": last.config.preset,
        "seed": last.config.seed,
        "steps": last.step,
        "minutes": last.seconds / 60,
        "loss": metrics[-1]["loss"] if metrics else None,
        "synthetic_auroc": metrics[-1].get("synthetic_auroc") if metrics else None,
        "data_digest": last.provenance.data_digest,
    }
