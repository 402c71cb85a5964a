"""The stations once more, as VisionSystemType of OPC 40100-1 (Machine Vision part 1), where its nodeset is given.

Shown: the state machine's states, the latest result as ResultDataType, PrepareRecipe. All other methods answer
BadNotImplemented: no conformance is claimed. What a line needs is complete in SadInspection.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from asyncua import ua
from asyncua.common.instantiate_util import instantiate

from sad_runtime.errors import UsageError
from sad_runtime.files import reason_of
from sad_runtime.plc.opcua.commands import Desk
from sad_runtime.plc.opcua.nodes import json_of
from sad_runtime.plc.status import Bit, Control, Result, Status
from sad_runtime.verdict import Reason, State, Verdict

MODEL = "http://opcfoundation.org/UA/MachineVision"
AUTOMATIC = (State.INITIALIZED, State.READY, State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION)
COMPLETED, ABORTED, FAILED = 1, 3, 4
"""ResultState: what became of the inspection, not of the part; the verdict is in ResultContent."""
NOT_A_RECIPE = 1
"""Error of PrepareRecipe, of our own: OPC 40100-1 leaves the numbers to the system."""


@dataclass(frozen=True)
class Model:
    """What of the nodeset is needed, by browse name."""

    space: int
    types: dict[str, Any]
    states: dict[str, Any]


async def import_nodeset(server: Any, path: Path) -> Model:
    """Raises UsageError for a file that is not OPC 40100-1's."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"plc.opcua.nodeset {path}: cannot be read: {reason_of(error)}") from None
    if f"<Uri>{MODEL}</Uri>".encode() not in text:
        raise _not_it(path, "it does not name the model")
    try:
        await server.import_xml(path)
        space = await server.get_namespace_index(MODEL)
        return await _model(server, space)
    except (ParseError, ua.UaError, ValueError, TypeError, KeyError, AttributeError, SyntaxError) as error:
        raise _not_it(path, f"{type(error).__name__}: {error}") from None


def _not_it(path: Path, why: str) -> UsageError:
    return UsageError(
        f"plc.opcua.nodeset {path}: is not Opc.Ua.MachineVision.NodeSet2.xml of OPC 40100-1 ({why}). "
        "Name that file, or leave `nodeset` out"
    )


async def _model(server: Any, space: int) -> Model:
    types: dict[str, Any] = {}
    for name, root in (
        ("VisionSystemType", server.nodes.base_object_type),
        ("ResultManagementType", server.nodes.base_object_type),
        ("RecipeManagementType", server.nodes.base_object_type),
        ("VisionStateMachineType", server.get_node(ua.ObjectIds.FiniteStateMachineType)),
        ("VisionAutomaticModeStateMachineType", server.get_node(ua.ObjectIds.FiniteStateMachineType)),
        ("ResultType", server.get_node(ua.ObjectIds.BaseDataVariableType)),
    ):
        types[name] = await root.get_child([f"{space}:{name}"])
    states = {}
    for machine in ("VisionStateMachineType", "VisionAutomaticModeStateMachineType"):
        for child in await types[machine].get_children():
            states[(await child.read_browse_name()).Name] = child.nodeid
    return Model(space, types, states)


class VisionSystem:
    """One station."""

    def __init__(self, server: Any, model: Model, machine: Any, automatic: Any, result: Any) -> None:
        self._server = server
        self._model = model
        self._machines = machine, automatic
        """(CurrentState, Id) each."""
        self._result = result
        self._shown: tuple[str, str] | None = None
        self._named: tuple[object, ...] | None = None

    async def show(self, status: Status) -> None:
        states = states_of(status)
        if states != self._shown:
            self._shown = states
            for nodes, state in zip(self._machines, states, strict=True):
                await self._write(nodes[0], ua.LocalizedText(state), ua.VariantType.LocalizedText)
                of_it = self._model.states.get(state, ua.NodeId())
                await self._write(nodes[1], of_it, ua.VariantType.NodeId)
        result = status.ring[0] if status.ring else None
        if result is not None and (result.seq, result.verdict) != self._named:
            self._named = result.seq, result.verdict
            await self._write(self._result, result_of(result), ua.VariantType.ExtensionObject)

    async def _write(self, node: Any, value: Any, kind: Any) -> None:
        now = datetime.now(timezone.utc)
        told = ua.DataValue(ua.Variant(value, kind), SourceTimestamp=now, ServerTimestamp=now)
        await self._server.iserver.write_attribute_value(node.nodeid, told)


