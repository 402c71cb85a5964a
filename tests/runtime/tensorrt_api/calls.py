"""Which attributes of TensorRT a source file uses, found by reading it: what the snapshots are held against."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Use:
    """`owner`: a class of TensorRT, or "" for the module itself."""

    owner: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}: trt.{self.owner + '.' if self.owner else ''}{self.name}"


def uses(source: str, objects: Mapping[str, str]) -> list[Use]:
    """`objects`: which class of TensorRT a variable holds, by its name. Uses that hasattr guards are left out."""
    tree = ast.parse(source)
    guarded = set(_guarded(tree))
    return [use for use in _found(tree, objects) if use.name not in guarded and use.owner not in guarded]


def missing(use: Use, snapshot: Mapping[str, Any]) -> bool:
    if not use.owner:
        return use.name not in snapshot["names"].split()
    return use.name not in snapshot["classes"].get(use.owner, "").split()


def _found(tree: ast.AST, objects: Mapping[str, str]) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = _owner(node.value, objects)
            if owner is not None and not node.attr.startswith("__"):
                yield Use(owner, node.attr, node.lineno)
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                if isinstance(base, ast.Attribute) and _owner(base.value, objects) == "":
                    yield from _overridden(node, base.attr)


def _overridden(node: ast.ClassDef, base: str) -> Iterator[Use]:
    """A method with a wrong name would never be called; ours, which TensorRT does not know, return str."""
    for method in node.body:
        own = (
            isinstance(method, ast.FunctionDef) and isinstance(method.returns, ast.Name) and method.returns.id == "str"
        )
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and not own:
            yield Use(base, method.name, method.lineno)


def _owner(value: ast.expr, objects: Mapping[str, str]) -> str | None:
    """The class of TensorRT that `value` is, or is an object of; "" for the module, None for all else."""
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    if name == "trt":
        return ""
    if name.lstrip("_") in objects:
        return objects[name.lstrip("_")]
    if isinstance(value, ast.Attribute) and _owner(value.value, {}) == "" and value.attr[0].isupper():
        return value.attr
    return None


def _guarded(tree: ast.AST) -> Iterator[str]:
    """Names that the file asks for with hasattr(..., "name")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hasattr":
            name = node.args[1]
            if isinstance(name, ast.Constant):
                yield str(name.value)
