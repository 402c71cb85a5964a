"""A trigger that stood in the PLC while nobody looked is no trigger any more."""

from __future__ import annotations

from sad_runtime.plc.polled_commands import PolledCommands
from sad_runtime.plc.status import CommandBlock, Control

ENABLE, TRIGGER, ACK = Control.ENABLE, Control.TRIGGER, Control.RESULT_ACK


def block(control: int, part_id: int = 1) -> CommandBlock:
    return CommandBlock(control=control, part_id=part_id)


def test_only_changes_are_told() -> None:
    polled = PolledCommands(0.25)
    told = [polled.changed(block(control), now_s / 10) for now_s, control in enumerate((1, 1, 3, 3, 1))]
    assert told == [block(1), None, block(3), None, block(1)]


def test_the_first_block_goes_as_it_is() -> None:
    assert PolledCommands(0.25).changed(block(ENABLE | TRIGGER), 100.0) == block(ENABLE | TRIGGER)


def test_a_bit_that_rose_unseen_is_held_back_until_it_fell() -> None:
    polled = PolledCommands(0.25)
    polled.changed(block(0), 0.0)
    assert polled.changed(block(ENABLE | TRIGGER | ACK, part_id=2), 1.0) == block(ENABLE, part_id=2)
    assert polled.changed(block(ENABLE | TRIGGER, part_id=2), 1.1) is None
    assert polled.changed(block(ENABLE, part_id=3), 1.2) == block(ENABLE, part_id=3)
    assert polled.changed(block(ENABLE | TRIGGER, part_id=3), 1.3) == block(ENABLE | TRIGGER, part_id=3)


def test_a_trigger_that_fell_and_rose_unseen_is_held_back_too() -> None:
    polled = PolledCommands(0.25)
    polled.changed(block(ENABLE | TRIGGER, part_id=1), 0.0)
    assert polled.changed(block(ENABLE | TRIGGER, part_id=2), 5.0) == block(ENABLE, part_id=2)
    assert polled.changed(block(ENABLE | TRIGGER, part_id=2), 5.1) is None
    assert polled.changed(block(ENABLE, part_id=2), 5.2) is None
    assert polled.changed(block(ENABLE | TRIGGER, part_id=3), 5.3) == block(ENABLE | TRIGGER, part_id=3)


def test_bits_that_mean_nothing_are_the_gates_to_refuse() -> None:
    polled = PolledCommands(0.25)
    polled.changed(block(0), 0.0)
    assert polled.changed(block(0x8000 | TRIGGER), 1.0) == block(0x8000)
