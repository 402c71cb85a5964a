"""The feed as a JSON Schema, for readers in other languages and for code generators.

    python -m sad_runtime.feed.json_schema > docs/feed.schema.json

Made from the models in `messages.py`; what stands below a field there becomes its description here. What the station
sends is described as sent (every field is there), what is sent to it as it may be sent (fields with a default may be
left out).
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from typing import Any

from pydantic.json_schema import models_json_schema

from sad_runtime import messages
from sad_runtime.messages import MAJOR, TOPICS, Command, CommandReply, Message, SnapshotReply, SnapshotRequest

SENT: tuple[type[Message], ...] = (*TOPICS.values(), SnapshotReply, CommandReply)
TAKEN: tuple[type[Message], ...] = (SnapshotRequest, Command)


def feed_schema() -> dict[str, Any]:
    """Draft 2020-12. Each message is under `$defs` by its name; `topics` tells which one a topic carries."""
    _, document = models_json_schema([(model, "validation") for model in (*SENT, *TAKEN)])
    definitions: dict[str, Any] = document["$defs"]
    notes = _notes()
    for model in (*SENT, *TAKEN):
        definition = definitions[model.__name__]
        _describe(definition, notes[model.__name__])
        definition["required"] = list(definition["properties"]) if model in SENT else ["v", *definition["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"sad feed, schema {MAJOR}",
        "description": "Messages are msgpack maps; this describes the maps. docs/feed.md tells how they travel.",
        "topics": {name: {"$ref": f"#/$defs/{model.__name__}"} for name, model in TOPICS.items()},
        "$defs": definitions,
    }


def _describe(definition: dict[str, Any], notes: dict[str, str]) -> None:
    for name, field in definition["properties"].items():
        field.pop("title", None)
        if name in notes:
            field["description"] = notes[name]


def _notes() -> dict[str, dict[str, str]]:
    """Class name -> field name -> the text below the field, with what the class inherits from Message."""
    tree = ast.parse(inspect.getsource(messages))
    classes = {node.name: _notes_in(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    return {name: classes["Message"] | notes for name, notes in classes.items()}


def _notes_in(definition: ast.ClassDef) -> dict[str, str]:
    notes = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            notes[field.target.id] = str(ast.literal_eval(below.value))
    return notes


if __name__ == "__main__":
    json.dump(feed_schema(), sys.stdout, indent=1)
    print()
