"""What OPC UA shows: Objects/SadInspection/STATION/{Status,Result,Counters,Command}, flat, in namespace urn:sad:plc.

NodeIds are strings that a PLC program can name: `line1.Result.Seq`. Values, types and texts come from the register map,
so both ways show the same. An update is written in one go: a Read of several nodes, or a notification, never mixes two.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from asyncua import ua

from sad_runtime.plc.opcua.commands import NODES, TYPES, Desk, Inbox, camel
from sad_runtime.plc.register_map import FIELDS, status_registers, status_values
from sad_runtime.plc.status import BIT_TEXT, FAULT_TEXT, Bit, Result, Status

NAMESPACE = "urn:sad:plc"
SHOWN_AS = {
    "STATUS": "Word",
    "RESULT_SEQ": "Seq",
    "COUNT_TOTAL": "Total",
    "COUNT_PASS": "Pass",
    "COUNT_FAIL": "Fail",
    "COUNT_INVALID": "Invalid",
    "COUNT_MISSED": "Missed",
    "COUNT_LOST": "Lost",
}
LEFT_OUT = {"RESULT_SEQ_COPY"}
"""Here a request is answered as a whole."""
OF_RESULT = {
    *("RESULT_SEQ", "PART_ID", "TRIGGER_ID", "VERDICT", "REASON", "SCORE", "THRESHOLD", "SCORE_PM", "REGIONS"),
    *("REGION_X", "REGION_Y", "REGION_W", "REGION_H", "LATENCY", "AGE", "CAPTURE_TIME", "CAPTURE_MS", "ENCODER"),
}


@dataclass(frozen=True)
class Shown:
    folder: str
    name: str
    kind: Any
    text: str

    @property
    def path(self) -> str:
        return f"{self.folder}.{self.name}"


def _folder_of(field_name: str) -> str:
    if field_name in OF_RESULT:
        return "Result"
    return "Counters" if field_name.startswith("COUNT_") else "Status"


FROM_MAP = {
    field.name: Shown(
        _folder_of(field.name), SHOWN_AS.get(field.name, camel(field.name)), TYPES[field.kind], field.text
    )
    for field in FIELDS
    if field.name not in LEFT_OUT
}
FROM_BITS = {bit: Shown("Status", camel(str(bit.name)), ua.VariantType.Boolean, BIT_TEXT[bit]) for bit in Bit}
STATE = Shown("Status", "State", ua.VariantType.String, "of the station, in the words of OPC 40100-1")
RUN = Shown("Status", "RunId", ua.VariantType.String, "of the station's start")
MODEL = Shown("Status", "ModelSha", ua.VariantType.String, "SHA-256 of the model in force")
FAULT = Shown("Status", "FaultText", ua.VariantType.String, "FaultCode in words")
JSON = Shown(
    "Result",
    "Json",
    ua.VariantType.String,
    "all of this result as one JSON object, regions too; for records, never for a gate",
)
SEQ = FROM_MAP["RESULT_SEQ"]
ALL: tuple[Shown, ...] = (*FROM_MAP.values(), *FROM_BITS.values(), STATE, RUN, MODEL, FAULT, JSON)


def values_of(status: Status) -> dict[Shown, Any]:
    """What each node shows."""
    numbers = status_values(status_registers(status))
    shown: dict[Shown, Any] = {node: numbers[name] for name, node in FROM_MAP.items()}
    shown.update((node, bool(status.bits & bit)) for bit, node in FROM_BITS.items())
    shown.update({STATE: status.state, RUN: status.run, MODEL: status.model_digest, FAULT: FAULT_TEXT[status.fault]})
    shown[JSON] = json_of(status.result)
    return shown


def json_of(result: Result | None) -> str:
    """Empty before the first. `verdict` does not fade after the ACK or with the feed, as the bits do."""
    if result is None:
        return ""
    names = ("seq", "part_id", "trigger_id", "encoder", "age_ms", "latency_ms", "captured_ns", "recipe", "model_digest")
    told: dict[str, Any] = {name: getattr(result, name) for name in names}
    told |= {"verdict": result.verdict.value, "reason": result.reason.value, "run": result.run}
    told |= {
        "feed_seq": result.feed_seq,
        "simulated": result.simulated,
        "regions": [list(box) for box in result.regions],
    }
    told |= {"score": _finite(result.score), "threshold": _finite(result.threshold)}
    return json.dumps(told)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class StationNodes:
    """The nodes of one station, and what stands in them."""

    def __init__(self, house: Any, ids: dict[Shown, Any]) -> None:
        self._house = house
        self._ids = ids
        self._now: dict[Shown, Any] = {}

    async def show(self, status: Status) -> None:
        """Writes what changed; of a result that changed all, with one time, Seq last."""
        new = values_of(status)
        changed = [node for node, value in new.items() if self._now.get(node) != value or node not in self._now]
        if any(node.folder == "Result" for node in changed):
            whole = [node for node in new if node.folder == "Result" and node is not SEQ]
            changed = [*(node for node in changed if node.folder != "Result"), *whole, SEQ]
        self._now = new
        now = datetime.now(timezone.utc)
        for node in changed:
            value = ua.DataValue(ua.Variant(new[node], node.kind), SourceTimestamp=now, ServerTimestamp=now)
            await self._house.write_attribute_value(self._ids[node], value)


async def station_nodes(server: Any, space: int, parent: Any, desk: Desk, inbox: Inbox) -> StationNodes:
    """Makes the nodes of `desk.station` under `parent`, the Command nodes too; `space`: index of the namespace."""
    station = desk.station
    top = await parent.add_object(ua.NodeId(station, space), ua.QualifiedName(station, space))
    folders = {}
    for name in ("Status", "Result", "Counters", "Command"):
        at = ua.NodeId(f"{station}.{name}", space)
        folders[name] = await top.add_object(at, ua.QualifiedName(name, space))
    ids, first = {}, values_of(Status())
    for node in ALL:
        ids[node] = await _variable(folders[node.folder], f"{station}.{node.path}", space, node, first[node])
    for command in NODES:
        at_first = Shown("Command", command.name, command.kind, command.text)
        made = await _variable(
            folders["Command"], f"{station}.Command.{command.name}", space, at_first, command.of(desk.block)
        )
        await server.get_node(made).set_writable()
        inbox.add(desk, command, made)
    shown = StationNodes(server.iserver, ids)
    await shown.show(Status())
    return shown


async def _variable(parent: Any, path: str, space: int, node: Shown, value: Any) -> Any:
    made = await parent.add_variable(
        ua.NodeId(path, space), ua.QualifiedName(node.name, space), value, varianttype=node.kind
    )
    if node.text:
        text = ua.DataValue(ua.Variant(ua.LocalizedText(node.text), ua.VariantType.LocalizedText))
        await made.write_attribute(ua.AttributeIds.Description, text)
    return made.nodeid
