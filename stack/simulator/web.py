"""The simulator's addresses: the exchanges' own under /<exchange>, the control under /simulator.

Control: GET status, GET sent (JSON lines); POST play, pause, drop?exchange=NAME and
fault?exchange=NAME&kind=KIND&seconds=S (offset_s for a clock that is wrong; exchange `*`: every one)."""

import json
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from schemas.errors import SettingsError
from stack.simulator.exchange import Answer, SimulatedExchange
from stack.simulator.faults import OFFSET_S

if TYPE_CHECKING:
    from stack.simulator.server import Simulator

SENT_FLUSH_LINES: Final = 1_000
FAULT_SECONDS: Final = 5.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(simulator: "Simulator") -> web.Application:
    """All addresses."""
    app = web.Application()
    for exchange in simulator.exchanges.values():
        for path in exchange.websocket_paths:
            app.router.add_get(f"/{exchange.name}{path}", _websocket(simulator, exchange))
        for path in exchange.rest_paths:
            app.router.add_route("*", f"/{exchange.name}{path}", _rest(simulator, exchange))
    control = _Control(simulator)
    app.router.add_get("/simulator/status", control.status)
    app.router.add_get("/simulator/sent", control.sent)
    app.router.add_post("/simulator/play", control.play)
    app.router.add_post("/simulator/pause", control.pause)
    app.router.add_post("/simulator/drop", control.drop)
    app.router.add_post("/simulator/fault", control.fault)
    return app


def _websocket(simulator: "Simulator", exchange: SimulatedExchange) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await simulator.serve(exchange, request)

    return handle


def _rest(simulator: "Simulator", exchange: SimulatedExchange) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        if request.method == "POST":
            query |= _texts(await request.text())
        answer = simulator.answer(exchange, exchange.path_of(request.path), query)
        headers = {} if isinstance(answer, Answer) else answer.headers
        clock_s = exchange.stamp(simulator.now_ms) / 1000
        headers = {"Date": formatdate(clock_s, usegmt=True)} | headers
        return web.json_response(answer.body, status=answer.status, headers=headers)

    return handle


def _texts(body: str) -> dict[str, str]:
    """A POST's JSON object as a query has it: lists by comma; {} for anything else."""
    try:
        fields = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(fields, dict):
        return {}
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in fields.items()
    }


class _Control:
    """Handlers of /simulator."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator

    async def status(self, _: web.Request) -> web.Response:
        """Figures of the play so far."""
        return web.json_response(self._simulator.status())

    async def sent(self, request: web.Request) -> web.StreamResponse:
        """The rows that went out, as JSON lines."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines: list[str] = []
        for line in self._simulator.account.json_lines():
            lines.append(line)
            if len(lines) == SENT_FLUSH_LINES:
                await response.write("".join(lines).encode())
                lines = []
        await response.write("".join(lines).encode())
        return response

    async def play(self, _: web.Request) -> web.Response:
        """Begin."""
        self._simulator.play()
        return web.json_response(self._simulator.status())

    async def pause(self, _: web.Request) -> web.Response:
        """Deliver nothing more."""
        await self._simulator.pause()
        return web.json_response(self._simulator.status())

    async def drop(self, request: web.Request) -> web.Response:
        """Close the connections of one exchange."""
        name = request.query.get("exchange", "")
        if name not in self._simulator.exchanges:
            known = ", ".join(self._simulator.exchanges)
            return _refused(f"exchange: {name!r} is unknown; choose one of {known}")
        return web.json_response({"exchange": name, "dropped": await self._simulator.drop(name)})

    async def fault(self, request: web.Request) -> web.Response:
        """Misbehave."""
        name = request.query.get("exchange", "")
        names = list(self._simulator.exchanges) if name == "*" else [name]
        try:
            figures = _figures(request.query)
            begun = [await self._simulator.inflict(each, request.query.get("kind", ""), **figures) for each in names]
        except SettingsError as exc:
            return _refused(str(exc))
        return web.json_response([each.fields() for each in begun])


def _figures(query: Mapping[str, str]) -> dict[str, float]:
    """`seconds` and `offset_s`. Raises SettingsError."""
    try:
        usual = {"seconds": FAULT_SECONDS, "offset_s": OFFSET_S}
        return {name: float(query.get(name, value)) for name, value in usual.items()}
    except ValueError as exc:
        raise SettingsError(f"fault: seconds and offset_s are numbers: {exc}") from exc


def _refused(why: str) -> web.Response:
    answer: dict[str, Any] = {"error": why}
    return web.json_response(answer, status=404)
