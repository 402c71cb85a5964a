"""`sad-journal export`: decisions with all their columns, as CSV or Parquet."""

from __future__ import annotations

import argparse

from sad_runtime.cli.journal_options import folder_from, wanted_from
from sad_runtime.errors import UsageError
from sad_runtime.journal.columns import COLUMNS, values_of
from sad_runtime.journal.picture_names import key_of, pictures_by_part
from sad_runtime.journal.rows import reading, rows
from sad_runtime.journal.table_files import write_csv, write_parquet


def export(arguments: argparse.Namespace) -> int:
    folder, wanted = folder_from(arguments), wanted_from(arguments)
    write, path = (write_csv, arguments.csv) if arguments.csv else (write_parquet, arguments.parquet)
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file in it")
    with reading(folder.journal) as journal:
        pictures = pictures_by_part(folder.pictures)
        table = (values_of(row, pictures.get(key_of(row.run, row.seq))) for row in rows(journal, wanted))
        count = write(path, COLUMNS, table)
    print(f"{count} decisions written to {path}")
    return 0
