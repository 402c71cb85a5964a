"""MODBUS/TCP Security (V3.6) as far as certificates go: both ends have one of the same CA, TLS 1.2 or newer. Roles
inside certificates are not looked at.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from sad_runtime.errors import UsageError
from sad_runtime.files import reason_of
from sad_runtime.plc.config import TlsConfig


def server_context(tls: TlsConfig) -> ssl.SSLContext:
    """Clients without a certificate of `tls.ca` are refused. Raises UsageError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _filled(context, tls)


def client_context(tls: TlsConfig) -> ssl.SSLContext:
    """The server's certificate must also name the address that is connected to. Raises UsageError."""
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _filled(context: ssl.SSLContext, tls: TlsConfig) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for key, name in (("certificate", tls.certificate), ("key", tls.key), ("ca", tls.ca)):
        try:
            Path(name).read_bytes()
        except OSError as error:
            raise UsageError(f"tls.{key}: {name}: {reason_of(error)}") from None
    try:
        # Without `password` a key with a passphrase would ask for it on the terminal, and wait.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"tls.certificate {tls.certificate}, tls.key {tls.key}: not a certificate and its key in PEM, the key "
            f"without a passphrase ({_words(error)})"
        ) from None
    try:
        context.load_verify_locations(tls.ca)
    except ssl.SSLError as error:
        raise UsageError(f"tls.ca {tls.ca}: not a CA's certificate in PEM ({_words(error)})") from None
    return context


def _words(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
