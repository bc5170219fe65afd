"""The REST interface of Kafka Connect over HTTP, in a thread of its own. What it does stands in rest_api."""

import asyncio
import base64
import hmac
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import web

from schemas.errors import LiqcascadeError, RequestRefused, SettingsError
from sinks.rest_api import MALFORMED
from sinks.rest_routes import Answer, Call, Request, Routes
from sinks.settings import RestSettings
from sinks.worker import Worker

START_S_MAX: Final = 10.0
BODY_BYTES_MAX: Final = 1_000_000  # a connector has some dozen settings of a line each
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

log = structlog.get_logger()


class RestServer:
    """`bind` first, since the port names the worker; `serve` when there is a worker; `stop` ends both."""

    def __init__(self, settings: RestSettings) -> None:
        """Nothing is open yet."""
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._socket: socket.socket | None = None
        self._started = threading.Event()
        self._thread: threading.Thread | None = None

    def bind(self) -> str:
        """Take the port; returns the name of a worker, `host:port`. Raises SettingsError when it is taken."""
        host, port = self._settings.host, self._settings.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family)
        except OSError as exc:
            raise SettingsError(f"rest.port: cannot serve on {host}:{port}: {exc}; choose another one or 0") from exc
        if host not in LOOPBACK and not (self._settings.token.get_secret_value() or self._settings.username):
            log.warning("anyone who reaches this port can redirect what lands; set rest.token", host=host)
        name = socket.gethostname() if host in ("", "0.0.0.0", "::") else host
        return f"{name}:{self._socket.getsockname()[1]}"

    def serve(self, worker: Worker) -> None:
        """Answer calls from now on."""
        self._thread = threading.Thread(target=self._run, args=(worker,), name="rest", daemon=True)
        self._thread.start()
        self._started.wait(START_S_MAX)

    def stop(self) -> None:
        """End; does nothing when it has ended."""
        if self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(START_S_MAX)
        elif not self._loop.is_closed():
            self._loop.close()
        if self._socket is not None:
            self._socket.close()

    def _run(self, worker: Worker) -> None:
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._guard])
        for method, path, status, call in Routes(worker).table():
            for each in (path, f"{path}/") if path != "/" else (path,):
                app.router.add_route(method, each, _handler(status, call))
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        assert self._socket is not None, "bind() first"
        try:
            self._loop.run_until_complete(runner.setup())
            self._loop.run_until_complete(web.SockSite(runner, self._socket).start())
            self._started.set()
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Who may call, and every refusal in Connect's shape."""
        if not self._may_call(request.headers.get("Authorization", "")):
            return _error(401, "User cannot access the resource.", {"WWW-Authenticate": 'Basic realm="liqcascade"'})
        try:
            return await handler(request)
        except web.HTTPException as exc:
            return _error(exc.status, f"HTTP {exc.status} {exc.reason}")

    def _may_call(self, header: str) -> bool:
        token, user = self._settings.token.get_secret_value(), self._settings.username
        allowed = []
        if token:
            allowed.append(f"Bearer {token}")
        if user:
            pair = f"{user}:{self._settings.password.get_secret_value()}"
            allowed.append("Basic " + base64.b64encode(pair.encode()).decode())
        return not allowed or any([hmac.compare_digest(header.encode(), one.encode()) for one in allowed])


def _handler(status: int, call: Call) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            body = await _body(request)
            answer = await asyncio.to_thread(call, Request(request.match_info, request.query, body))
        except RequestRefused as exc:
            return _error(exc.status, str(exc))
        except LiqcascadeError as exc:
            return _error(500, str(exc))
        return _response(request, answer if isinstance(answer, Answer) else Answer(status, answer))

    return handle


async def _body(request: web.Request) -> Any:
    if not request.can_read_body:
        return None
    if request.content_type != "application/json":
        raise RequestRefused("HTTP 415 Unsupported Media Type", 415)
    try:
        return json.loads(await request.read())
    except ValueError as exc:
        raise RequestRefused(f"the body is not JSON: {exc}", MALFORMED) from exc


def _response(request: web.Request, answer: Answer) -> web.Response:
    headers = {"Location": str(request.url.origin().with_path(answer.location))} if answer.location else {}
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    return web.json_response(answer.body, status=answer.status, headers=headers)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error_code": status, "message": message}, status=status, headers=headers)
