"""The error tree: drawn as it is, with the exit codes that scripts rely on."""

from __future__ import annotations

import re

import pytest

from sad_runtime import errors
from sad_runtime.errors import MissingExtra, SadError

DRAWN = re.compile(r"(?P<name>[A-Z]\w+) \.+ *(?P<code>\d)?")


def kinds() -> dict[str, type[SadError]]:
    return {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SadError)}


def test_every_error_is_drawn_in_the_tree_and_nothing_else() -> None:
    assert errors.__doc__ is not None
    assert {found["name"] for found in DRAWN.finditer(errors.__doc__)} == set(kinds())


def test_the_drawn_exit_codes_are_the_real_ones() -> None:
    assert errors.__doc__ is not None
    for found in DRAWN.finditer(errors.__doc__):
        if found["code"]:
            assert kinds()[found["name"]].exit_code == int(found["code"]), found["name"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SadError", 1),
        ("UsageError", 2),
        ("ConfigError", 2),
        ("DataError", 2),
        ("BundleError", 2),
        ("MissingExtra", 2),
        ("AlreadyRunning", 3),
        ("GateFailed", 4),
        ("DeviceLost", 5),
        ("BackendError", 1),
        ("CameraError", 1),
    ],
)
def test_exit_codes_never_change(name: str, code: int) -> None:
    assert kinds()[name].exit_code == code


def test_a_missing_extra_names_its_install_command() -> None:
    error = MissingExtra("openvino", "cpu", "the openvino backend")
    assert str(error) == "the openvino backend needs openvino. Run: pip install 'sad-inspection[cpu]'"
