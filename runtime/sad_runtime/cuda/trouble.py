"""What a failed CUDA call means: a lost device, which only a new process gets back, or an error with a way to mend it.

CUDA's errors of the first kind are sticky: every later call in the process fails, whatever it is (CUDA runtime API,
cudaErrorIllegalAddress and its kin: "to continue using CUDA, the process must be terminated and relaunched").
pycuda says only CUDA's words, cuda-bindings the name as well, so both are looked for.
"""

from __future__ import annotations

from sad_runtime.errors import BackendError, DeviceLost, SadError

LOST = {
    "cudaErrorDevicesUnavailable": "busy or unavailable",
    "cudaErrorPriorLaunchFailure": "unspecified launch failure in prior launch",
    "cudaErrorNoDevice": "no CUDA-capable device is detected",
    "cudaErrorECCUncorrectable": "uncorrectable ECC error",
    "cudaErrorNvlinkUncorrectable": "uncorrectable NVLink error",
    "cudaErrorContained": "or a hardware error",
    "cudaErrorIllegalAddress": "an illegal memory access was encountered",
    "cudaErrorLaunchTimeout": "the launch timed out and was terminated",
    "cudaErrorContextIsDestroyed": "context is destroyed",
    "cudaErrorAssert": "device-side assert triggered",
    "cudaErrorHardwareStackError": "hardware stack error",
    "cudaErrorIllegalInstruction": "an illegal instruction was encountered",
    "cudaErrorMisalignedAddress": "misaligned address",
    "cudaErrorInvalidAddressSpace": "operation not supported on global/shared address space",
    "cudaErrorInvalidPc": "invalid program counter",
    "cudaErrorLaunchFailure": "unspecified launch failure",
    "cudaErrorTensorMemoryLeak": "tensor memory not completely freed",
    "cudaErrorSystemNotReady": "system not yet initialized",
    "cudaErrorMpsClientTerminated": "the MPS client has been terminated",
    "cudaErrorExternalDevice": "external entity outside of CUDA",
    "cudaErrorUnknown": "unknown error",
}
"""Name and words of the errors after which this process gets nothing more from the GPU."""

MEND = {
    "no CUDA-capable device is detected": "There is no NVIDIA GPU here that CUDA can use. See what nvidia-smi says",
    "out of memory": (
        "The GPU's memory is full. End what else uses it (nvidia-smi lists it), set engines.in_flight to 1, "
        "or take a smaller precision"
    ),
    "driver version is insufficient": (
        "The NVIDIA driver is missing, or older than this cuda-bindings. Install a newer driver, or the cuda-bindings "
        "of the CUDA version that nvidia-smi shows (for 12.x: pip install 'cuda-bindings==12.*'), "
        "or set engines.memory to pycuda"
    ),
    "invalid device ordinal": "There is no GPU of this number; they count from 0. Set engines.device",
}
"""How to mend an error, by CUDA's words."""


def trouble(doing: str, words: str, *, held: bool = True) -> SadError:
    """The error to raise for a call that failed. `words`: what CUDA says, with the name of the error if it is known.

    `held`: the GPU has worked in this process; one that was never there is not lost.
    """
    if held and any(name in words or phrase in words for name, phrase in LOST.items()):
        return DeviceLost(
            f"the GPU is lost: {doing} failed ({words}). Only a new process gets it back: start the command again. "
            "If it comes back, look for Xid in the kernel's log (dmesg)"
        )
    advice = next((f". {mend}" for phrase, mend in MEND.items() if phrase in words), "")
    return BackendError(f"cuda: {doing} failed ({words}){advice}")