def states_of(status: Status) -> tuple[str, str]:
    """Of the vision state machine, and of the automatic mode inside Operational (empty outside it)."""
    if not status.state:
        return State.PREOPERATIONAL.value, ""
    if status.bits & Bit.FEED_STALE:
        return State.ERROR.value, ""
    if status.state in [state.value for state in AUTOMATIC]:
        return "Operational", status.state
    return status.state, ""


def result_of(result: Result) -> Any:
    """As ResultDataType."""
    told = ua.ResultDataType()
    told.ResultId = ua.ResultIdDataType(Id=f"{result.run}/{result.seq}")
    told.IsPartial, told.IsSimulated = False, result.simulated
    told.ResultState = _state_of(result)
    told.PartId = ua.PartIdDataType(Id=str(result.part_id))
    told.InternalRecipeId = ua.BinaryIdBaseDataType(Id=str(result.recipe))
    told.InternalConfigurationId = ua.BinaryIdBaseDataType(Id=result.model_digest)
    told.JobId = ua.JobIdDataType(Id=str(result.trigger_id))
    told.CreationTime = datetime.fromtimestamp(result.captured_ns / 1e9, timezone.utc)
    told.ResultContent = [ua.Variant(json_of(result), ua.VariantType.String)]
    return told


def _state_of(result: Result) -> int:
    if result.verdict is not Verdict.INVALID:
        return COMPLETED
    return ABORTED if result.reason is Reason.LATE else FAILED


async def vision_system(server: Any, space: int, model: Model, desk: Desk) -> VisionSystem:
    name = f"SadVision-{desk.station}"
    top = await _instance(server.nodes.objects, space, name, space, name, model.types["VisionSystemType"])
    machine = await top.get_child([f"{model.space}:VisionStateMachine"])

    async def part(parent: Any, kind: str, called: str) -> Any:
        return await _instance(parent, space, f"{name}.{called}", model.space, called, model.types[kind])

    automatic = await part(machine, "VisionAutomaticModeStateMachineType", "AutomaticModeStateMachine")
    recipes = await part(top, "RecipeManagementType", "RecipeManagement")
    results = await part(top, "ResultManagementType", "ResultManagement")
    folder = await results.add_folder(ua.NodeId(f"{name}.Results", space), ua.QualifiedName("Results", model.space))
    latest = (
        await instantiate(
            folder,
            model.types["ResultType"],
            ua.NodeId(f"{name}.Results.Latest", space),
            bname=ua.QualifiedName("Latest", space),
            dname=ua.LocalizedText("Latest"),
            instantiate_optional=False,
        )
    )[0]
    for holder in (machine, automatic, recipes, results):
        for method in await holder.get_methods():
            server.link_method(method, _not_implemented)
    prepare = await recipes.get_child([f"{model.space}:PrepareRecipe"])
    server.iserver.inbox.add_method(desk, prepare.nodeid)
    server.link_method(prepare, _prepare_recipe(desk))
    system = VisionSystem(server, model, await _current(machine), await _current(automatic), latest)
    await system.show(Status())
    return system


async def _instance(parent: Any, space: int, path: str, name_space: int, name: str, kind: Any) -> Any:
    return await parent.add_object(
        ua.NodeId(path, space), ua.QualifiedName(name, name_space), objecttype=kind.nodeid, instantiate_optional=False
    )


async def _current(machine: Any) -> tuple[Any, Any]:
    state = await machine.get_child(["0:CurrentState"])
    return state, await state.get_child(["0:Id"])


async def _not_implemented(parent: Any, *given: Any) -> Any:
    return ua.StatusCode(ua.StatusCodes.BadNotImplemented)


def _prepare_recipe(desk: Desk) -> Any:
    """ExternalId.Id is the recipe's number. The change over takes its time: Status.RecipeOk tells its end."""

    async def called(parent: Any, *given: Any) -> Any:
        wanted = str(getattr(given[0].Value, "Id", "")) if given else ""
        if not (wanted.isascii() and wanted.isdigit() and 0 < int(wanted) <= 0xFFFF):
            return _answer("", False, NOT_A_RECIPE)
        desk.pulse(Control.LOAD_RECIPE, recipe_request=int(wanted))
        return _answer(wanted, False, 0)

    return called


def _answer(internal: str, completed: bool, error: int) -> list[Any]:
    return [
        ua.Variant(ua.BinaryIdBaseDataType(Id=internal), ua.VariantType.ExtensionObject),
        ua.Variant(completed, ua.VariantType.Boolean),
        ua.Variant(error, ua.VariantType.Int32),
    ]
