"""What a PLC may say by OPC UA: the Command nodes, and the methods that do their edges in one call.

A write of several Command nodes in one request is one command block, taken as a whole or not at all. The methods send
the block three times: without the bit, with it, and without it again.

One client commands a station at a time (writer_place.py). When its session ends only ENABLE stays of its CONTROL: an
edge that nobody takes back would make the next client's no edge.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from asyncua import ua

from sad_runtime.plc.base import OnCommand
from sad_runtime.plc.register_map import COMMANDS
from sad_runtime.plc.status import CONTROL_TEXT, Bit, CommandBlock, Control, Status
from sad_runtime.plc.writer_place import WriterPlace

if TYPE_CHECKING:
    from sad_runtime.plc.opcua.door import Session

TAKEN_S = 0.25
"""How long TriggerPart waits for TRIGGER_ACK."""
LOOK_S = 0.005
NO_BIT = Control(0)
TYPES = {"u16": ua.VariantType.UInt16, "u32": ua.VariantType.UInt32, "f32": ua.VariantType.Float}
RENAMED = {"RECIPE_REQUEST": "Recipe"}


@dataclass(frozen=True)
class CommandNode:
    name: str
    kind: Any
    """ua.VariantType."""
    text: str
    field: str = ""
    """Of CommandBlock."""
    bit: Control = NO_BIT
    """Or a bit of its `control`."""

    def of(self, block: CommandBlock) -> bool | int:
        return bool(block.control & self.bit) if self.bit else int(getattr(block, self.field))

    def put(self, block: CommandBlock, value: bool | int) -> CommandBlock:
        if not self.bit:
            return replace(block, **{self.field: int(value)})
        return replace(block, control=block.control | self.bit if value else block.control & ~self.bit)


def camel(name: str) -> str:
    """`RESULT_VALID`: `ResultValid`."""
    return "".join(word.capitalize() for word in name.split("_"))


NODES: tuple[CommandNode, ...] = (
    *(CommandNode(camel(str(bit.name)), ua.VariantType.Boolean, CONTROL_TEXT[bit], bit=bit) for bit in Control),
    *(
        CommandNode(RENAMED.get(field.name, camel(field.name)), TYPES[field.kind], field.text, field.name.lower())
        for field in COMMANDS
        if field.name != "CONTROL"
    ),
)


class Desk:
    """The commands of one station. All in the server's thread."""

    def __init__(self, station: str, on_command: OnCommand) -> None:
        self.station = station
        self.block = CommandBlock()
        self.place = WriterPlace()
        self.nodes: dict[str, Any] = {}
        """By name, their NodeIds."""
        self._on_command = on_command
        self._bits = Bit(0)
        self._at_work = asyncio.Lock()

    def saw(self, status: Status) -> None:
        self._bits = status.bits

    def say(self, block: CommandBlock) -> None:
        self.block = block
        self._on_command(self.station, block)

    def commanded_by(self, session: Session, now_s: float) -> None:
        """For whom `place` is free."""
        if self.place.connection not in (None, session):
            self.let_go()
        self.place.take(session.user.certificate, session, now_s)

    def let_go(self) -> None:
        """Whoever commanded is gone."""
        kept = self.block.control & int(Control.ENABLE)
        if kept != self.block.control:
            self.say(replace(self.block, control=kept))

    def pulse(self, bit: Control, **values: int) -> None:
        self._down(bit, values)
        self.say(replace(self.block, control=self.block.control | bit))
        self._down(bit, {})

    async def trigger(self, **values: int) -> bool:
        """Whether the trigger was taken."""
        async with self._at_work:
            self._down(Control.TRIGGER, values)
            if not await self._until(Bit(0)):
                return False
            self.say(replace(self.block, control=self.block.control | Control.TRIGGER))
            taken = await self._until(Bit.TRIGGER_ACK)
            self._down(Control.TRIGGER, {})
            return taken

    def _down(self, bit: Control, values: dict[str, int]) -> None:
        self.say(replace(self.block, control=self.block.control & ~bit, **values))

    async def _until(self, ack: Bit) -> bool:
        """Waits for TRIGGER_ACK to be as `ack`."""
        give_up = asyncio.get_running_loop().time() + TAKEN_S
        while self._bits & Bit.TRIGGER_ACK != ack:
            if asyncio.get_running_loop().time() > give_up:
                return False
            await asyncio.sleep(LOOK_S)
        return True


