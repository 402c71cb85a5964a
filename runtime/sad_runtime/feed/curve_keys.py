"""CURVE keys in files: who a station and its readers are, once the feed leaves the computer.

    NAME.key          the public half: goes to the others
    NAME.key_secret   both halves: stays where it was made, readable by its owner only

The format is that of czmq and pyzmq (`zmq.auth`), so other tools read and make them too. Keys that sign bundles are
something else (Ed25519, signing_keys.py); each kind is refused where the other belongs.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import zmq
from zmq.utils import z85

from sad_runtime.errors import UsageError
from sad_runtime.files import made_folder, reason_of

PUBLIC_SUFFIX, SECRET_SUFFIX = ".key", ".key_secret"
MAX_KEY_BYTES = 16 * 2**10
Z85_KEY = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
BANNER = """\
#   {what}
#   Made by sad-keys, in the format of czmq and pyzmq.

metadata
    name = "{name}"
curve
"""
PUBLIC_BANNER = "The PUBLIC half of a ZeroMQ CURVE key: give it to those who are to know {name}."
SECRET_BANNER = "A SECRET ZeroMQ CURVE key: whoever has this file is {name}. Never copy it to another computer."


@dataclass(frozen=True)
class PublicKey:
    """`name`: of the file it came from, without its ending. `raw`: 32 bytes (X25519)."""

    name: str
    raw: bytes

    @property
    def text(self) -> str:
        """The 40 letters (Z85) that stand in key files."""
        return str(z85.encode(self.raw).decode())

    @property
    def fingerprint(self) -> str:
        """For people to compare over the telephone; nothing is decided by it."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint})"


@dataclass(frozen=True)
class KeyPair:
    """`secret`: 32 bytes, never shown."""

    public: PublicKey
    secret: bytes = field(repr=False)


class ClientKeys(NamedTuple):
    """What a reader needs: the station's public key, and its own pair."""

    server: PublicKey
    own: KeyPair

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Before `connect`; every connection made from then on is encrypted."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.server.raw)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.own.public.raw)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.own.secret)


def client_keys(server_key: Path, key: Path) -> ClientKeys:
    """`server_key`: the station's public key file. `key`: one's own secret file. Raises UsageError."""
    check_curve()
    return ClientKeys(public_key_from(server_key), key_pair_from(key))


def public_key_from(path: Path) -> PublicKey:
    """Raises UsageError for whatever is not the public half of one CURVE key, secret files above all."""
    values = _values_in(path, _bytes_of(path, secret=False))
    if "secret-key" in values:
        raise UsageError(
            f"{path}: this file holds a secret key, which must stay with its owner. Name the public one here "
            f"(NAME{PUBLIC_SUFFIX}); a secret that came from another computer is one no more: make a new pair there"
        )
    return PublicKey(_name_of(path), _raw(path, values, "public-key"))


def key_pair_from(path: Path) -> KeyPair:
    """Raises UsageError for a public file, a file that others may read, and halves that do not belong together."""
    values = _values_in(path, _bytes_of(path, secret=True))
    public = PublicKey(_name_of(path), _raw(path, values, "public-key"))
    if "secret-key" not in values:
        raise UsageError(f"{path}: this is a public key; name the secret file here (NAME{SECRET_SUFFIX})")
    secret = _raw(path, values, "secret-key")
    check_curve()
    if zmq.curve_public(z85.encode(secret)) != z85.encode(public.raw):
        raise UsageError(
            f"{path}: its public and its secret key do not belong together. Take the file from a copy, "
            "or make a new pair: sad-keys make NAME"
        )
    return KeyPair(public, secret)


