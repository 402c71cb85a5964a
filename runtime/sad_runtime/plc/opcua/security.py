"""Certificates of the OPC UA server: its own, and the list of those that are let in, each with its role.

A listed certificate is trusted as it stands (pinned): neither its issuer nor its dates are asked, so that a box whose
clock lost its battery still serves its PLC. Take a line out of `users` and start anew to shut somebody out.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from asyncua.crypto.cert_gen import (
    dump_private_key_as_pem,
    generate_private_key,
    generate_self_signed_app_certificate,
)
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from sad_runtime.errors import UsageError
from sad_runtime.feed.refusals import Refusals
from sad_runtime.files import made_folder, reason_of, write_atomically
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.config import OpcUaConfig

log = logging.getLogger(__name__)

VALID_DAYS = 3650
"""A PLC that trusts the certificate by hand is to be visited once in its life, not once a year."""
SOON_DAYS = 60
LEAST_BITS = 2048
"""What Basic256Sha256 and Aes256-Sha256-RsaPss ask for."""


@dataclass
class Listed(User):  # type: ignore[misc]  # asyncua brings no types
    """`name` is the role."""

    certificate: bytes = b""
    """By which it is told from others of that role."""

    def __str__(self) -> str:
        return _described(self.certificate)


@dataclass(frozen=True)
class OwnCertificate:
    certificate: x509.Certificate
    key: RSAPrivateKey
    uri: str
    """The application's, as it stands in the certificate: clients compare them."""


def own_certificate(config: OpcUaConfig, folder: Path) -> OwnCertificate:
    """The named one, or the one in `folder`, made there the first time. Raises UsageError."""
    if config.certificate is not None and config.key is not None:
        return _read_pair(Path(config.certificate), Path(config.key))
    place = made_folder(folder / "opcua")
    certificate, key = place / "server.der", place / "server.pem"
    if not (certificate.exists() and key.exists()):
        _make(certificate, key, host_and_port(config.address)[0])
        log.warning("made the OPC UA server's certificate: %s; let the PLC trust it", certificate)
    return _read_pair(certificate, key)


def certificate_from_file(path: Path) -> x509.Certificate:
    """DER or PEM. Raises UsageError."""
    data = _read(path)
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise UsageError(f"{path}: is no certificate, neither DER nor PEM ({error})") from None


class ListedUsers:
    """The library's user manager: who a certificate belongs to. `get_user` is called by the server's thread."""

    def __init__(self, config: OpcUaConfig, refusals: Refusals) -> None:
        """Raises UsageError for a file that is no certificate, or stands there with two roles."""
        self._plain_text = config.plain_text
        self._refusals = refusals
        self._roles: dict[bytes, str] = {}
        for user in config.users:
            der = certificate_from_file(Path(user.certificate)).public_bytes(serialization.Encoding.DER)
            if self._roles.setdefault(der, user.role) != user.role:
                raise UsageError(f"{user.certificate}: stands in plc.opcua.users with both roles; leave one")
        if not self._roles and not self._plain_text:
            log.warning("plc.opcua.users is empty: nobody can connect. List the certificates of the clients there")

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: bytes | None = None
    ) -> User | None:
        """`certificate`: of whoever proved to have its key by opening the channel with it; empty on an open one."""
        if not certificate:
            if self._plain_text:
                return User(UserRole.User, "read")
            self._refuse("a client", "no_certificate", "it shows no certificate")
            return None
        role = self._roles.get(bytes(certificate))
        if role is None:
            name = _described(bytes(certificate))
            self._refuse(
                name, "unlisted", "its certificate is not in plc.opcua.users; copy the file there to let it in"
            )
            return None
        return Listed(UserRole.User, role, bytes(certificate))

    def _refuse(self, who: str, kind: str, words: str) -> None:
        self._refusals.note("OPC UA", who, f"refused_{kind}", words)


def _described(der: bytes) -> str:
    """`CN=plc (SHA-1 ab12..)`: what a client's own pages show."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return "a client with a damaged certificate"
    subject = certificate.subject.rfc4514_string()[:120]
    return f"{subject!r} (SHA-1 {certificate.fingerprint(hashes.SHA1()).hex()})"


def _make(certificate: Path, key: Path, host: str) -> None:
    name = socket.gethostname()
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"urn:{name}:sad:plc"), x509.DNSName(name)]
    try:
        alternatives.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        if host != name:
            alternatives.append(x509.DNSName(host))
    secret = generate_private_key()
    made = generate_self_signed_app_certificate(
        secret,
        f"sad-plc@{name}",
        {"organizationName": "sad"},
        alternatives,
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        days=VALID_DAYS,
    )
    _write_secret(key, dump_private_key_as_pem(secret))
    write_atomically(certificate, made.public_bytes(serialization.Encoding.DER))


def _write_secret(path: Path, data: bytes) -> None:
    try:
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {reason_of(error)}") from None


def _read_pair(certificate_path: Path, key_path: Path) -> OwnCertificate:
    certificate, key = certificate_from_file(certificate_path), _key_from_file(key_path)
    public = certificate.public_key()
    if not isinstance(public, RSAPublicKey) or public.public_numbers() != key.public_key().public_numbers():
        raise UsageError(f"{key_path}: is not the key of {certificate_path}; name the two that were made together")
    if key.key_size < LEAST_BITS:
        raise UsageError(f"{key_path}: has {key.key_size} bits, OPC UA asks for at least {LEAST_BITS}; make a new one")
    _mind_the_date(certificate, certificate_path)
    return OwnCertificate(certificate, key, _uri_of(certificate, certificate_path))


def _key_from_file(path: Path) -> RSAPrivateKey:
    data = _read(path)
    pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        loaded = (serialization.load_pem_private_key if pem else serialization.load_der_private_key)(data, None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: is no secret key without a passphrase, neither PEM nor DER ({error})") from None
    if not isinstance(loaded, RSAPrivateKey):
        raise UsageError(f"{path}: is no RSA key; these OPC UA policies know no other kind")
    return loaded


def _uri_of(certificate: x509.Certificate, path: Path) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris:
        raise UsageError(
            f"{path}: names no application URI (subjectAltName URI), OPC UA clients would refuse it; make one with it"
        )
    return uris[0]


def _mind_the_date(certificate: x509.Certificate, path: Path) -> None:
    ends = certificate.not_valid_after_utc
    if ends < datetime.now(timezone.utc) + timedelta(days=SOON_DAYS):
        log.warning("%s: the server's certificate is valid until %s; clients will refuse it then", path, ends.date())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {reason_of(error)}") from None
