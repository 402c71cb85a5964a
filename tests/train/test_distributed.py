"""How several processes share a batch, and what a GPU of an older kind computes in. The group itself: test_campaign."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from sad_train import loop
from sad_train.config import TrainConfig
from sad_train.distributed import Ranks


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_processes_together_make_every_example_once(count: int) -> None:
    shares = [Ranks("cpu", rank, count).share(24, step=5) for rank in range(count)]
    assert sorted(slot for share in shares for slot in share) == list(range(24))
    assert {len(share) for share in shares} == {24 // count}
    assert shares == [Ranks("cpu", rank, count).share(24, step=5) for rank in range(count)]


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("kinds", [2, 3])
def test_every_process_gets_the_same_mix_of_kinds_that_take_turns(count: int, kinds: int) -> None:
    """As CutPaste's do: with plain strides one of two processes would see good pictures only."""
    for rank in range(count):
        shares = [Ranks("cpu", rank, count).share(96, step) for step in range(40)]
        found = Counter(slot % kinds for share in shares for slot in share)
        assert [found[kind] * kinds / found.total() for kind in range(kinds)] == pytest.approx([1.0] * kinds, abs=0.15)
        assert all(len({slot % kinds for slot in share}) == kinds for share in shares)


def test_every_process_gets_its_part_of_a_block_of_clean_pictures() -> None:
    clean = [sum(slot < 8 for slot in Ranks("cpu", 1, 2).share(32, step)) for step in range(40)]
    assert sum(clean) / len(clean) == pytest.approx(4, abs=0.6)
    assert min(clean) > 0


def test_workers_are_told_by_the_cores_not_by_torchs_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun leaves each process one thread, which is no reason to make examples in one process."""
    monkeypatch.setattr(loop, "os", SimpleNamespace(sched_getaffinity=lambda process: set(range(16))))
    config = TrainConfig()
    assert loop._workers(config, Ranks("cpu")) == 15
    assert loop._workers(config, Ranks("cpu", 1, 4)) == 3
    assert loop._workers(config, Ranks("cpu", 1, 64)) == 1
    assert loop._workers(config.model_copy(update={"workers": 0}), Ranks("cpu")) == 0


@pytest.mark.filterwarnings("ignore:.*CUDA is not available.*")
def test_a_gpu_that_only_emulates_bf16_trains_in_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Turing does, at a fraction of its speed; torch calls that supported unless asked otherwise."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    autocast, _ = loop._mixed_precision(Ranks("cuda"))
    context = autocast()
    assert isinstance(context, torch.autocast)
    assert context.fast_dtype is torch.float16