def write_key_pair(name: str, folder: Path) -> tuple[Path, Path, PublicKey]:
    """Writes the secret and the public file of a new pair. Raises UsageError where one of them is there."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name for a key: letters, digits, '.', '-' and '_', at most 64, as in gateway-7. "
            "Name its folder with --out DIR"
        )
    check_curve()
    made_folder(folder)
    secret_path, public_path = folder / f"{name}{SECRET_SUFFIX}", folder / f"{name}{PUBLIC_SUFFIX}"
    for path in (secret_path, public_path):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path}: is there already, and a key is never overwritten. Take another name")
    public, secret = zmq.curve_keypair()
    lines = f'    public-key = "{public.decode()}"\n'
    _write_new(secret_path, _text(SECRET_BANNER, name) + lines + f'    secret-key = "{secret.decode()}"\n', 0o600)
    try:
        _write_new(public_path, _text(PUBLIC_BANNER, name) + lines, 0o644)
    except UsageError:
        secret_path.unlink(missing_ok=True)
        raise
    return secret_path, public_path, PublicKey(name, z85.decode(public))


def check_curve() -> None:
    """Raises UsageError where this libzmq cannot encrypt."""
    if not zmq.has("curve"):
        raise UsageError(
            f"libzmq {zmq.zmq_version()} of this computer was built without CURVE, so the feed cannot be encrypted. "
            "Run: pip install --force-reinstall pyzmq"
        )


def open_to_others(path: Path) -> int | None:
    """The mode of a secret file that others than its owner may read or write; None when it is closed."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return mode if mode & 0o077 else None


def _text(what: str, name: str) -> str:
    return BANNER.format(what=what.format(name=name), name=name)


def _name_of(path: Path) -> str:
    return path.name.removesuffix(SECRET_SUFFIX).removesuffix(PUBLIC_SUFFIX)


def _values_in(path: Path, data: bytes) -> dict[str, bytes]:
    """The keys of a czmq certificate, as its lines give them."""
    if b"-----BEGIN" in data:
        raise UsageError(
            f"{path}: this is a PEM file (a key that signs bundles, a certificate), not a key of the feed. "
            "Make one: sad-keys make NAME"
        )
    values: dict[str, bytes] = {}
    for line in data.splitlines():
        name, equals, value = line.strip().partition(b"=")
        word = name.strip().decode("ascii", "replace")
        if equals and word in ("public-key", "secret-key"):
            if word in values:
                raise UsageError(f"{path}: two lines say {word}; give each key a file of its own")
            values[word] = value.strip(b" \t\"'")
    return values


def _raw(path: Path, values: dict[str, bytes], word: str) -> bytes:
    text = values.get(word)
    if text is None:
        raise UsageError(f"{path}: no {word} in this file, so not a key of the feed. Make one: sad-keys make NAME")
    try:
        if not Z85_KEY.fullmatch(text):
            raise ValueError
        return _decoded(text)
    except ValueError:
        raise UsageError(
            f"{path}: its {word} is damaged: {len(text)} characters, and 40 of Z85 are a key. Copy the file again"
        ) from None


def _decoded(text: bytes) -> bytes:
    """Z85 can spell numbers of more than 32 bits, which are no key. Raises ValueError."""
    raw = b"".join(_word(text[start : start + 5]).to_bytes(4, "big") for start in range(0, len(text), 5))
    if not any(raw):
        raise ValueError
    return raw


def _word(five: bytes) -> int:
    number = 0
    for letter in five:
        number = number * 85 + z85.Z85CHARS.index(letter)
    if number >= 2**32:
        raise ValueError
    return number


def _bytes_of(path: Path, *, secret: bool) -> bytes:
    """Regular files only: no pipe among the keys is to stop a station."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: not a file, so not a key")
        with path.open("rb") as file:
            if secret:
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
    if status.st_uid == os.getuid() and status.st_mode & 0o077 and b"secret-key" in file.read(MAX_KEY_BYTES):
        mode = stat.S_IMODE(status.st_mode)
        raise UsageError(
            f"{path}: others may read this secret (mode {mode:04o}), so it is not used. Run: chmod 600 {path}"
        )
    file.seek(0)


def _write_new(path: Path, text: str, mode: int) -> None:
    """Fails where anything is there, also when it came this very moment; leaves no half a key."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({reason_of(error)})") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(handle, mode)
            file.write(text)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written ({reason_of(error)})") from None
