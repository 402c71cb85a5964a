"""What several test files share."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("patient", deadline=None)  # machines are slow and busy
hypothesis.settings.load_profile("patient")

sys.path.insert(0, str(Path(__file__).parent))  # tests import each other's stands by name: `from bundles import ...`


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle that judges grey pictures, for tests that must not need torch. Do not write to it."""
    from bundles import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.sad")
