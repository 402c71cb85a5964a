"""The seam for model precisions: name -> how its file is made from the fp32 graph. fp16 and int8 will join here."""

from __future__ import annotations

from collections.abc import Callable

from sad_runtime.errors import UsageError


def _as_it_is(onnx_fp32: bytes) -> bytes:
    return onnx_fp32


PRECISIONS: dict[str, Callable[[bytes], bytes]] = {"fp32": _as_it_is}


def model_file(onnx_fp32: bytes, precision: str) -> bytes:
    """The ONNX file of `precision`. Raises UsageError for one that this version cannot make."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision}: this version makes {', '.join(PRECISIONS)}")
    return PRECISIONS[precision](onnx_fp32)
