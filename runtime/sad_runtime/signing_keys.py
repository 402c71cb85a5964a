"""Ed25519 keys in PEM files, as `openssl genpkey -algorithm ed25519` makes them.

Private keys are PKCS8, public ones SubjectPublicKeyInfo. A key is known by the SHA-256 of its public half. What is
signed with keys is left to signature.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.files import made_folder, reason_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Ask = Callable[[Path], bytes]
"""Gives the passphrase of the key in a file."""
MAX_KEY_BYTES = 16 * 2**10
MAX_PASSPHRASE_BYTES = 1023
"""What OpenSSL takes."""
DER_HEAD = bytes.fromhex("302a300506032b6570032100")
"""What an Ed25519 SubjectPublicKeyInfo starts with (RFC 8410); the 32 bytes of the key follow."""
LABEL = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----\s*$", re.MULTILINE)
PUBLIC, PRIVATE, LOCKED = "PUBLIC KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"
OTHER_KIND = "bundles are signed with Ed25519 keys, and this is another kind. Make one: sad-bundle keygen NAME"
SECRET = (
    "this is a private key: keep it where bundles are signed and nowhere else, and name its public half here. "
    "Make that with: openssl pkey -in KEY -pubout -out NAME.pub"
)
MENDING = {
    PRIVATE: SECRET,
    LOCKED: SECRET,
    PUBLIC: "this is a public key, which checks signatures and makes none; name the private one",
    "CERTIFICATE": "this is a certificate, not a key. Take the key out of it: "
    "openssl x509 -in FILE -pubkey -noout > NAME.pub",
    "OPENSSH PRIVATE KEY": "this is an SSH key. Make one for bundles: sad-bundle keygen NAME",
}


@dataclass(frozen=True)
class PublicKey:
    """`name`: of the file it came from. `raw`: the 32 bytes of RFC 8032."""

    name: str
    raw: bytes

    @property
    def id(self) -> str:
        """As `openssl pkey -pubin -in NAME.pub -outform DER | sha256sum` gives it."""
        return hashlib.sha256(DER_HEAD + self.raw).hexdigest()

    def __str__(self) -> str:
        return f"{self.name} ({short(self.id)})"


def short(key_id: str) -> str:
    """Enough of it for people to tell keys apart; never enough to decide by."""
    return key_id[:16]


def trusted_keys(names: Sequence[str | Path]) -> list[PublicKey]:
    """The public keys in these files, and in the `.pub` files of these folders, each key once.

    Raises UsageError for anything that is no Ed25519 public key, and for a folder without one: a station that asks for
    trust must never end up trusting whatever comes.
    """
    found: dict[str, PublicKey] = {}
    for name in names:
        if not str(name):
            raise UsageError("an empty name for a key to trust; name a public key file or a folder of .pub files")
        path = Path(name).expanduser()
        files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
        if not files:
            raise UsageError(f"{path}: no *.pub in this folder, so no bundle could be trusted. Put a public key there")
        for file in files:
            key = public_key_from(file)
            found.setdefault(key.id, key)
    return list(found.values())


def public_key_from(path: Path) -> PublicKey:
    """Raises UsageError for whatever is not one Ed25519 public key, private ones above all."""
    ed25519, serialization, unsupported = _library()
    data = _pem(path, (PUBLIC,), private=False)[0]
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, unsupported):
        raise UsageError(f"{path}: a damaged public key; copy it again from who made it") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UsageError(f"{path}: {OTHER_KIND}")
    return PublicKey(path.name, key.public_bytes_raw())


def private_key_from(path: Path, ask: Ask) -> Ed25519PrivateKey:
    """`ask` is called for a key that a passphrase locks. Raises UsageError."""
    ed25519, serialization, unsupported = _library()
    data, label = _pem(path, (PRIVATE, LOCKED), private=True)
    try:
        key = serialization.load_pem_private_key(data, ask(path) if label == LOCKED else None)
    except (ValueError, TypeError, unsupported):
        what = "the passphrase is wrong, or the key is damaged" if label == LOCKED else "a damaged private key"
        raise UsageError(f"{path}: {what}") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UsageError(f"{path}: {OTHER_KIND}")
    opened: Ed25519PrivateKey = key
    return opened


def write_key_pair(name: Path, passphrase: bytes | None) -> tuple[Path, Path, PublicKey]:
    """Writes `name`.key, which only its owner may read, and `name`.pub. Raises UsageError where one is there."""
    if name.name in ("", ".."):
        raise UsageError(
            f"{name}: no name for a key. Give one, such as keys/plant, which makes plant.key and plant.pub"
        )
    if passphrase is not None and len(passphrase) > MAX_PASSPHRASE_BYTES:
        raise UsageError(f"the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes, which no key takes")
    ed25519, serialization, _ = _library()
    private, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    key = ed25519.Ed25519PrivateKey.generate()
    locked = (
        serialization.BestAvailableEncryption(passphrase) if passphrase is not None else serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    made_folder(name.parent)
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path}: is there already, and a key is never overwritten. Take another name")
    _write_new(private, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, locked), 0o600)
    try:
        told = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        _write_new(public, told, 0o644)
    except UsageError:
        private.unlink(missing_ok=True)
        raise
    return private, public, PublicKey(public.name, key.public_key().public_bytes_raw())


def read_secret(path: Path) -> bytes:
    """A passphrase: the first line of a file that only its owner may read, or of a pipe."""
    data = _bytes_of(path, private=True)
    secret = data.partition(b"\n")[0].rstrip(b"\r")
    if not secret:
        raise UsageError(f"{path}: its first line is empty; write the passphrase there")
    return secret


def _pem(path: Path, labels: tuple[str, ...], *, private: bool) -> tuple[bytes, str]:
    """The bytes of the file and the label of the one PEM block in it, which is one of `labels`."""
    data = _bytes_of(path, private=private)
    found = [label.decode() for label in LABEL.findall(data)]
    for label in found:
        if label not in labels:
            raise UsageError(f"{path}: {MENDING.get(label, OTHER_KIND)}")
    if len(found) > 1:
        raise UsageError(f"{path}: {len(found)} keys in one file; give each a file of its own")
    if not found:
        if data.startswith((b"ssh-", b"ecdsa-")):
            raise UsageError(f"{path}: {MENDING['OPENSSH PRIVATE KEY']}")
        raise UsageError(f"{path}: no PEM key in this file. Make one: sad-bundle keygen NAME")
    return data, found[0]


def _bytes_of(path: Path, *, private: bool) -> bytes:
    """A public key is a regular file: no pipe in a folder of keys is to stop a station. A secret may be a pipe."""
    try:
        if not private and path.exists() and not path.is_file():
            raise UsageError(f"{path}: not a file, so not a key")
        with path.open("rb") as file:
            if private:
                _check_alone(file, path)
            data = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read ({reason_of(error)})") from None
    if len(data) > MAX_KEY_BYTES:
        raise UsageError(f"{path}: larger than {MAX_KEY_BYTES >> 10} KiB, so not a key")
    return data


def _check_alone(file: BinaryIO, path: Path) -> None:
    """As ssh does: one's own secret must be closed to others. Files of another owner (a mounted secret) are theirs."""
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise UsageError(
            f"{path}: others may read this secret (mode {mode:04o}), so it is not used. Run: chmod 600 {path}"
        )


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Fails where anything is there, also when it came this very moment; leaves no half a key."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({reason_of(error)})") from None
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written ({reason_of(error)})") from None


def _library() -> tuple[Any, Any, type[Exception]]:
    """(ed25519, serialization, UnsupportedAlgorithm) of the package cryptography."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtra("cryptography", "sign", "signing bundles and checking signatures") from None
    return ed25519, serialization, UnsupportedAlgorithm
