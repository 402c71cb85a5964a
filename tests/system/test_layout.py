"""The house rules that a machine can hold: who imports whom, where torch may be, how long a file is, what ships."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sad_runtime.presets import preset_path
from sad_runtime.schema import Strict, read_yaml, yaml_values
from sad_runtime.station.config import StationConfig
from sad_runtime.station.plant import plant_from
from sad_train.config import TrainConfig

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "sad_runtime": ROOT / "runtime/sad_runtime",
    "sad_calibration": ROOT / "calibration/sad_calibration",
    "sad_train": ROOT / "train/sad_train",
    "sad_export": ROOT / "export/sad_export",
}
"""From the ground floor up: a package imports itself and those before it."""
LONGEST_FILE = 350
NO_TORCH = ("sad_runtime", "sad_calibration")
LIGHT = ("sad_runtime.messages", "sad_runtime.subscriber")


def module_name(path: Path) -> str:
    package = next(home for home in PACKAGES.values() if path.is_relative_to(home))
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for home in PACKAGES.values() for path in sorted(home.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text(encoding="utf-8"), str(path)) for module, path in SOURCES.items()}


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of modules imported anywhere under `tree`; `from a import b` counts as `a` and, should it be one, `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0, "write imports in full: `from sad_runtime.x import y`"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """What importing the module imports: not what its functions import when they run, nor what is for type checkers."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        yield from imported(statement)


def first(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_one_way(module: str) -> None:
    order = list(PACKAGES)
    allowed = order[: order.index(module.partition(".")[0]) + 1]
    assert (first(imported(TREES[module])) & set(order)) <= set(allowed)


@pytest.mark.parametrize("module", [module for module in SOURCES if module.startswith(NO_TORCH)])
def test_the_edge_never_imports_torch_not_even_inside_a_function(module: str) -> None:
    assert not first(imported(TREES[module])) & {"torch", "torchvision"}


@pytest.mark.parametrize("start", LIGHT)
def test_what_a_gateway_imports_brings_neither_numpy_nor_opencv(start: str) -> None:
    reached, waiting = set[str](), [start]
    while waiting:
        module = waiting.pop()
        if module in reached or module not in TREES:
            continue
        reached.add(module)
        names = set(imported_at_once(TREES[module]))
        assert not first(iter(names)) & {"numpy", "cv2"}, f"{module}, on the way from {start}"
        waiting += names | {module.rpartition(".")[0]}
    assert len(reached) > 3


@pytest.mark.parametrize("module", SOURCES)
def test_every_file_says_what_it_is_for_and_is_no_longer_than_a_sitting(module: str) -> None:
    assert ast.get_docstring(TREES[module]), "a file opens with a docstring"
    assert len(SOURCES[module].read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_every_console_script_is_a_function_that_can_be_called() -> None:
    scripts = re.findall(r'^(sad-[a-z]+) = "([\w.]+:\w+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {"sad-train", "sad-export", "sad-runtime", "sad-tail"} <= {name for name, _ in scripts}
    for name, target in scripts:
        assert callable(pkgutil.resolve_name(target)), name


CONFIGS = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_every_shipped_configuration_loads(path: Path) -> None:
    if path.stem == "plant":
        assert len(plant_from(yaml_values(ROOT / "configs" / path), str(path))) > 1
        return
    kinds: list[tuple[str, type[Strict]]] = [("train/", TrainConfig), ("station", StationConfig)]
    model = next((model for start, model in kinds if path.as_posix().startswith(start)), None)
    assert model is not None, "configs/ holds plant, station* and train/*; give the new kind its model here"
    loaded = read_yaml(model, ROOT / "configs" / path)
    if isinstance(loaded, TrainConfig):
        assert path.stem == f"{loaded.method}-{loaded.preset}", "sad-train looks presets up by METHOD-PRESET"
    assert preset_path(path.with_suffix("").as_posix()).samefile(ROOT / "configs" / path)
