"""Reads and writes `NAME.sad`: one stored zip with a manifest, model files, golden pictures and a digest list.

A bundle is written once, atomically, and never rewritten. Reading distrusts the file: names, counts and sizes are
checked before anything is unpacked, everything stays in memory, and every byte is held against its SHA-256.
Two files are not on the digest list: the list itself, and the signatures over it (signature.py). Thresholds set on the
line live in the station's state folder (thresholds.py).
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from sad_runtime.errors import BundleError, UsageError
from sad_runtime.files import write_atomically
from sad_runtime.manifest import Manifest, Precision, manifest_from_json
from sad_runtime.signature import (
    MAX_SIGNATURES_BYTES,
    SIGNATURES,
    Signature,
    Signer,
    check_trust,
    file_of,
    signatures_in,
    signed,
)
from sad_runtime.signing_keys import PublicKey

MANIFEST = "manifest.json"
DIGESTS = "digests.txt"
MAX_FILES = 4096
MAX_FILE_BYTES = 512 * 2**20
MAX_TOTAL_BYTES = 2 * 2**30
MAX_NAME = 255
MAX_DIRECTORY_BYTES = MAX_FILES * (46 + MAX_NAME)
END_OF_ZIP = struct.Struct("<4s4H2LH")


class Stamp(NamedTuple):
    """Which file it is, and as of when: what is written anew, or over it, has another one."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, held in memory."""

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]
    vouched_by: tuple[PublicKey, ...] = ()
    """The trusted keys that signed it; none where no trust was asked for."""
    stamp: Stamp | None = field(default=None, compare=False)
    """Of the file as it was read."""

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

    @property
    def digests(self) -> bytes:
        """The digest list: two bundles with the same one hold the same, whoever signed them."""
        return self.read(DIGESTS)

    def signatures(self) -> list[Signature]:
        """What the bundle says of itself; checked only where it was read with `trust`. Raises BundleError."""
        return signatures_in(self.files.get(SIGNATURES), str(self.path))


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no such file."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes], *, signers: Sequence[Signer] = ()) -> None:
    """Writes the bundle beside `path`, syncs it, and renames it into place.

    Raises BundleError for a bundle that read_bundle would refuse: nothing is written then. Raises UsageError for a
    place that cannot be written: what was there stays.
    """
    for reserved in (MANIFEST, DIGESTS, SIGNATURES):
        if reserved in files:
            made = "made by signing" if reserved == SIGNATURES else "written from the manifest"
            raise BundleError(f"{path}: {reserved} is {made}, not given as a file")
    contents = {MANIFEST: manifest.to_json(), **files}
    _check_sizes({name: len(data) for name, data in contents.items()}, str(path))
    digests = {name: sha256_hex(data) for name, data in contents.items()}
    _check_references(manifest, digests, path)
    contents[DIGESTS] = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()
    if signers:
        contents[SIGNATURES] = file_of([signed(contents[DIGESTS], signer) for signer in signers])
    _write(path, contents)


def write_signed_copy(bundle: Bundle, signer: Signer, path: Path) -> Signature:
    """The bundle with one signature more, byte for byte as it was otherwise: earlier signatures go on fitting.

    Raises UsageError where `path` is there already or this key has signed before: no bundle is ever rewritten.
    """
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: is there already, and a bundle is never rewritten. Name a new file")
    made = signed(bundle.digests, signer)
    before = bundle.signatures()
    if any(signature.key_id == made.key_id for signature in before):
        raise UsageError(f"{bundle.path}: is signed by this key already")
    _write(path, {**bundle.files, SIGNATURES: file_of([*before, made])})
    return made


def _write(path: Path, contents: Mapping[str, bytes]) -> None:
    _check_sizes({name: len(data) for name, data in contents.items()}, str(path))
    write_atomically(path, file_bytes(contents))


def file_bytes(contents: Mapping[str, bytes]) -> bytes:
    """The `.sad` file of these contents: of `bundle.files` the very bytes that write_bundle wrote."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), contents[name])
    return buffer.getvalue()


def read_bundle(path: Path, trust: Sequence[PublicKey] = ()) -> Bundle:
    """Raises BundleError for anything but a whole, untampered bundle of a schema we know.

    With `trust` (signing_keys.trusted_keys), GateFailed unless one of these keys signed it.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise BundleError(f"{path}: a folder, not a bundle. Run: sad-export {path} --out NAME.sad")
        if not stat.S_ISREG(kind):
            raise BundleError(f"{path}: not a file, so not a bundle")
        with path.open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            _check_directory(file, path)
            with zipfile.ZipFile(file) as archive:
                files = _unpacked(archive, path)
    except FileNotFoundError:
        raise BundleError(f"{path}: no such bundle") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(f"{path}: not a bundle, or cut short ({error})") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from None
    digests = _checked_digests(files, path)
    vouched = check_trust(files.get(SIGNATURES), files[DIGESTS], trust, str(path)) if trust else []
    manifest = manifest_from_json(files[MANIFEST], str(path))
    _check_references(manifest, digests, path)
    return Bundle(path=path, manifest=manifest, files=files, vouched_by=tuple(vouched), stamp=stamp)


