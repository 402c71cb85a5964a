"""What made a run: versions of what decides the outcome, and the commit when sad runs from its own checkout."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import cv2

from sad_runtime.cli.command import version

HERE = Path(__file__).resolve().parent


def versions() -> dict[str, str]:
    """By name of the package. OpenCV goes by several names on the registry, so it is asked itself."""
    names = ("torch", "numpy", "scipy")
    return {"sad-inspection": version(), "opencv": cv2.__version__, **{name: metadata.version(name) for name in names}}


def checkout_commit() -> str | None:
    """None when sad is installed, though some other repository may lie around it."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() / "train" / "sad_train" != HERE:
        return None
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", HERE, *arguments], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
