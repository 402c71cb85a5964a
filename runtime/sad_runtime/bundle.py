"""Reads and writes `NAME.sad`: one stored zip with a manifest, model files, golden pictures and a digest list.

A bundle is written once, atomically, and never rewritten. Reading distrusts the file: names, counts and sizes are
checked before anything is unpacked, everything stays in memory, and every byte is held against its SHA-256.
Signing is left to a later file; thresholds set on the line live in the station's state folder (thresholds.py).
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sad_runtime.errors import BundleError
from sad_runtime.manifest import Manifest, Precision, manifest_from_json

MANIFEST = "manifest.json"
DIGESTS = "digests.txt"
MAX_FILES = 4096
MAX_FILE_BYTES = 512 * 2**20
MAX_TOTAL_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, held in memory."""

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        try:
            return self.files[name]
        except KeyError:
            raise BundleError(f"{self.path}: no file '{name}' in this bundle") from None

    def names(self, folder: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(folder + "/"))

    def precision(self, name: str) -> Precision:
        try:
            return self.manifest.precisions[name]
        except KeyError:
            have = ", ".join(sorted(self.manifest.precisions))
            raise BundleError(
                f"{self.path}: no {name} model in this bundle; it has {have}. Export again with it."
            ) from None

    def model(self, precision: str) -> bytes:
        entry = self.precision(precision)
        data = self.read(entry.file)
        if sha256_hex(data) != entry.sha256:
            raise BundleError(f"{self.path}: {entry.file} is not the model that the manifest was made for")
        return data


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Writes the bundle beside `path`, syncs it, and renames it into place."""
    contents = {MANIFEST: manifest.to_json(), **files}
    for name in contents:
        _check_name(name, str(path))
    digests = "".join(f"{sha256_hex(data)}  {name}\n" for name, data in sorted(contents.items()))
    contents[DIGESTS] = digests.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), contents[name])
    write_atomically(path, buffer.getvalue())


def write_atomically(path: Path, data: bytes) -> None:
    """Either the old file or the whole new one, whatever happens in between (temp file, fsync, rename)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror})") from None
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
        raise BundleError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_bundle(path: Path) -> Bundle:
    """Raises BundleError for anything but a whole, untampered bundle of a schema we know."""
    if path.is_dir():
        raise BundleError(f"{path}: a folder, not a bundle. Run: sad-export {path} --out NAME.sad")
    try:
        with zipfile.ZipFile(path) as archive:
            files = _unpacked(archive, path)
    except FileNotFoundError:
        raise BundleError(f"{path}: no such bundle") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(f"{path}: not a bundle, or cut short ({error})") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from None
    _check_digests(files, path)
    manifest = manifest_from_json(files[MANIFEST], str(path))
    return Bundle(path=path, manifest=manifest, files=files)


def _unpacked(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise BundleError(f"{path}: {len(entries)} files inside; a bundle has at most {MAX_FILES}")
    if len({entry.filename for entry in entries}) != len(entries):
        raise BundleError(f"{path}: holds two files of one name")
    for entry in entries:
        _check_name(entry.filename, str(path))
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise BundleError(f"{path}: {entry.filename} is compressed; bundles are stored, so this is not one")
        if entry.file_size > MAX_FILE_BYTES:
            raise BundleError(f"{path}: {entry.filename} is larger than {MAX_FILE_BYTES >> 20} MiB")
    if sum(entry.file_size for entry in entries) > MAX_TOTAL_BYTES:
        raise BundleError(f"{path}: larger than {MAX_TOTAL_BYTES >> 20} MiB unpacked")
    return {entry.filename: archive.read(entry) for entry in entries}


def _check_name(name: str, where: str) -> None:
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or str(pure) != name:
        raise BundleError(f"{where}: '{name}' is no name for a file in a bundle")


def _check_digests(files: Mapping[str, bytes], path: Path) -> None:
    if DIGESTS not in files or MANIFEST not in files:
        raise BundleError(f"{path}: has no digest list or no manifest; is this a sad bundle?")
    listed: dict[str, str] = {}
    for line in files[DIGESTS].decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    if set(listed) != set(files) - {DIGESTS}:
        raise BundleError(f"{path}: the files inside are not the ones on its digest list")
    for name, digest in listed.items():
        if sha256_hex(files[name]) != digest:
            raise BundleError(f"{path}: {name} was changed after export (digest does not match)")