def vouched_anew(bundle: Bundle, trust: Sequence[PublicKey]) -> Bundle:
    """A bundle that is in memory, held against the keys of now. Raises GateFailed as read_bundle does."""
    vouched = check_trust(bundle.files.get(SIGNATURES), bundle.digests, trust, str(bundle.path)) if trust else []
    return replace(bundle, vouched_by=tuple(vouched))


def _check_directory(file: BinaryIO, path: Path) -> None:
    """Looks at the last 22 bytes before zipfile does, which would load a directory of any size.

    A bundle ends as write_bundle ends it: no comment, no second directory, nothing before or after.
    """
    size = file.seek(0, os.SEEK_END)
    if size < END_OF_ZIP.size:
        raise BundleError(f"{path}: not a bundle, or cut short ({size} bytes)")
    file.seek(-END_OF_ZIP.size, os.SEEK_END)
    mark, _, _, here, count, directory, start, comment = END_OF_ZIP.unpack(file.read(END_OF_ZIP.size))
    if mark != b"PK\x05\x06" or comment:
        raise BundleError(f"{path}: not a bundle, or cut short (no end mark)")
    if count > MAX_FILES or directory > MAX_DIRECTORY_BYTES:
        raise BundleError(f"{path}: {count} files inside; a bundle has at most {MAX_FILES}")
    if here != count or start + directory + END_OF_ZIP.size != size:
        raise BundleError(f"{path}: not a bundle, or cut short (its directory is not where it should be)")


def _unpacked(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) != len(entries):
        raise BundleError(f"{path}: holds two files of one name")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise BundleError(f"{path}: {entry.filename} is compressed; bundles are stored, so this is not one")
    _check_sizes({entry.orig_filename: entry.file_size for entry in entries}, str(path))
    if sum(entry.file_size for entry in entries) >= archive.start_dir:
        raise BundleError(f"{path}: the files inside overlap")
    return {entry.filename: archive.read(entry) for entry in entries}


def _check_sizes(sizes: Mapping[str, int], where: str) -> None:
    """`sizes`: bytes by file name."""
    if len(sizes) > MAX_FILES:
        raise BundleError(f"{where}: {len(sizes)} files inside; a bundle has at most {MAX_FILES}")
    for name, size in sizes.items():
        _check_name(name, where)
        if size > MAX_FILE_BYTES:
            raise BundleError(f"{where}: {name} is larger than {MAX_FILE_BYTES >> 20} MiB")
        if name == SIGNATURES and size > MAX_SIGNATURES_BYTES:
            raise BundleError(f"{where}: {name} is larger than {MAX_SIGNATURES_BYTES >> 10} KiB")
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        raise BundleError(f"{where}: larger than {MAX_TOTAL_BYTES >> 20} MiB unpacked")


def _check_name(name: str, where: str) -> None:
    """Relative, one spelling only, nothing that could end a line of the digest list."""
    pure = PurePosixPath(name)
    odd = not pure.parts or pure.is_absolute() or ".." in pure.parts or str(pure) != name
    if odd or "\\" in name or not name.isprintable() or len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise BundleError(f"{where}: {name!r} is no name for a file in a bundle")


def _check_references(manifest: Manifest, digests: Mapping[str, str], path: Path) -> None:
    """Every file that the manifest names is there, and every model is the one that its thresholds were set on."""
    named = [golden.file for golden in manifest.golden] + ([manifest.ignore] if manifest.ignore else [])
    for name in [entry.file for entry in manifest.precisions.values()] + named:
        if name not in digests:
            raise BundleError(f"{path}: the manifest names '{name}', which is not inside")
    for entry in manifest.precisions.values():
        if digests[entry.file] != entry.sha256:
            raise BundleError(f"{path}: {entry.file} is not the model that the manifest was made for")


def _checked_digests(files: Mapping[str, bytes], path: Path) -> dict[str, str]:
    """SHA-256 by file name, as the digest list says and as the bytes are."""
    if DIGESTS not in files or MANIFEST not in files:
        raise BundleError(f"{path}: has no digest list or no manifest; is this a sad bundle?")
    listed: dict[str, str] = {}
    for line in files[DIGESTS].decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    if set(listed) != set(files) - {DIGESTS, SIGNATURES}:
        raise BundleError(f"{path}: the files inside are not the ones on its digest list")
    for name, digest in listed.items():
        if sha256_hex(files[name]) != digest:
            raise BundleError(f"{path}: {name} was changed after export (digest does not match)")
    return listed
