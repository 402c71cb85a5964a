"""Certificates for OPC UA clients in tests."""

from __future__ import annotations

from pathlib import Path

URI = "urn:test:{}"


class CertificateFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def certificate(self, name: str) -> Path:
        return self._folder / f"{name}.der"

    def key(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def make(self, name: str) -> None:
        from asyncua.crypto.cert_gen import (
            dump_private_key_as_pem,
            generate_private_key,
            generate_self_signed_app_certificate,
        )
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509.oid import ExtendedKeyUsageOID

        secret = generate_private_key()
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(URI.format(name)), x509.DNSName("localhost")]
        made = generate_self_signed_app_certificate(secret, name, {}, names, [ExtendedKeyUsageOID.CLIENT_AUTH])
        self.key(name).write_bytes(dump_private_key_as_pem(secret))
        self.certificate(name).write_bytes(made.public_bytes(Encoding.DER))
