"""Which GPU a box has is asked of the driver: through cuda-bindings or pycuda, here with drivers that answer on cue."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sad_runtime.engines.gpu import NO_GPU, Gpu, gpu_found, use_gpu
from sad_runtime.errors import BackendError, MissingExtra, UsageError

ORIN = Gpu("Orin", "8.7", 12060, integrated=True)
CURRENT: list[Any] = []


def cuda_bindings(*, init: int = 0, count: int = 1) -> Any:
    """As cuda.bindings.driver answers: (error, value)."""
    attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=8,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=7,
        CU_DEVICE_ATTRIBUTE_INTEGRATED=1,
    )
    return SimpleNamespace(
        CUdevice_attribute=attribute,
        cuInit=lambda flags: (init,),
        cuDriverGetVersion=lambda: (0, 12060),
        cuDeviceGetCount=lambda: (0, count),
        cuDeviceGet=lambda number: (0, f"device {number}"),
        cuDeviceGetName=lambda size, device: (0, b"Orin".ljust(size, b"\0")),
        cuDeviceGetAttribute=lambda which, device: (0, which),
        cuDevicePrimaryCtxRetain=lambda device: (0, f"context of {device}"),
        cuCtxSetCurrent=lambda context: (CURRENT.append(context) or 0,),
    )


def pycuda(*, count: int = 1, broken: bool = False) -> Any:
    class Error(Exception):
        """As pycuda's."""

    class Device:
        def __init__(self, number: int) -> None:
            self.number = number

        count = staticmethod(lambda: count)

        def name(self) -> str:
            return "Orin"

        def compute_capability(self) -> tuple[int, int]:
            return 8, 7

        def get_attribute(self, which: int) -> int:
            return which

        def retain_primary_context(self) -> Any:
            return SimpleNamespace(push=lambda: CURRENT.append(self.number))

    def init() -> None:
        if broken:
            raise Error("no CUDA-capable device is detected")

    return SimpleNamespace(
        Error=Error,
        Device=Device,
        init=init,
        get_driver_version=lambda: 12060,
        device_attribute=SimpleNamespace(INTEGRATED=1),
    )


def installed(monkeypatch: pytest.MonkeyPatch, *, bindings: Any = None, cuda: Any = None) -> None:
    """Puts a package in the place of the real one, None: it is not installed."""
    monkeypatch.setitem(sys.modules, "cuda.bindings", None if bindings is None else package(driver=bindings))
    monkeypatch.setitem(sys.modules, "pycuda", None if cuda is None else package(driver=cuda))
    monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)


def package(**parts: Any) -> ModuleType:
    made = ModuleType("made for a test")
    made.__dict__.update(parts)
    return made


def test_both_packages_find_the_same_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, bindings=cuda_bindings())
    assert gpu_found() == ORIN
    installed(monkeypatch, cuda=pycuda())
    assert gpu_found() == ORIN
    assert str(ORIN) == "Orin (8.7)"


@pytest.mark.parametrize("error", [34, 100])
def test_a_box_without_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    installed(monkeypatch, bindings=cuda_bindings(init=error))
    assert gpu_found() == NO_GPU
    installed(monkeypatch, bindings=cuda_bindings(count=0))
    assert gpu_found() == NO_GPU
    installed(monkeypatch, cuda=pycuda(broken=True))
    assert gpu_found() == NO_GPU
    installed(monkeypatch, cuda=pycuda(count=0))
    assert gpu_found() == NO_GPU


def test_a_driver_that_does_not_fit_is_an_error_and_not_a_box_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, bindings=cuda_bindings(init=803))
    with pytest.raises(BackendError, match=r"does not say what GPU this is \(803\)"):
        gpu_found()


def test_a_gpu_that_is_not_there_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, bindings=cuda_bindings(count=2))
    assert gpu_found(1) == ORIN
    with pytest.raises(UsageError, match=r"engines\.device 2: this box has 2 GPU\(s\), numbered from 0"):
        gpu_found(2)


def test_without_either_package_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(MissingExtra, match="cuda-bindings or pycuda"):
        gpu_found()


def test_another_gpu_than_the_first_is_made_the_one_to_build_on(monkeypatch: pytest.MonkeyPatch) -> None:
    CURRENT.clear()
    installed(monkeypatch, bindings=cuda_bindings(count=2))
    use_gpu(0)
    assert CURRENT == []
    use_gpu(1)
    installed(monkeypatch, cuda=pycuda(count=2))
    use_gpu(1)
    assert CURRENT == ["context of device 1", 1]
