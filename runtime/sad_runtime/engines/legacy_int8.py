"""INT8 the old way, for TensorRT 8 and 10: from an fp32 file and a calibration table, where Q/DQ files do not serve.

The one reason to have it is the DLA of JetPack 5 and 6, which takes implicit quantisation only. The table (text: one
line a tensor, its scale as a hexadecimal float) was made elsewhere, on the same graph; TensorRT is shown no pictures
here. TensorRT 11 and TensorRT-RTX have dropped the whole thing. Not run by us on a GPU or a DLA.
"""

from __future__ import annotations

from typing import Any

from sad_runtime.errors import BackendError


def calibrator_of_table(trt: Any, table: bytes) -> Any:
    """An `IInt8EntropyCalibrator2` that knows `table` and nothing else. Raises BackendError on newer TensorRT."""
    if not hasattr(trt, "IInt8EntropyCalibrator2"):
        raise BackendError(
            f"engines.int8_table: TensorRT {trt.__version__} takes no calibration tables (8 and 10 did). "
            "Leave engines.int8_table out, and take the bundle's int8 model: --precision int8"
        )

    class Table(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # the base is only there at run time
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> None:
            """No pictures: TensorRT then has the table alone."""

        def read_calibration_cache(self) -> bytes:
            return table

        def write_calibration_cache(self, cache: bytes) -> None:
            """The table stays as it is."""

    return Table()
