"""Runs Structured Text, for the blocks in docs/plc/: blark (a parser for TwinCAT's dialect) reads it, this obeys it.

No compiler of the language is to be had from the registries that the tests use. Types are kept and compared as a PLC's
compiler does: WORD is no UINT, and what mixes them is an error here too. Only what the blocks use is understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from blark import transform as st
from blark.parse import parse_source_code

BITS = {"BOOL": 1, "WORD": 16, "DWORD": 32, "UINT": 16, "UDINT": 32, "INT": 16, "DINT": 32, "TIME": 63}
SIGNED = ("INT", "DINT", "TIME")
LITERAL = "literal"
"""A number without a type of its own; it takes that of its partner."""
MOST_STATEMENTS = 100_000


@dataclass(frozen=True)
class Value:
    kind: str
    number: int


@dataclass
class Ton:
    """On-delay timer, IEC 61131-3 table 38."""

    clock_ms: Callable[[], int]
    since_ms: int | None = None
    q: bool = False

    def call(self, on: bool, preset_ms: int) -> None:
        if not on:
            self.since_ms, self.q = None, False
            return
        if self.since_ms is None:
            self.since_ms = self.clock_ms()
        self.q = self.clock_ms() - self.since_ms >= preset_ms


class _Leave(Exception):
    """EXIT of a loop."""


@cache
def _parsed(text: str) -> tuple[Any, ...]:
    parsed = parse_source_code(text)
    if parsed.exception is not None:
        raise parsed.exception
    return tuple(parsed.transform().items)


@dataclass
class Program:
    """One function block, its variables kept from call to call."""

    text: str
    outside: dict[str, Any] = field(default_factory=dict)
    """Data blocks by name: name -> {field: Value}. Written in place."""
    now_ms: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._structures: dict[str, dict[str, str]] = {}
        for item in _parsed(self.text):
            if isinstance(item, st.FunctionBlock):
                self._block = item
            else:
                declared = item.declaration
                self._structures[str(declared.name)] = {
                    str(variable.name): str(part.init.spec.type)
                    for part in declared.declarations
                    for variable in part.variables
                }
        for group in self._block.declarations:
            constant = getattr(group, "attrs", None) is not None and "CONSTANT" in str(group.attrs).upper()
            for item in group.items:
                for variable in item.variables:
                    (self.constants if constant else self.values)[str(variable.name)] = self._new(item.init)

    def set(self, name: str, number: int) -> None:
        """An input, by its declared type."""
        old = self.values[name]
        self.values[name] = _fitted(Value(LITERAL, int(number)), old.kind)

    def set_words(self, name: str, numbers: list[int]) -> None:
        self.values[name] = [Value("WORD", number) for number in numbers]

    def number(self, name: str) -> int:
        value = self.values[name]
        assert isinstance(value, Value)
        return value.number

    def words(self, name: str) -> list[int]:
        return [value.number for value in self.values[name]]

    def call(self, now_ms: int) -> None:
        """One scan."""
        self.now_ms = now_ms
        self._left = MOST_STATEMENTS
        self._run(self._block.body)

    # -- declarations

    def _new(self, init: Any) -> Any:
        if isinstance(init, st.ArrayTypeInitialization):
            (bounds,) = init.spec.subranges
            assert int(bounds.start.value) == 0
            return [self._zero(str(init.spec.type.type_name)) for _ in range(int(bounds.stop.value) + 1)]
        kind = str(init.spec.type)
        return self._zero(kind) if init.value is None else _fitted(self._of(init.value), kind)

    def _zero(self, kind: str) -> Any:
        if kind == "TON":
            return Ton(lambda: self.now_ms)
        if kind in self._structures:
            return {name: self._zero(part) for name, part in self._structures[kind].items()}
        return Value(kind, 0) if kind in BITS else _unknown(kind)

    # -- statements

    def _run(self, listed: Any) -> None:
        for statement in listed.statements if listed is not None else ():
            self._left -= 1
            assert self._left > 0, "the block does not end"
            _STATEMENTS[type(statement)](self, statement)

    def _assign(self, statement: Any) -> None:
        (target,) = statement.variables
        value = self._of(statement.expression)
        holder, key = self._place(target)
        assert holder is not self.constants, f"{target} is constant"
        old = holder[key]
        assert isinstance(old, Value), f"{target} is no plain value"
        holder[key] = _fitted(value, old.kind)

    def _if(self, statement: Any) -> None:
        if self._truth(statement.if_expression):
            return self._run(statement.statements)
        for other in statement.else_ifs:
            if self._truth(other.if_expression):
                return self._run(other.statements)
        if statement.else_clause is not None:
            self._run(statement.else_clause.statements)

    def _for(self, statement: Any) -> None:
        holder, key = self._place(statement.control)
        kind = holder[key].kind
        number, last = self._of(statement.from_).number, self._of(statement.to).number
        try:
            while number <= last:
                holder[key] = _fitted(Value(LITERAL, number), kind)
                self._run(statement.statements)
                number += 1
        except _Leave:
            pass

    def _while(self, statement: Any) -> None:
        try:
            while self._truth(statement.expression):
                self._run(statement.statements)
        except _Leave:
            pass

    def _exit(self, statement: Any) -> None:
        raise _Leave

    def _timer(self, statement: Any) -> None:
        timer = self.values[str(statement.name.name)]
        given = {str(parameter.name): self._of(parameter.value) for parameter in statement.parameters}
        assert set(given) == {"IN", "PT"}, given
        timer.call(bool(_fitted(given["IN"], "BOOL").number), _fitted(given["PT"], "TIME").number)

    # -- expressions

    def _truth(self, expression: Any) -> bool:
        value = self._of(expression)
        assert value.kind == "BOOL", f"{expression} is {value.kind}, not BOOL"
        return bool(value.number)

    def _of(self, node: Any) -> Value:
        if isinstance(node, st.ParenthesizedExpression):
            return self._of(node.expr)
        if isinstance(node, st.Boolean):
            return Value("BOOL", int(str(node.value).upper() == "TRUE"))
        if isinstance(node, st.Duration):
            assert not any((node.days, node.hours, node.minutes))
            return Value("TIME", int(node.seconds or 0) * 1000 + int(node.milliseconds or 0))
        if isinstance(node, st.HexInteger):
            return Value(LITERAL, int(str(node.value), 16))
        if isinstance(node, st.Integer):
            return Value(LITERAL, int(node.value))
        if isinstance(node, st.UnaryOperation):
            assert str(node.op).upper() == "NOT"
            value = self._of(node.expr)
            return Value(value.kind, ~value.number & (2 ** BITS[value.kind] - 1))
        if isinstance(node, st.BinaryOperation):
            return _combined(self._of(node.left), str(node.op).upper(), self._of(node.right))
        if isinstance(node, st.FunctionCall):
            return _function(str(node.name.name), [self._of(parameter.value) for parameter in node.parameters])
        holder, key = self._place(node)
        value = holder[key]
        if isinstance(value, bool):
            return Value("BOOL", int(value))
        assert isinstance(value, Value), f"{node} is no plain value"
        return value

    def _place(self, node: Any) -> tuple[Any, Any]:
        """Where the value lies: its holder, and its key there."""
        if isinstance(node, st.SimpleVariable):
            name = str(node.name)
            for holder in (self.values, self.constants, self.outside):
                if name in holder:
                    return holder, name
            raise NameError(f"{name} is not declared")
        holder, key = self._place(node.name)
        for element in node.elements:
            found = holder[key]
            if isinstance(found, Ton):
                assert str(element.field.name) == "Q"
                return {"Q": found.q}, "Q"
            holder = found
            if isinstance(element, st.SubscriptList):
                (subscript,) = element.subscripts
                key = self._of(subscript).number
                assert 0 <= key < len(found), f"{node}: {key} is outside of the array"
            else:
                key = str(element.field.name)
        return holder, key


_STATEMENTS: Mapping[type, Callable[[Program, Any], None]] = {
    st.AssignmentStatement: Program._assign,
    st.IfStatement: Program._if,
    st.ForStatement: Program._for,
    st.WhileStatement: Program._while,
    st.ExitStatement: Program._exit,
    st.FunctionCallStatement: Program._timer,
}


def _unknown(kind: str) -> Any:
    raise NameError(f"type {kind} is not known")


def _wrapped(number: int, kind: str) -> Value:
    """As two's complement hardware counts."""
    number &= 2 ** BITS[kind] - 1
    if kind in SIGNED and number >= 2 ** (BITS[kind] - 1):
        number -= 2 ** BITS[kind]
    return Value(kind, number)


