"""Objects/SadInspection/STATION/Methods, for clients that had rather call than write bits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from asyncua import ua

from sad_runtime.plc.opcua.commands import Desk, Inbox
from sad_runtime.plc.status import Control

U16, U32 = ua.VariantType.UInt16, ua.VariantType.UInt32
Arguments = Sequence[tuple[str, Any, str]]
TRIGGER: Arguments = (
    ("PartId", U32, "of the part"),
    ("TriggerId", U16, "with PartId different from every part under way"),
    ("DeadlineMs", U16, "0: the recipe's own"),
    ("Encoder", U32, "line position; kept in the records"),
)
ACKNOWLEDGE: Arguments = (("Seq", U32, "of the result that was read; acknowledges all up to it"),)
LOAD_RECIPE: Arguments = (("Recipe", U16, "number in the station's file"),)


async def add_methods(parent: Any, space: int, desk: Desk, inbox: Inbox) -> None:
    """`parent`: the station's object. Good says that the gateway was told; what came of it the Status nodes show.
    BadInvalidState: the trigger was not taken.
    """

    async def trigger(part_id: int, trigger_id: int, deadline_ms: int, encoder: int) -> bool:
        return await desk.trigger(part_id=part_id, trigger_id=trigger_id, deadline_ms=deadline_ms, encoder=encoder)

    async def acknowledge(seq: int) -> bool:
        desk.pulse(Control(0), ack_seq=seq)
        return True

    async def load_recipe(recipe: int) -> bool:
        desk.pulse(Control.LOAD_RECIPE, recipe_request=recipe)
        return True

    async def clear_fault() -> bool:
        desk.pulse(Control.CLEAR_FAULT)
        return True

    async def resync() -> bool:
        desk.pulse(Control.RESYNC)
        return True

    folder = await parent.add_object(ua.NodeId(f"{desk.station}.Methods", space), ua.QualifiedName("Methods", space))
    for name, takes, act in (
        ("TriggerPart", TRIGGER, trigger),
        ("Acknowledge", ACKNOWLEDGE, acknowledge),
        ("LoadRecipe", LOAD_RECIPE, load_recipe),
        ("ClearFault", (), clear_fault),
        ("Resync", (), resync),
    ):
        at = ua.NodeId(f"{desk.station}.Methods.{name}", space)
        asked = [_argument(*argument) for argument in takes]
        inbox.add_method(desk, at)
        await folder.add_method(at, ua.QualifiedName(name, space), _guarded(act, takes, desk, inbox), asked)


def _argument(name: str, kind: Any, text: str) -> Any:
    return ua.Argument(
        Name=name, DataType=ua.NodeId(kind.value), ValueRank=-1, ArrayDimensions=[], Description=ua.LocalizedText(text)
    )


def _guarded(act: Callable[..., Awaitable[bool]], takes: Arguments, desk: Desk, inbox: Inbox) -> Any:
    """The library hands over whatever a client sent."""

    async def called(parent: Any, *given: Any) -> Any:
        if len(given) != len(takes):
            too_many = len(given) > len(takes)
            return ua.StatusCode(ua.StatusCodes.BadTooManyArguments if too_many else ua.StatusCodes.BadArgumentsMissing)
        kinds = [kind for _, kind, _ in takes]
        if any(v.VariantType != kind or v.is_array or v.Value is None for v, kind in zip(given, kinds, strict=True)):
            return ua.StatusCode(ua.StatusCodes.BadInvalidArgument)
        taken = await act(*(v.Value for v in given))
        await inbox.show(desk)
        return [] if taken else ua.StatusCode(ua.StatusCodes.BadInvalidState)

    return called
