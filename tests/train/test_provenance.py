from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sad_train import provenance


def test_versions_name_what_decides_the_outcome() -> None:
    assert {"sad-inspection", "torch", "numpy", "scipy", "opencv"} <= set(provenance.versions())


def test_the_commit_of_a_repository_around_the_installation_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages" / "sad_train"
    installed.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    subprocess.run(["git", "-C", tmp_path, *author, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    monkeypatch.setattr(provenance, "HERE", installed)
    assert provenance.checkout_commit() is None


def test_no_git_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.checkout_commit() is None
