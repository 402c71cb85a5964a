"""Finds the YAML files that ship with sad: in the wheel as `sad_runtime/configs`, beside the source in a checkout."""

from __future__ import annotations

import difflib
from pathlib import Path

from sad_runtime.errors import UsageError

HERE = Path(__file__).parent
HOMES = (HERE / "configs", HERE.parent.parent / "configs")


def preset_path(name: str) -> Path:
    """The file of the preset `name`: `station-demo`, `train/fast`. Raises UsageError naming the nearest one."""
    home = next((folder for folder in HOMES if folder.is_dir()), None)
    if home is None:
        raise UsageError(
            "the presets are missing from this installation. Run: pip install --force-reinstall sad-inspection"
        )
    known = presets(home)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"--preset {name}: no such preset; {hint}")
    return home / f"{name}.yaml"


def presets(home: Path) -> list[str]:
    """Every preset under `home`, sorted."""
    return sorted(path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml"))
