"""Which GPU this box has, asked of the driver without torch: by cuda-bindings or pycuda, whichever is installed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from sad_runtime.errors import BackendError, MissingExtra, UsageError


@dataclass(frozen=True)
class Gpu:
    """What an engine is bound to. `driver`: the newest CUDA that the driver runs, 12060 is 12.6."""

    name: str
    compute_capability: str
    driver: int
    integrated: bool
    """Shares its memory with the CPU, as on a Jetson."""

    @property
    def there(self) -> bool:
        return bool(self.name)

    def __str__(self) -> str:
        return f"{self.name} ({self.compute_capability})" if self.there else "no GPU"


NO_DEVICE = (34, 100)
"""What cuInit says on a box with a stub of the driver, and on one without a GPU."""
NO_GPU = Gpu(name="", compute_capability="", driver=0, integrated=False)


def gpu_found(device: int = 0) -> Gpu:
    """GPU number `device`, or NO_GPU on a box without one or without its driver.

    Raises MissingExtra without either package, UsageError where there are GPUs but not this one.
    """
    try:
        from cuda.bindings import driver
    except ImportError:
        return _by_pycuda(device)
    return _by_cuda_bindings(driver, device)


def use_gpu(device: int) -> None:
    """Makes GPU number `device` the one that the calling thread builds on; 0 is what CUDA takes by itself."""
    if device == 0:
        return
    try:
        from cuda.bindings import driver
    except ImportError:
        import pycuda.driver

        pycuda.driver.init()
        pycuda.driver.Device(device).retain_primary_context().push()
        return
    _answer((driver.cuInit(0)[0], None))
    context = _answer(driver.cuDevicePrimaryCtxRetain(_answer(driver.cuDeviceGet(device))))
    _answer((driver.cuCtxSetCurrent(context)[0], None))


def _by_cuda_bindings(driver: Any, device: int) -> Gpu:
    try:
        error = driver.cuInit(0)[0]
    except RuntimeError:  # libcuda.so.1 is not there
        return NO_GPU
    if int(error) in NO_DEVICE:
        return NO_GPU
    _answer((error, None))
    if not _numbered(device, _answer(driver.cuDeviceGetCount())):
        return NO_GPU
    handle = _answer(driver.cuDeviceGet(device))
    names = driver.CUdevice_attribute

    def attribute(which: Any) -> int:
        return int(_answer(driver.cuDeviceGetAttribute(which, handle)))

    major = attribute(names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
    minor = attribute(names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
    return Gpu(
        name=_answer(driver.cuDeviceGetName(256, handle)).split(b"\0")[0].decode("utf-8", "replace"),
        compute_capability=f"{major}.{minor}",
        driver=int(_answer(driver.cuDriverGetVersion())),
        integrated=bool(attribute(names.CU_DEVICE_ATTRIBUTE_INTEGRATED)),
    )


def _answer(reply: tuple[Any, ...]) -> Any:
    """cuda-bindings give (error, value)."""
    error, value = reply
    if int(error) != 0:
        raise BackendError(f"the CUDA driver does not say what GPU this is ({error}). Is it the right driver?")
    return value


def _by_pycuda(device: int) -> Gpu:
    try:
        import pycuda.driver as driver
    except ImportError:
        if importlib.util.find_spec("pycuda") is None:
            raise MissingExtra("cuda-bindings or pycuda", "tensorrt", "finding this box's GPU") from None
        return NO_GPU  # installed, and libcuda.so.1 is not there
    try:
        driver.init()
    except driver.Error:
        return NO_GPU
    if not _numbered(device, driver.Device.count()):
        return NO_GPU
    found = driver.Device(device)
    major, minor = found.compute_capability()
    return Gpu(
        name=found.name(),
        compute_capability=f"{major}.{minor}",
        driver=driver.get_driver_version(),
        integrated=bool(found.get_attribute(driver.device_attribute.INTEGRATED)),
    )


def _numbered(device: int, count: int) -> bool:
    """Whether there is a GPU at all. Raises UsageError where there are some, and this is none of them."""
    if count and device >= count:
        raise UsageError(f"engines.device {device}: this box has {count} GPU(s), numbered from 0. Set engines.device")
    return count > 0
