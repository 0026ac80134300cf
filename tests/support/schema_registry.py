"""A schema registry of its own for tests: subjects, versions and ids over HTTP, and what it was asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit


class SchemaRegistry:
    """Answers as Confluent's does, for what the serdes ask; ``failing`` is a status that it answers instead."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing: int | None = None
        self.schemas: list[dict[str, Any]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: dict[str, Any] | None) -> None:
                status, answer = registry.answer(self.command, unquote(urlsplit(self.path).path), body)
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        self.asked.append(f"{method} {path}")
        if self.failing is not None:
            return self.failing, {"error_code": self.failing, "message": "as the test wants it"}
        parts = path.strip("/").split("/")
        if parts[0] == "subjects" and body is not None:
            return 200, self._register(parts[1], body)
        if parts[:2] == ["schemas", "ids"]:
            number = int(parts[2])
            if 1 <= number <= len(self.schemas):
                return 200, self.schemas[number - 1]
        return 404, {"error_code": 40403, "message": "Schema not found"}

    def _register(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        known = [one for one in self.schemas if one["schema"] == body["schema"] and one["subject"] == subject]
        if not known:
            new = {"subject": subject, "version": 1, "id": len(self.schemas) + 1, "schema": body["schema"]}
            new["schemaType"] = body.get("schemaType", "AVRO")
            self.schemas.append(new)
            known = [new]
        return known[0]
