"""Writes a table of any length to CSV or Parquet, some thousand rows at a time; the file is there when it is whole."""

from __future__ import annotations

import csv
import importlib.util
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.files import reason_of

CHUNK = 10_000
Columns = Mapping[str, type]
Values = Sequence[Any]


def write_csv(path: Path, columns: Columns, rows: Iterable[Values]) -> int:
    """Returns the number of rows. What is None stays empty; floats come back bit for bit."""
    count = 0
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for chunk in _chunks(rows):
            writer.writerows(chunk)
            count += len(chunk)
    return count


def write_parquet(path: Path, columns: Columns, rows: Iterable[Values]) -> int:
    """Returns the number of rows. Raises MissingExtra without pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra("pyarrow", "parquet", "writing Parquet")
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    types = {int: arrow.int64(), float: arrow.float64(), str: arrow.string()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    count = 0
    with written_whole(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for chunk in _chunks(rows):
            arrays = [
                arrow.array(column, type=field.type)
                for column, field in zip(zip(*chunk, strict=True), schema, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(chunk)
    return count


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write into; it takes the place of `path` when the block ends without an error.

    Raises UsageError where nothing can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({reason_of(error)})") from None
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({reason_of(error)})") from None
    finally:
        temporary.unlink(missing_ok=True)


def _chunks(rows: Iterable[Values]) -> Iterator[list[Values]]:
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
