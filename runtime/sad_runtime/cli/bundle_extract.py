"""`sad-bundle extract`: files of a bundle, verified, into a folder."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.errors import UsageError
from sad_runtime.files import write_atomically


def extract(path: Path, out: Path, wanted: Sequence[str]) -> int:
    """Nothing is written when one of the files is there already, or would land outside `out`."""
    bundle = read_bundle(path)
    names = chosen(bundle, wanted)
    for name in names:
        target = out / name
        if not target.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"{target}: a link leads out of {out}. Name another folder")
        if target.exists() or target.is_symlink():
            raise UsageError(f"{target}: is there already. Name another folder")
    for name in names:
        write_atomically(out / name, bundle.read(name))
    print(f"{len(names)} files in {out}")
    return 0


def chosen(bundle: Bundle, wanted: Sequence[str]) -> list[str]:
    """Sorted names: files, whole folders, patterns. Raises UsageError for what fits nothing."""
    if not wanted:
        return sorted(bundle.files)
    found: set[str] = set()
    for wish in wanted:
        plain = wish.rstrip("/")
        fits = {name for name in bundle.files if name == plain or name.startswith(plain + "/")}
        fits |= set(fnmatch.filter(bundle.files, wish))
        if not fits:
            have = ", ".join(sorted({name.partition("/")[0] for name in bundle.files}))
            raise UsageError(f"{bundle.path}: no '{wish}' inside; there is {have}")
        found |= fits
    return sorted(found)
