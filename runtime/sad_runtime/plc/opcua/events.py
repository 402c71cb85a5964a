"""Each result once as an OPC UA event of type SadResult: none is lost where values are looked at now and then.

Fired from the station's node and from the Server object, where clients listen as a rule.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from asyncua import ua

from sad_runtime.plc.register_map import status_registers, status_values
from sad_runtime.plc.status import VERDICT_CODE, Result, Status
from sad_runtime.verdict import Verdict

FIELDS: tuple[tuple[str, Any], ...] = (
    ("Seq", ua.VariantType.UInt32),
    ("PartId", ua.VariantType.UInt32),
    ("TriggerId", ua.VariantType.UInt16),
    ("Verdict", ua.VariantType.UInt16),
    ("Reason", ua.VariantType.UInt16),
    ("Score", ua.VariantType.Float),
    ("Threshold", ua.VariantType.Float),
    ("AgeMs", ua.VariantType.Float),
    ("RunTag", ua.VariantType.UInt32),
)
"""Codes and units as in the register map."""
SEVERITY = {Verdict.PASS: 100, Verdict.FAIL: 300, Verdict.INVALID: 500}


async def result_event_type(server: Any, space: int) -> Any:
    return await server.create_custom_event_type(space, "SadResult", ua.ObjectIds.BaseEventType, list(FIELDS))


class ResultEvents:
    """Of one station."""

    def __init__(self, server: Any, generator: Any, station: str) -> None:
        self._server = server
        self._generator = generator
        self._from = (generator.event.emitting_node, ua.NodeId(ua.ObjectIds.Server))
        self._station = station
        self._last_seq: int | None = None

    async def tell(self, status: Status) -> int:
        """Fires what is new in the ring, oldest first; how many."""
        new: list[Result] = []
        for result in status.ring:
            if result.seq == self._last_seq:
                break
            new.append(result)
        for result in reversed(new):
            await self._fire(result, status)
            self._last_seq = result.seq
        return len(new)

    async def _fire(self, result: Result, status: Status) -> None:
        event = self._generator.event
        numbers = status_values(status_registers(Status(result=result)))
        event.Seq, event.PartId, event.TriggerId = result.seq, int(numbers["PART_ID"]), int(numbers["TRIGGER_ID"])
        event.Verdict, event.Reason = VERDICT_CODE[result.verdict], result.reason.code
        event.Score, event.Threshold = numbers["SCORE"], numbers["THRESHOLD"]
        event.AgeMs, event.RunTag = float(result.age_ms), status.run_tag
        event.Severity = SEVERITY[result.verdict]
        words = f"{self._station}: part {result.part_id} {result.verdict.value} ({result.reason.value})"
        event.emitting_node = self._from[0]
        await self._generator.trigger(datetime.now(timezone.utc), words)
        event.emitting_node = self._from[1]
        await self._server.iserver.subscription_service.trigger_event(event)


async def result_events(server: Any, event_type: Any, station: str, node: Any) -> ResultEvents:
    generator = await server.get_event_generator(event_type, node)
    await generator.init(event_type, emitting_node=ua.ObjectIds.Server)  # Server says it, too, fires such events
    await generator.init(event_type, emitting_node=node)
    return ResultEvents(server, generator, station)
