"""The page of ``tallystick run --metrics-listen``: ``/metrics`` for Prometheus, ``/healthz`` for orchestrators.

Owns: as much of HTTP as that takes. Must not know: what is measured. It belongs on loopback, because it asks nobody for
a name.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from tallystick.errors import ConfigurationError

REQUEST_TIMEOUT_S: Final = 5
_TEXT: Final = "text/plain; charset=utf-8"


class MetricsPage:
    """Listens from its making until ``close``. ``complaints`` is asked for each ``/healthz``; empty: all is well."""

    def __init__(self, address: tuple[str, int], collector: Collector, complaints: Callable[[], list[str]]) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)

        class Handler(_Handler):
            def metrics(self) -> bytes:
                return generate_latest(registry)

            def complaints(self) -> list[str]:
                return complaints()

        try:
            self._server = ThreadingHTTPServer(address, Handler)
        except OSError as error:
            raise ConfigurationError(
                f"--metrics-listen {address[0]}:{address[1]}: {error.strerror}", remedy="Give a free port; 0 takes any"
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_S
    protocol_version = "HTTP/1.0"  # one request for each connection

    def metrics(self) -> bytes:
        raise NotImplementedError

    def complaints(self) -> list[str]:
        raise NotImplementedError

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.metrics())
        elif path == "/healthz":
            wrong = self.complaints()
            body = json.dumps({"status": "unhealthy" if wrong else "ok", "complaints": wrong}) + "\n"
            status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
            self._answer(status, "application/json", body.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"/metrics and /healthz are here\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Scrapes are no news."""

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
