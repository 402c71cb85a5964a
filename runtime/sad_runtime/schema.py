"""Strict configuration: pydantic models that refuse unknown keys by name and offer the nearest right one.

Station files, training presets and bundle manifests are all `Strict` models, read with `parse` or `read_yaml`.
Messages on the wire are not: a reader of the feed must ignore keys it does not know (see messages.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sad_runtime.errors import ConfigError


class Strict(BaseModel):
    """A frozen record; unknown keys, NaN and infinity are errors. Fields carry their units in their names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    return parse(model, yaml_values(path), str(path))


def yaml_values(path: Path) -> Any:
    """What the file at `path` says, {} when it is empty. Raises ConfigError, also for a key that is there twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    try:
        data = yaml.load(text, _OneOfEachKey)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    return {} if data is None else data


class _OneOfEachKey(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word; here the second one is an error with its line."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


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
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"'{path}': {said}{shown}" if path else said)
    return f"{where}: " + "; ".join(lines)


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that the models at `path` take, as a file spells them; walks Optional, list, dict and nested models."""
    here: list[Any] = [model]
    for part in path:
        here = [inner for annotation in here for inner in _inside(annotation, part)] or here
    models = [found for annotation in here for found in _alternatives(annotation) if _is_model(found)]
    return [key for found in models for key in _fields(found)]


def _inside(annotation: Any, part: int | str) -> list[Any]:
    """What stands at `part` of a value of this type: a field, an entry, an item."""
    found = []
    for kind in _alternatives(annotation):
        origin, arguments = get_origin(kind), get_args(kind)
        if _is_model(kind):
            found += [kind.model_fields[name].annotation for key, name in _fields(kind).items() if key == part]
        elif isinstance(origin, type) and issubclass(origin, Mapping) and arguments:
            found.append(arguments[1])
        elif isinstance(origin, type) and issubclass(origin, Iterable) and isinstance(part, int):
            found += [argument for argument in arguments if argument is not Ellipsis]
    return found


def _alternatives(annotation: Any) -> list[Any]:
    """The types that a value may have: `A | None` gives A and None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [inner for argument in get_args(annotation) for inner in _alternatives(argument)]
    return [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, str]:
    """Field names by the key that a file spells them with."""
    return {field.alias or name: name for name, field in model.model_fields.items()}
