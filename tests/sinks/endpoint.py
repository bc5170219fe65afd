"""A receiver of webhooks that remembers what it was sent, and can be gone for a while."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from stack.embedded.ports import free_port


class Heard(NamedTuple):
    """One request."""

    headers: dict[str, str]
    body: bytes


class Endpoint:
    """`status` is what it answers from now on."""

    def __init__(self) -> None:
        """Listens to nothing yet."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook?token=never-logged"
        self.heard: list[Heard] = []
        self.status = 204
        self._server: ThreadingHTTPServer | None = None

    def up(self) -> None:
        """Listen, unless it does."""
        if self._server is not None:
            return
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if endpoint.status < 300:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    endpoint.heard.append(Heard(headers, body))
                self.send_response(endpoint.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def down(self) -> None:
        """Listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
