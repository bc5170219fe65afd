"""The HTTP server that every stage has: /metrics for Prometheus, /healthz (alive), /readyz (doing its work).

It runs in a thread of its own, so that a stage that hangs can still say so."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from runtime.settings import OperationsSettings
from schemas.errors import SettingsError

Check = Callable[[], Mapping[str, str]]  # name of a part -> "ok", or what is wrong with it
START_TIMEOUT_S: Final = 10.0


class OperationsServer:
    """`start()` binds and returns the address, `stop()` ends it.

    `alive` and `ready` return their parts; all "ok" answers 200, anything else 503, with the parts as JSON."""

    def __init__(
        self, settings: OperationsSettings, *, alive: Check, ready: Check, registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._settings, self._alive, self._ready, self._registry = settings, alive, ready, registry
        self._loop = asyncio.new_event_loop()
        self._started: threading.Event = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="operations", daemon=True)
        self.address = ""

    def start(self) -> str:
        """Bind and serve; returns http://host:port. Raises SettingsError when the port is taken."""
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S) or self._error is not None:
            raise SettingsError(
                f"operations.port: cannot serve on {self._settings.host}:{self._settings.port}: {self._error}; "
                "choose another port or 0 for a free one"
            ) from self._error
        return self.address

    def stop(self) -> None:
        """End the server; does nothing when it has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(START_TIMEOUT_S)

    def _run(self) -> None:
        runner = web.AppRunner(self._app(), access_log=None)
        try:
            self._loop.run_until_complete(self._bind(runner))
            self._started.set()
            self._loop.run_forever()
        except OSError as exc:
            self._error = exc
            self._started.set()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _bind(self, runner: web.AppRunner) -> None:
        await runner.setup()
        await web.TCPSite(runner, self._settings.host, self._settings.port).start()
        host, port = runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    async def _metrics(self, request: web.Request) -> web.Response:
        body: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, request: web.Request) -> web.Response:
        return _answer(self._alive)

    async def _readyz(self, request: web.Request) -> web.Response:
        return _answer(self._ready)


def _answer(check: Check) -> web.Response:
    parts = dict(check())
    status = 200 if all(part == "ok" for part in parts.values()) else 503
    return web.Response(text=json.dumps(parts), status=status, content_type="application/json")
