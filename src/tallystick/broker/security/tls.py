"""TLS: the context that a listener speaks with, from certificate and key files.

Owns: reading the settings into an ``ssl.SSLContext``, TLS 1.2 or newer. Must not know: sockets, who a client is.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path
from typing import Final

from tallystick.broker.security.settings import PEM, TlsSettings
from tallystick.errors import ConfigurationError

_CLIENT_AUTH: Final = {
    "none": ssl.CERT_NONE,
    "requested": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """The context for every listener with TLS; ``ConfigurationError`` names the setting that is missing or wrong."""
    client_auth = _CLIENT_AUTH.get(settings.client_auth)
    if client_auth is None:
        raise ConfigurationError(f"ssl.client.auth is {settings.client_auth!r}, not {', '.join(_CLIENT_AUTH)}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(context, settings.ssl_enabled_protocols)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.ssl_cipher_suites:
        _set_ciphers(context, settings.ssl_cipher_suites)
    _load_certificate(context, settings)
    context.verify_mode = client_auth
    if client_auth is not ssl.CERT_NONE:
        _load_trusted(context, settings)
    return context


def _set_versions(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in _VERSIONS]
    if unknown or not names:
        raise ConfigurationError(
            f"ssl.enabled.protocols has {unknown[0] if unknown else 'nothing'!r}", remedy="Use TLSv1.2 and TLSv1.3."
        )
    versions = [_VERSIONS[name] for name in names]
    context.minimum_version, context.maximum_version = min(versions), max(versions)


def _set_ciphers(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    """OpenSSL's names, not Java's. The suites of TLS 1.3 are always on."""
    before_1_3 = [name for name in names if not name.startswith(("TLS_AES", "TLS_CHACHA20"))]
    try:
        if before_1_3:
            context.set_ciphers(":".join(before_1_3))
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"ssl.cipher.suites has no suite that this machine knows: {', '.join(before_1_3)}",
            remedy="Use OpenSSL's names, such as ECDHE-RSA-AES128-GCM-SHA256; `openssl ciphers -v` lists them.",
        ) from error


def _load_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    password = settings.ssl_key_password
    with tempfile.TemporaryDirectory(prefix="tallystick-tls-") as folder:
        certificate, key = _certificate_files(settings, Path(folder))
        try:
            # A callable, because OpenSSL would ask for a missing password on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: password or "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigurationError(
                f"the certificate in {_shown(settings)} cannot be used: {_reason(error)}",
                remedy="It must be PEM, key and certificate must belong together, ssl.key.password must be the key's.",
            ) from error


def _certificate_files(settings: TlsSettings, folder: Path) -> tuple[Path, Path | None]:
    """Files of certificate chain and key; None for the key means that it is in the same file."""
    if settings.tls_cert is not None:
        return settings.tls_cert, settings.tls_key
    if settings.tls_key is not None:
        raise ConfigurationError("--tls-key without --tls-cert")
    if settings.ssl_keystore_type != PEM:
        raise _not_pem("ssl.keystore", settings.ssl_keystore_type)
    if settings.ssl_keystore_location is not None:
        return Path(settings.ssl_keystore_location), None
    if settings.ssl_keystore_certificate_chain is not None and settings.ssl_keystore_key is not None:
        chain = _written(folder / "chain.pem", settings.ssl_keystore_certificate_chain)
        return chain, _written(folder / "key.pem", settings.ssl_keystore_key)
    raise ConfigurationError(
        "a listener has TLS, and there is no certificate",
        remedy="Give --tls-cert and --tls-key, or ssl.keystore.type=PEM and ssl.keystore.location.",
    )


def _load_trusted(context: ssl.SSLContext, settings: TlsSettings) -> None:
    location: Path | str | None = settings.tls_client_ca or settings.ssl_truststore_location
    try:
        if settings.tls_client_ca is None and settings.ssl_truststore_type != PEM:
            raise _not_pem("ssl.truststore", settings.ssl_truststore_type)
        if location is not None:
            context.load_verify_locations(cafile=location)
        elif settings.ssl_truststore_certificates is not None:
            context.load_verify_locations(cadata=settings.ssl_truststore_certificates)
        else:
            raise ConfigurationError(
                "clients are asked for certificates, and there is nothing to check them against",
                remedy="Give --tls-client-ca, or ssl.truststore.type=PEM and ssl.truststore.location.",
            )
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the trusted certificates in {location or 'ssl.truststore.certificates'} cannot be used: {_reason(error)}"
        ) from error


def _not_pem(store: str, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"{store}.type is {kind}, and only PEM can be read here",
        remedy=(
            "Convert it: keytool -importkeystore -srckeystore store.jks -destkeystore store.p12 -deststoretype PKCS12, "
            "then openssl pkcs12 -in store.p12 -out store.pem -nodes."
        ),
    )


def _written(path: Path, text: str) -> Path:
    """A file for the moment that OpenSSL reads it. In a properties file, such a text may have ``\\n`` for its lines."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
    return path


def _shown(settings: TlsSettings) -> str:
    return str(settings.tls_cert or settings.ssl_keystore_location or "ssl.keystore.certificate.chain")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "the file is not PEM"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
