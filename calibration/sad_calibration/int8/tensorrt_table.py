"""TensorRT's own calibration cache, for its older way to INT8: implicit, without Q/DQ (TensorRT 8.x and 10.x, DLA).

Text: a header, then `tensor: scale` a line, the scale being the 8 hex digits of a big-endian float32, amplitude / 127.
A builder that is given such a table through IInt8EntropyCalibrator2.read_calibration_cache runs no picture. It wants
a range for every tensor, not only for those that feed a Conv: see activations.all_tensors. Gone in TensorRT 11.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from sad_calibration.int8.mean_square import STEPS
from sad_calibration.int8.ranges import check_amplitude
from sad_runtime.errors import ConfigError

HEADER = "TRT-8502-EntropyCalibration2"
_HEADER = re.compile(r"TRT-\d+-\w+")
_LINE = re.compile(r"(?P<tensor>.+): (?P<scale>[0-9a-fA-F]{8})")


def table_header(tensorrt: str, algorithm: str = "EntropyCalibration2") -> str:
    """The header for this version, "8.5.2.2" or "10.3.0": TensorRT 10 refuses a table that another version headed."""
    try:
        major, minor, patch = (int(part) for part in tensorrt.split(".")[:3])
    except ValueError:
        raise ConfigError(f"'{tensorrt}' is no version of TensorRT; write 10.3.0") from None
    number = major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch
    return f"TRT-{number}-{algorithm}"


def tensorrt_table(ranges: Mapping[str, float], *, header: str = HEADER) -> bytes:
    """The table for amplitudes by tensor. Raises ConfigError for a name or a number that it cannot hold."""
    if not _HEADER.fullmatch(header):
        raise ConfigError(f"'{header}' is no header of a TensorRT calibration table; write {HEADER}")
    lines = [header]
    for tensor, amplitude in ranges.items():
        try:
            check_amplitude(amplitude, tensor)
        except ValueError as error:
            raise ConfigError(f"TensorRT calibration table: {error}") from None
        if not tensor or tensor.splitlines() != [tensor]:
            raise ConfigError(f"TensorRT calibration table: {tensor!r} cannot be the name of a tensor in it")
        lines.append(f"{tensor}: {struct.pack('>f', amplitude / STEPS).hex()}")
    return ("\n".join(lines) + "\n").encode()


def ranges_from_table(data: bytes, where: str) -> dict[str, float]:
    """Amplitude by tensor. Raises ConfigError for anything that `tensorrt_table` does not write."""
    try:
        header, *lines = data.decode().splitlines()
    except ValueError as error:  # no UTF-8, or nothing at all
        raise ConfigError(f"{where}: not a TensorRT calibration table ({error})") from None
    if not _HEADER.fullmatch(header):
        raise ConfigError(f"{where}: not a TensorRT calibration table; it begins with '{header[:40]}'")
    ranges: dict[str, float] = {}
    for number, line in enumerate(lines, start=2):
        found = _LINE.fullmatch(line)
        if found is None:
            raise ConfigError(f"{where}, line {number}: expected `tensor: 8 hex digits`, found '{line[:60]}'")
        tensor, (scale,) = found["tensor"], struct.unpack(">f", bytes.fromhex(found["scale"]))
        try:
            check_amplitude(scale * STEPS, tensor)
        except ValueError as error:
            raise ConfigError(f"{where}, line {number}: {error}") from None
        if tensor in ranges:
            raise ConfigError(f"{where}, line {number}: a second range for '{tensor}'")
        ranges[tensor] = scale * STEPS
    return ranges
