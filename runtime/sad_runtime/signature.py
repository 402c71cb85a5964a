"""Signatures of a bundle: who stands behind its digest list, and whether a station believes them.

`signatures.json` lies in the bundle beside the digest list, on which it does not stand. Each signature is Ed25519 over
a few lines that say whose it is, and the digest list after them: see `statement`. Keys are read in signing_keys.py.
What a signature does not say: which bundle is the newest, and what thresholds a station sets for itself.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from sad_runtime.errors import BundleError, ConfigError, GateFailed, MissingExtra, UsageError
from sad_runtime.schema import Strict, parse
from sad_runtime.signing_keys import PublicKey, short

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURES = "signatures.json"
SCHEMA = 1
PURPOSE = "sad bundle signature 1"
"""The first line of what is signed: no signature made for anything else can be taken for one of a bundle."""
MAX_SIGNATURES_BYTES = 128 * 2**10
MOST = 16


class Signature(Strict):
    """One key's word for one digest list. `signer`, `comment` and `signed_at` are under the signature too."""

    algorithm: Literal["ed25519"]
    key_id: str = Field(pattern="^[0-9a-f]{64}$")
    signer: str = Field(default="", max_length=100)
    comment: str = Field(default="", max_length=200)
    signed_at: str = Field(max_length=40)
    signature: str
    """Base64 of 64 bytes."""

    @field_validator("signer", "comment", "signed_at")
    @classmethod
    def _one_plain_line(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError("one line of plain text, please")
        return text

    @field_validator("signed_at")
    @classmethod
    def _a_time(cls, text: str) -> str:
        if datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("a time needs its zone, such as 2026-01-31T12:00:00+00:00")
        return text

    @field_validator("signature")
    @classmethod
    def _64_bytes(cls, text: str) -> str:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("not base64") from None
        if len(raw) != 64:
            raise ValueError("not the base64 of 64 bytes")
        if base64.b64encode(raw).decode() != text:
            raise ValueError("not the base64 that 64 bytes have: its last digit holds bits that stand for nothing")
        return text

    def __str__(self) -> str:
        return f"{self.signer or 'key'} ({short(self.key_id)})"


class SignatureFile(Strict):
    schema_version: int = Field(alias="schema", default=SCHEMA)
    signatures: list[Signature] = Field(min_length=1, max_length=MOST)

    @field_validator("signatures")
    @classmethod
    def _one_of_each_key(cls, signatures: list[Signature]) -> list[Signature]:
        if len({signature.key_id for signature in signatures}) != len(signatures):
            raise ValueError("two signatures of one key")
        return signatures


@dataclass(frozen=True)
class Signer:
    """Who signs: a private key, and what is to be said of its owner."""

    key: Ed25519PrivateKey
    name: str = ""
    comment: str = ""

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.name or "this key", self.key.public_key().public_bytes_raw())


def statement(key_id: str, signer: str, comment: str, signed_at: str, digests: bytes) -> bytes:
    """The very bytes that are signed: five lines, an empty one, and the digest list as it lies in the bundle."""
    lines = (PURPOSE, f"key {key_id}", f"signer {signer}", f"comment {comment}", f"signed_at {signed_at}", "")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace") + digests


def signed(digests: bytes, signer: Signer, at: datetime | None = None) -> Signature:
    """`digests`: the digest list of the bundle. Raises UsageError for a name or comment that is no plain line."""
    when = (at or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    key_id = signer.public.id
    raw = signer.key.sign(statement(key_id, signer.name, signer.comment, when, digests))
    values = {
        "algorithm": "ed25519",
        "key_id": key_id,
        "signer": signer.name,
        "comment": signer.comment,
        "signed_at": when,
        "signature": base64.b64encode(raw).decode(),
    }
    return parse(Signature, values, "signing")


def file_of(signatures: Sequence[Signature]) -> bytes:
    """`signatures.json` with these. Raises UsageError for two of one key."""
    values = {"schema": SCHEMA, "signatures": [signature.model_dump() for signature in signatures]}
    parse(SignatureFile, values, SIGNATURES)
    return json.dumps(values, indent=2).encode() + b"\n"


def signatures_in(data: bytes | None, where: str) -> list[Signature]:
    """What the bytes of `signatures.json` say; none when there is no such file. Nothing is believed yet.

    Raises BundleError for whatever does not fit.
    """
    if data is None:
        return []
    try:
        values: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise BundleError(f"{where}: {SIGNATURES} is damaged (not JSON)") from None
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is int and schema > SCHEMA:
        raise BundleError(
            f"{where}: signed by schema {schema}, this sad reads up to {SCHEMA}. "
            "Run: pip install --upgrade sad-inspection"
        )
    if type(schema) is not int or schema < 1:
        raise BundleError(f"{where}: {SIGNATURES} does not say which schema it follows")
    try:
        return parse(SignatureFile, values, f"{where}: {SIGNATURES}").signatures
    except ConfigError as error:
        raise BundleError(str(error)) from None


def fits(signature: Signature, key: PublicKey, digests: bytes) -> bool:
    """True when this very key signed this very digest list."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise MissingExtra("cryptography", "sign", "checking signatures") from None
    if signature.key_id != key.id:
        return False
    told = statement(signature.key_id, signature.signer, signature.comment, signature.signed_at, digests)
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(base64.b64decode(signature.signature), told)
    except InvalidSignature:
        return False
    return True


def check_trust(data: bytes | None, digests: bytes, trust: Sequence[PublicKey], where: str) -> list[PublicKey]:
    """The trusted keys that signed: one at least, and the signature of every one of them fits.

    `data`: the bytes of `signatures.json`, if there. `digests`: the digest list. Raises GateFailed for all else.
    Signatures of keys that are not trusted say nothing, for or against.
    """
    known = {key.id: key for key in trust}
    if not known:
        raise UsageError(f"{where}: no key to trust was given")
    names = ", ".join(str(key) for key in trust)
    try:
        signatures = signatures_in(data, where)
    except BundleError as error:
        raise GateFailed(f"{error}. So nobody vouches for it; trusted: {names}. Get the bundle again") from None
    if not signatures:
        raise GateFailed(
            f"{where}: is not signed, and only bundles signed by these are taken: {names}. "
            "Sign it where the key is: sad-bundle sign IN.sad --key NAME.key --out OUT.sad"
        )
    ours = [signature for signature in signatures if signature.key_id in known]
    for signature in ours:
        if not fits(signature, known[signature.key_id], digests):
            raise GateFailed(
                f"{where}: the signature of {known[signature.key_id]} does not fit: the bundle was changed after it "
                "was signed, or the signature is another bundle's. Do not run it; get it again from who signed it"
            )
    if not ours:
        who = ", ".join(str(signature) for signature in signatures)
        raise GateFailed(
            f"{where}: only bundles signed by these are taken: {names}. This one says of itself that it is signed by "
            f"{who}, unknown here. "
            "Get a bundle that a trusted key signed, or add its signer's public key to `trust`"
        )
    return [known[signature.key_id] for signature in ours]