class Inbox:
    """Writes and calls of clients, for all stations."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._known: dict[Any, tuple[Desk, CommandNode]] = {}
        self._desks: list[Desk] = []
        self._methods: dict[Any, Desk] = {}

    def add(self, desk: Desk, node: CommandNode, node_id: Any) -> None:
        if desk not in self._desks:
            self._desks.append(desk)
        desk.nodes[node.name] = node_id
        self._known[node_id] = desk, node

    def add_method(self, desk: Desk, node_id: Any) -> None:
        self._methods[node_id] = desk

    def heard(self, session: Session) -> None:
        """Any request, reading too."""
        now_s = time.monotonic()
        for desk in self._desks:
            desk.place.heard(session.user.certificate, now_s)

    async def left(self, session: Session) -> None:
        for desk in self._desks:
            if desk.place.connection is session:
                desk.place.left(session)
                desk.let_go()
                await self.show(desk)

    def may_call(self, methods: Iterable[Any], session: Session) -> bool:
        """Whether nobody else commands where these methods (their NodeIds) do; then `session` does."""
        return self._admits((self._methods[method] for method in methods if method in self._methods), session)

    def _admits(self, desks: Iterable[Desk], session: Session) -> bool:
        asked, now_s = {desk.station: desk for desk in desks}.values(), time.monotonic()
        if not all(desk.place.free_for(session.user.certificate, now_s) for desk in asked):
            return False
        for desk in asked:
            desk.commanded_by(session, now_s)
        return True

    async def take(self, writes: Sequence[Any], session: Session) -> list[Any] | None:
        """Status codes, one a write: where one is refused, the good ones are answered BadNothingToDo. None: another
        client commands."""
        codes = [self._judged(write) for write in writes]
        if any(code != ua.StatusCodes.Good for code in codes):
            codes = [ua.StatusCodes.BadNothingToDo if code == ua.StatusCodes.Good else code for code in codes]
            return [ua.StatusCode(code) for code in codes]
        if not self._admits((self._known[write.NodeId][0] for write in writes), session):
            return None
        blocks: dict[str, tuple[Desk, CommandBlock]] = {}
        for write in writes:
            desk, node = self._known[write.NodeId]
            block = blocks.get(desk.station, (desk, desk.block))[1]
            blocks[desk.station] = desk, node.put(block, write.Value.Value.Value)
        for desk, block in blocks.values():
            desk.say(block)
            await self.show(desk)
        return [ua.StatusCode() for _ in writes]

    async def show(self, desk: Desk) -> None:
        """Lets the Command nodes say what the block says."""
        for node in NODES:
            value = ua.DataValue(ua.Variant(node.of(desk.block), node.kind))
            await self._server.write_attribute_value(desk.nodes[node.name], value)

    def _judged(self, write: Any) -> int:
        if write.AttributeId != ua.AttributeIds.Value or write.NodeId not in self._known:
            return int(ua.StatusCodes.BadUserAccessDenied)
        if write.IndexRange:
            return int(ua.StatusCodes.BadIndexRangeInvalid)
        given = write.Value
        if given is None or given.Value is None or given.Value.is_array or given.Value.Value is None:
            return int(ua.StatusCodes.BadTypeMismatch)
        if given.StatusCode is not None and not given.StatusCode.is_good():
            return int(ua.StatusCodes.BadInvalidArgument)
        if given.Value.VariantType != self._known[write.NodeId][1].kind:
            return int(ua.StatusCodes.BadTypeMismatch)
        return int(ua.StatusCodes.Good)
