"""Writes files whole or not at all, and says how to mend a place that cannot be written."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from sad_runtime.errors import UsageError

MENDING = {
    errno.ENOSPC: "Make room on that disk, then give the same command again",
    errno.EDQUOT: "Make room in this user's quota, then give the same command again",
    errno.EACCES: "Mend the rights there, or name another place",
    errno.EPERM: "Mend the rights there, or name another place",
    errno.EROFS: "That disk is read-only: name a folder on another one",
    errno.EEXIST: "A file is in the way: move it, or name another folder",
    errno.ENOTDIR: "A file stands where a folder should be: move it, or name another folder",
}


def write_atomically(path: Path, data: bytes) -> None:
    """Either the old file or the whole new one, whatever happens in between (temp file, fsync, rename)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _refused(path, error) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def made_folder(path: Path) -> Path:
    """`path` as a folder that is there. Raises UsageError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, error) from None
    return path


def reason_of(error: OSError) -> str:
    """`No space left on device. Make room on that disk, ...`"""
    why = error.strerror or str(error)
    return f"{why}. {MENDING[error.errno]}" if error.errno in MENDING else why


def _refused(path: Path, error: OSError) -> UsageError:
    why = error.strerror or str(error)
    mending = f". {MENDING[error.errno]}" if error.errno in MENDING else ""
    return UsageError(f"{path}: cannot be written ({why}){mending}")
