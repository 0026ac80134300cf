"""One connection to one broker: TLS, login, the versions both sides know, and a request at a time.

Owns: the socket. Must not know: which broker to ask for what.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Self

from kio.schema.index import api_key_map

from tallystick import __version__
from tallystick.errors import ConfigurationError, FatalError, RetriableError
from tallystick.operate.authentication import AuthenticationFailed, exchange
from tallystick.operate.client_settings import ClientSettings
from tallystick.operate.transaction_states import DescribeTransactionsResponse
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode, describe
from tallystick.wire.frames import LENGTH_BYTES, frame_length, read_response, write_request
from tallystick.wire.shapes import MalformedFrame

API_KEYS: Final = {name: key for key, name in api_key_map.items()}
_API_VERSIONS_VERSION: Final = 3
_READ_BY_OURS: Final[dict[tuple[int, int], Any]] = {(65, 0): DescribeTransactionsResponse}
"""Responses that kio's own classes cannot read."""


class Disconnected(RetriableError):
    """The broker could not be reached, or closed the connection before it answered."""


class UnsupportedByBroker(FatalError):
    """The broker is older than what this tool speaks, or does not offer the API."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of an API that our code is written for, both included."""

    api: str
    lowest: int
    highest: int


class Connection:
    """Open until ``close``. Not for several threads."""

    def __init__(self, host: str, port: int, settings: ClientSettings) -> None:
        self._place = f"{host}:{port}"
        self._settings = settings
        self._ids = count(1)
        self._offered: dict[int, tuple[int, int]] = {}
        try:
            self._socket = socket.create_connection((host, port), timeout=settings.timeout_s)
        except OSError as error:
            raise Disconnected(f"no broker answers at {self._place}: {error.strerror or error}") from error
        try:
            self._set_up(host)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Done with it; a second time does nothing."""
        self._socket.close()

    def ask(self, versions: Versions, /, **fields: Any) -> Any:
        """kio's response to the newest version that both sides know.

        ``fields`` are those of the request; the parts of a request are made by ``part``. ``UnsupportedByBroker`` if
        there is no such version, ``Disconnected`` if no answer came: the request may have been carried out.
        """
        version = self.version_of(versions)
        class_name = "".join(word.capitalize() for word in versions.api.split("_")) + "Request"
        return self._ask(getattr(schema.request(versions.api, version), class_name)(**fields))

    def part(self, versions: Versions, class_name: str, /, **fields: Any) -> Any:
        """A part of the request that ``ask`` would send."""
        return getattr(schema.request(versions.api, self.version_of(versions)), class_name)(**fields)

    def version_of(self, versions: Versions) -> int:
        """The newest version of an API that both sides know."""
        lowest, highest = self._offered.get(API_KEYS[versions.api], (1, 0))
        chosen = min(highest, versions.highest)
        if chosen < max(lowest, versions.lowest):
            offers = f"versions {lowest} to {highest}" if highest >= lowest else "nothing"
            raise UnsupportedByBroker(
                f"the broker at {self._place} offers {offers} of {versions.api}; "
                f"{versions.lowest} to {versions.highest} are spoken here"
            )
        return chosen

    def _set_up(self, host: str) -> None:
        if self._settings.uses_tls:
            self._socket = self._with_tls(host)
        answer = self._ask(
            schema.request("api_versions", _API_VERSIONS_VERSION).ApiVersionsRequest(
                client_software_name="tallystick", client_software_version=__version__
            )
        )
        self._offered = {int(row.api_key): (int(row.min_version), int(row.max_version)) for row in answer.api_keys}
        if self._settings.uses_sasl:
            self._log_in()

    def _with_tls(self, host: str) -> ssl.SSLSocket:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.ssl_ca_location)
            context.check_hostname = settings.verify_hostname
            if settings.ssl_certificate_location is not None:
                context.load_cert_chain(
                    settings.ssl_certificate_location, settings.ssl_key_location, settings.ssl_key_password
                )
        except OSError as error:
            raise ConfigurationError(f"the TLS files cannot be used: {error}") from error
        try:
            return context.wrap_socket(self._socket, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise ConfigurationError(
                f"the certificate of {self._place} is not trusted: {error.verify_message}",
                remedy="Set ssl.ca.location to the certificate of its authority",
            ) from error
        except OSError as error:
            raise Disconnected(f"no TLS with {self._place}: {error.strerror or error}") from error

    def _log_in(self) -> None:
        settings = self._settings
        answer = self.ask(Versions("sasl_handshake", 1, 1), mechanism=settings.sasl_mechanism)
        if answer.error_code is not ErrorCode.none:
            raise AuthenticationFailed(
                f"the broker at {self._place} does not offer {settings.sasl_mechanism}, "
                f"only {', '.join(answer.mechanisms) or 'nothing'}"
            )
        tokens = exchange(settings.sasl_mechanism, settings.sasl_username, settings.sasl_password)
        token = next(tokens)
        while True:
            answer = self.ask(Versions("sasl_authenticate", 1, 2), auth_bytes=token)
            if answer.error_code is not ErrorCode.none:
                raise AuthenticationFailed(
                    f"{self._place} refuses {settings.sasl_username!r}: {answer.error_message or 'no reason given'}"
                )
            try:
                token = tokens.send(answer.auth_bytes)
            except StopIteration:
                return

    def _ask(self, request: Any) -> Any:
        correlation_id = next(self._ids)
        try:
            self._socket.sendall(write_request(correlation_id, self._settings.client_id, request))
            frame = self._exactly(frame_length(self._exactly(LENGTH_BYTES)))
        except TimeoutError as error:
            raise Disconnected(f"{self._place} did not answer within {self._settings.timeout_s:g} s") from error
        except OSError as error:
            raise Disconnected(f"the connection to {self._place} was lost: {error.strerror or error}") from error
        except MalformedFrame as error:
            raise Disconnected(f"what answers at {self._place} does not speak Kafka's protocol: {error}") from error
        asked = (request.__api_key__, request.__version__)
        found, response = read_response(frame, *asked, response_type=_READ_BY_OURS.get(asked))
        if found != correlation_id:
            raise Disconnected(f"{self._place} answered request {found} where {correlation_id} was asked")
        return response

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                hint = "" if self._offered else " (does it expect TLS or a login? see --command-config)"
                raise Disconnected(f"{self._place} closed the connection{hint}")
            data += part
        return bytes(data)


def refused(code: ErrorCode, what: str, message: str | None = None) -> FatalError:
    """The error for an answer's code, with what was asked for."""
    return FatalError(f"{what}: {describe(int(code))}{f': {message}' if message else ''}")