def _fitted(value: Value, kind: str) -> Value:
    if value.kind == LITERAL:
        fitted = _wrapped(value.number, kind)
        assert fitted.number == value.number, f"{value.number} does not fit {kind}"
        return fitted
    assert value.kind == kind, f"{value.kind} where {kind} is declared"
    return value


def _combined(left: Value, op: str, right: Value) -> Value:
    kind = right.kind if left.kind == LITERAL else left.kind
    if kind == LITERAL:
        kind = "DINT"
    a, b = _fitted(left, kind).number, _fitted(right, kind).number
    if op in ("=", "<>", "<", ">", "<=", ">="):
        told = {"=": a == b, "<>": a != b, "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[op]
        return Value("BOOL", int(told))
    if op in ("AND", "OR"):
        assert kind in ("BOOL", "WORD", "DWORD"), f"{op} of {kind}"
        return Value(kind, a & b if op == "AND" else a | b)
    assert kind in ("INT", "DINT", "UINT", "UDINT"), f"{op} of {kind}"
    return _wrapped({"+": lambda: a + b, "-": lambda: a - b, "MOD": lambda: a % b}[op](), kind)


def _function(name: str, given: list[Value]) -> Value:
    if name in ("SHL", "SHR"):
        value, count = given[0], _fitted(given[1], "INT").number
        assert value.kind in ("WORD", "DWORD")
        return _wrapped(value.number << count if name == "SHL" else value.number >> count, value.kind)
    found = re.fullmatch(r"([A-Z]+)_TO_([A-Z]+)", name)
    if found is None or not {*found.groups()} <= {*BITS}:
        raise NameError(f"function {name} is not known")
    (value,) = given
    return _wrapped(_fitted(value, found[1]).number, found[2])
