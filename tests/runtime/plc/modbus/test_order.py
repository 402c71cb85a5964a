"""A PLC that takes over our writes word by word, in any order, is never shown a mixture that it would act on."""

from __future__ import annotations

import random
from itertools import pairwise, product

import pytest

from modbus import status
from sad_runtime.plc.modbus.order import HEAD, Write, writes
from sad_runtime.plc.register_map import RING_AT, status_registers
from sad_runtime.plc.status import Bit, Fault, Status

LOST = Status(bits=Bit.FEED_STALE | Bit.INVALID | Bit.FAULT, result=status(6).result, ring=status(6).ring)
ROUGH = [1, 2, 3, 0xFFFE, 0xFFFF, 0x1_0000, 0x1_0001, 0x2_FFFF, 0xFFFE_FFFF, 0xFFFF_0000, 0xFFFF_FFFD, 0xFFFF_FFFF]
"""Numbers whose halves could be taken for one another's."""


def decided(block: list[int]) -> tuple[int, str] | None:
    """What a PLC program makes of the block: the part and its verdict; None: nothing to act on."""
    bits, part_id = Bit(block[1]), block[9] << 16 | block[10]
    if block[7:9] != block[62:64] or not bits & Bit.RESULT_VALID or bits & Bit.INVALID:
        return None
    if bits & Bit.PASS and not bits & Bit.FAIL and block[12] == 1:
        return part_id, "PASS"
    return part_id, "not PASS"


def states(block: list[int], steps: list[Write], chance: random.Random) -> list[list[int]]:
    """The block after each word, the words of one request in any order, often with STATUS and VERDICT before all."""
    seen = []
    for step in steps:
        places = list(range(len(step.words)))
        chance.shuffle(places)
        if chance.random() < 0.5:
            places.sort(key=lambda place: step.at + place not in (1, 12))
        for place in places:
            block[step.at + place] = step.words[place]
            seen.append(list(block))
    return seen


def test_torn_requests_never_make_a_pass_of_another_part() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    chain = [LOST, *(status(seq) for pair in product(ROUGH, ROUGH) for seq in pair if pair[0] != pair[1]), LOST]
    blocks = [status_registers(shown) for shown in chain]
    good = {decided(block) for block in blocks}
    for before, after in pairwise(blocks):
        now = list(before)
        for seen in states(now, writes(before, after), chance):
            made = decided(seen)
            assert made is None or made[1] != "PASS" or made in (decided(before), decided(after))
        assert now == after
    assert {"PASS", "not PASS"} <= {made[1] for made in good if made}


@pytest.mark.parametrize("seed", range(20))
def test_an_unknown_block_passes_nothing_until_it_is_the_new_one(seed: int) -> None:
    chance = random.Random(seed)
    left_behind, after = status(chance.choice(ROUGH)), status(chance.choice(ROUGH))
    block = status_registers(left_behind)
    of_either = (decided(status_registers(left_behind)), decided(status_registers(after)))
    for number, seen in enumerate(states(block, writes(None, status_registers(after)), chance)):
        made = decided(seen)
        assert made is None or made == of_either[1 if number else 0] or made[1] != "PASS"
    assert block == status_registers(after)


@pytest.mark.parametrize("seed", range(5))
def test_a_program_that_reads_slowly_is_safe_too(seed: int) -> None:
    """It reads upwards while words arrive; on PASS both the bit and VERDICT have to say so."""
    chance = random.Random(seed)
    chain = [status(number) for number in range(1, 40)]
    good = {decided(status_registers(shown)) for shown in chain}
    block = status_registers(chain[0])
    words = [
        (step.at + place, word)
        for before, after in pairwise(chain)
        for step in writes(status_registers(before), status_registers(after))
        for place, word in enumerate(step.words)
    ]
    passed = 0
    while len(words) > 600:
        read = []
        for at in range(128):
            for _ in range(chance.choice((0, 0, 1, 3))):
                place, word = words.pop(0)
                block[place] = word
            read.append(block[at])
        made = decided(read)
        if made is not None and made[1] == "PASS":
            assert made in good
            passed += 1
    print(f"{passed} passed")


def test_a_heartbeat_is_one_small_request() -> None:
    old, new = status_registers(status(5, heartbeat=1)), status_registers(status(5, heartbeat=2))
    assert writes(old, new) == [Write(0, tuple(new[:HEAD]))]
    assert writes(new, new) == []


def test_all_of_it_is_written_again_in_the_order_of_a_result_and_stops_no_line() -> None:
    block = status_registers(status(6))
    steps = writes(block, block, whole=True)
    assert [(step.at, len(step.words)) for step in steps] == [(62, 2), (RING_AT, 64), (0, 62), (62, 2)]
    forgetful = [0] * 128
    for step in steps[:-1]:
        forgetful[step.at : step.at + len(step.words)] = step.words
        assert forgetful[7:9] != forgetful[62:64]
        assert forgetful[1] in (0, block[1]), "never a STATUS without a verdict"
    forgetful[62:64] = steps[-1].words
    assert forgetful == block


def test_a_new_result_is_four_requests_each_within_the_limit() -> None:
    steps = writes(status_registers(status(5)), status_registers(status(6)))
    assert [(step.at, len(step.words)) for step in steps] == [(62, 2), (RING_AT, 64), (0, 62), (62, 2)]


def test_a_fault_alone_leaves_the_result_in_peace() -> None:
    calm = status(5)
    alarmed = Status(**{**vars(calm), "bits": calm.bits | Bit.FAULT, "fault": Fault.CAMERA_LOST})
    assert len(writes(status_registers(calm), status_registers(alarmed))) == 1
