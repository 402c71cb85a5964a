"""Strict configuration: pydantic models that refuse unknown keys by name and offer the nearest right one.

Station files, training presets and bundle manifests are all `Strict` models, read with `parse` or `read_yaml`.
Messages on the wire are not: a reader of the feed must ignore keys it does not know (see messages.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sad_runtime.errors import ConfigError


class Strict(BaseModel):
    """A frozen record whose unknown keys are errors. Fields carry their units in their names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=Strict)


def parse(model: type[M], data: object, where: str) -> M:
    """`data` as a `model`. Raises ConfigError naming `where`, each wrong key and the nearest right one."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected keys and values, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(model, error, where)) from None


def read_yaml(model: type[M], path: Path) -> M:
    """The YAML file at `path` as a `model`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    return parse(model, {} if data is None else data, str(path))


def _explain(model: type[BaseModel], error: ValidationError, where: str) -> str:
    lines = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            key = str(item["loc"][-1])
            known = _keys_at(model, item["loc"][:-1])
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}"
            lines.append(f"unknown key '{path}'; {hint}")
        elif item["type"] == "missing":
            lines.append(f"'{path}' is missing")
        else:
            given = item.get("input")
            shown = "" if isinstance(given, (dict, BaseModel)) else f" (got {given!r})"
            lines.append(f"'{path}': {item['msg']}{shown}" if path else item["msg"])
    return f"{where}: " + "; ".join(lines)


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that the nested model at `path` takes; walks Optional, list and dict annotations."""
    here: type[BaseModel] | None = model
    for part in path:
        if here is not None and isinstance(part, str) and part in here.model_fields:
            here = _model_inside(here.model_fields[part].annotation)
    return [] if here is None else list(here.model_fields)


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_inside(argument)
        if found is not None:
            return found
    return None
