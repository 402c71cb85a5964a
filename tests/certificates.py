"""A plant's own CA and certificates of it, in PEM files, for tests of TLS."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sad_runtime.plc.config import TlsConfig

Key = ec.EllipticCurvePrivateKey
PASSPHRASE = b"secret"


class Authority:
    """`tls(name)` makes a certificate for that device at 127.0.0.1, and says it as the configuration does."""

    def __init__(self, folder: Path, name: str = "Plant CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, _name(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / "ca.pem"
        certificate = _builder(self.name, self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.ca.write_bytes(certificate.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def tls(self, name: str, address: str = "127.0.0.1", *, locked: bool = False) -> TlsConfig:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _builder(_name(name), self.name, key).add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
        signed = certificate.sign(self.key, hashes.SHA256())
        at, key_at = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        at.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_at.write_bytes(_key_bytes(key, locked=locked))
        return TlsConfig(certificate=str(at), key=str(key_at), ca=str(self.ca))


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _key_bytes(key: Key, *, locked: bool) -> bytes:
    how: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if locked:
        how = serialization.BestAvailableEncryption(PASSPHRASE)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
