"""The REST loop against a real server: pages, failures, refusals, instruments, settled history, odd answers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from producers import poller as poller_module
from producers import rest as rest_module
from producers.budget import RateBudget
from producers.exchange import FUNDING, OPEN_INTEREST, Budget, ExchangeAdapter, MarketEvent, Params, Poll
from producers.instruments import Instrument, Instruments
from producers.marks import Marks
from producers.settings import ProducersSection
from producers.source import Source
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest
from schemas.words import Exchange, FeedState, Market
from tests.producers.toy import DEADLINE_S, adapter


class Outlet:
    """Keeps what it gets; `until` waits for a condition on it."""

    def __init__(self) -> None:
        self.events: list[MarketEvent] = []
        self.states: list[FeedHealth] = []
        self.letters: list[tuple[bytes, str, str]] = []
        self._changed = asyncio.Condition()

    async def liquidations(self, events: Sequence[Liquidation]) -> None:
        raise AssertionError("no liquidations here")

    async def market(self, events: Sequence[OpenInterest | Funding]) -> None:
        self.events += events
        await self._notify()

    async def health(self, record: FeedHealth) -> None:
        self.states.append(record)
        await self._notify()

    async def raw_frame(self, frame: bytes, *, exchange: str, channel: str, received_time_us: int) -> None:
        raise AssertionError("no frames here")

    async def dead_letter(
        self, frame: bytes, error: FrameRefused, *, exchange: str, channel: str, received_time_us: int
    ) -> None:
        self.letters.append((frame, str(error), channel))
        await self._notify()

    def channel(self, kind: str) -> list[FeedState]:
        return [record.state for record in self.states if record.channel == kind]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Server:
    """`answers` by path, in turn, the last one for ever: a body, a status, or a status with headers."""

    start_ms = 0

    def __init__(self) -> None:
        Server.start_ms = now_ms()
        self.answers: dict[str, list[Any]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.origin = ""

    def count(self, path: str) -> int:
        return sum(each == path for each, _ in self.requests)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.requests.append((request.path, json.loads(body) if body else dict(request.query)))
        answers = self.answers.get(request.path, [503])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(self.requests[-1][1])
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, tuple):
            return web.Response(status=answer[0], headers=answer[1])
        return web.Response(body=answer) if isinstance(answer, bytes) else web.json_response(answer)


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    served, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", served.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield served
    finally:
        await runner.cleanup()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def instrument(name: str) -> Instrument:
    return Instrument(
        exchange=Exchange.GATE, instrument=name, asset=name, market=Market.USDT, contract_size=Decimal(1), inverse=False
    )


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """{"rows": [[kind, instrument, ms after the server's start]]}; kinds: oi, next, settled, unknown, bug."""
    try:
        rows = json.loads(body)["rows"]
    except (ValueError, KeyError) as exc:
        raise FrameRefused(f"decoding toy: {exc!r}") from exc
    events: list[MarketEvent] = []
    refused: FrameRefused | None = None
    for kind, name, after_ms in rows:
        time_ms = Server.start_ms + after_ms
        key = f"gate:{name}:{time_ms}"
        if kind == "unknown":
            refused = UnknownInstrument(f"decoding toy: {name} is not known")
        elif kind == "bug":
            raise ZeroDivisionError
        elif kind == "oi":
            events.append(
                OpenInterest(
                    event_id=key, exchange=Exchange.GATE, asset=name, instrument=name, market=Market.USDT,
                    open_interest=1.0, event_time_ms=time_ms, received_time_us=received_time_us,
                )
            )  # fmt: skip
        else:
            events.append(
                Funding(
                    event_id=f"{key}:{kind}", exchange=Exchange.GATE, asset=name, instrument=name, market=Market.USDT,
                    rate=0.1, interval_hours=8.0, rate_8h=0.1, settled=kind == "settled", event_time_ms=time_ms,
                    received_time_us=received_time_us,
                )
            )  # fmt: skip
    if refused is not None:
        refused.events = tuple(events)
        raise refused
    return events


def bulk(**changes: Any) -> Poll:
    poll = Poll(
        kinds=(OPEN_INTEREST,), origin="https://toy.invalid", path="/oi", decode=decode, weight=1, interval_ms=20
    )
    return replace(poll, **changes)


def toy(*polls: Poll, **changes: Any) -> ExchangeAdapter:
    return replace(adapter(), polls=polls, **changes)


@asynccontextmanager
async def polling(
    toy: ExchangeAdapter, served: Server, folder: Path, instruments: Sequence[str] = ()
) -> AsyncIterator[tuple[Outlet, Source]]:
    """The calls of an exchange against a server, without its websockets."""
    outlet = Outlet()
    section = ProducersSection(cache_folder=folder).model_copy(update={"origins": {"gate": served.origin}})
    source = Source(toy, section, outlet)
    source.catalogue.listed = [instrument(name) for name in instruments]
    async with asyncio.TaskGroup() as tasks:
        started = tasks.create_task(source.poller.run(tasks))
        try:
            yield outlet, source
        finally:
            started.cancel()
            await source.stop()
            await source.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "RETRY_S", 0.01)


async def test_answers_are_published_once_each(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/oi"] = [{"rows": [["oi", "BTC", after_ms]]} for after_ms in (0, 0, 9)]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) == 2)
            await outlet.until(lambda: bool(outlet.states))
    assert [event.event_time_ms - Server.start_ms for event in outlet.events] == [0, 9]
    assert outlet.letters == []


async def test_pages_are_followed(tmp_path: Path) -> None:
    def cursor(body: bytes) -> Params | None:
        following = json.loads(body).get("next")
        return {"cursor": following} if following else None

    async with server() as served:
        served.answers["/oi"] = [{"rows": [["oi", "A", 0]], "next": "x"}, {"rows": [["oi", "B", 0]]}]
        poll = bulk(params={"category": "linear"}, cursor=cursor, interval_ms=60_000)
        async with polling(toy(poll), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) == 2)
    assert [query for _, query in served.requests] == [
        {"category": "linear"},
        {"category": "linear", "cursor": "x"},
    ]


async def test_failure_is_stated_and_tried_again(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/oi"] = [503, 503, {"rows": [["oi", "BTC", 0]]}]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: len(outlet.states) == 2)
    assert outlet.channel(OPEN_INTEREST) == [FeedState.RECONNECTING, FeedState.LIVE]
    assert "the answer is 503" in outlet.states[0].detail


async def test_long_failure_makes_data_stale_and_ends_with_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.health.STALE_MS_MIN", 2_000)  # the clock is known to 1 s
    async with server() as served:
        down = True

        def answer(_: object) -> object:
            return 503 if down and served.count("/oi") > 1 else {"rows": [["oi", "BTC", now_ms() - Server.start_ms]]}

        served.answers["/oi"] = [answer]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: FeedState.STALE in outlet.channel(OPEN_INTEREST))
            down = False
            await outlet.until(lambda: FeedState.GAP in outlet.channel(OPEN_INTEREST))
            await outlet.until(lambda: outlet.states[-1].state is FeedState.LIVE)
    assert outlet.channel(OPEN_INTEREST)[:4] == [FeedState.LIVE, FeedState.STALE, FeedState.GAP, FeedState.LIVE]


async def test_refusal_stops_every_call_for_as_long_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[int]()
    monkeypatch.setattr("producers.budget.BAN_MS_MIN", 200)
    refused = RateBudget.refused

    def remember(budget: RateBudget, headers: Mapping[str, str], *, now_ms: int, wall_ms: int) -> int:
        waits.append(refused(budget, headers, now_ms=now_ms, wall_ms=wall_ms))
        return waits[-1]

    monkeypatch.setattr(RateBudget, "refused", remember)
    async with server() as served:
        served.answers["/oi"] = [(429, {"Retry-After": "0.3"}), {"rows": [["oi", "BTC", 0]]}]
        served.answers["/funding"] = [{"rows": [["next", "BTC", 0]]}]
        polls = bulk(), bulk(path="/funding", kinds=(FUNDING,))
        async with polling(toy(*polls), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) >= 2)
            assert waits == [300]
    state = next(record for record in outlet.states if "429" in record.detail)
    assert state.detail.endswith("the answer is 429; no call for 300 ms")
    assert state.channel == OPEN_INTEREST


async def test_every_instrument_is_asked_for_within_the_budget(tmp_path: Path) -> None:
    names = [f"C{number}" for number in range(30)]
    async with server() as served:
        served.answers["/oi"] = [lambda query: {"rows": [["oi", query["symbol"], 0]]}]
        poll = bulk(per_instrument="symbol", wants=lambda row: row.instrument != "C7", weight=2)
        budget = Budget(weight_max=400, window_ms=1_000)
        async with polling(toy(poll, budget=budget), served, tmp_path, names) as (outlet, source):
            await outlet.until(lambda: len(outlet.events) == 29)
            # 29 calls of weight 2 in 60 % of half of 400 a second
            assert source.market.health[OPEN_INTEREST].expected_gap_ms == 483
    assert {event.instrument for event in outlet.events} == set(names) - {"C7"}


async def test_calls_by_instrument_share_the_budget_by_need(tmp_path: Path) -> None:
    names = [f"C{number}" for number in range(22)]
    async with server() as served:
        served.answers["/oi"] = served.answers["/few"] = [lambda query: {"rows": [["oi", query["symbol"], 0]]}]
        many = bulk(per_instrument="symbol", wants=lambda row: row.instrument not in ("C0", "C1"), weight=2)
        few = bulk(path="/few", per_instrument="symbol", wants=lambda row: row.instrument in ("C0", "C1"), weight=2)
        none = bulk(path="/none", per_instrument="symbol", wants=lambda row: False, weight=2)
        budget = Budget(weight_max=400, window_ms=1_000)
        async with polling(toy(many, few, none, budget=budget), served, tmp_path, names) as (outlet, source):
            await outlet.until(lambda: len(outlet.events) == 22)
            # 22 calls of weight 2 in 60 % of half of 400 a second, for both alike
            assert source.market.health[OPEN_INTEREST].expected_gap_ms == 367
    assert served.count("/none") == 0


async def test_histories_by_instrument_come_at_the_start_not_over_the_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller_module, "SETTLED_ROUND_MS", 50)
    names = ["A", "B", "C"]
    async with server() as served:
        served.answers["/history"] = [lambda query: {"rows": [["settled", query["symbol"], 0]]}]
        poll = bulk(path="/history", kinds=(FUNDING,), settled=True, interval_ms=3_600_000, per_instrument="symbol")
        async with polling(toy(poll), served, tmp_path, names) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) == 3)
    assert [query["symbol"] for _, query in served.requests] == names


async def test_posted_calls_carry_their_parameters_in_the_body(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/info"] = [lambda query: {"rows": [["settled", query["coin"], query["startTime"] % 7]]}]
        poll = bulk(
            path="/info", kinds=(FUNDING,), method="POST", body='{"type":"fundingHistory"}', per_instrument="coin",
            settled=True, window_params=lambda start, end: {"startTime": start},
        )  # fmt: skip
        async with polling(toy(poll), served, tmp_path, ["BTC"]) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) == 1)
    (request,) = served.requests
    assert request[1]["type"] == "fundingHistory"
    assert request[1]["coin"] == "BTC"
    assert isinstance(request[1]["startTime"], int)


async def test_settled_funding_of_24_hours_is_asked_for_once(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/history"] = [{"rows": [["settled", "BTC", 0], ["settled", "BTC", 1], ["settled", "BTC", 0]]}]
        poll = bulk(
            path="/history", kinds=(FUNDING,), settled=True,
            window_params=lambda start, end: {"from": start, "to": end},
        )  # fmt: skip
        async with polling(toy(poll), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) == 2)
    (request,) = served.requests
    assert int(request[1]["to"]) - int(request[1]["from"]) == 86_400_000


async def test_answer_that_is_refused_is_one_dead_letter_and_drift(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/oi"] = [{"rows": [["oi", "A", 0]]}, b"<html>"]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: FeedState.DRIFT in outlet.channel(OPEN_INTEREST))
            await outlet.until(lambda: bool(outlet.letters))
            asked = served.count("/oi")
            while served.count("/oi") < asked + 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert [(body, channel) for body, _, channel in outlet.letters] == [(b"<html>", OPEN_INTEREST)]


async def test_unknown_instrument_leaves_the_others_and_asks_for_the_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counter[str]()

    async def refresh() -> None:
        asked["refresh"] += 1

    async with server() as served:
        served.answers["/oi"] = [lambda _: {"rows": [["oi", "A", len(served.requests)], ["unknown", "B", 0]]}]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, source):
            monkeypatch.setattr(source.catalogue, "refresh_for_unknown", refresh)
            await outlet.until(lambda: len(outlet.events) == 3)
    assert asked == {"refresh": 1}
    assert outlet.letters == []
    assert FeedState.DRIFT not in outlet.channel(OPEN_INTEREST)


async def test_fault_of_a_decoder_ends_nothing(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/oi"] = [{"rows": [["bug", "A", 0]]}, {"rows": [["oi", "A", 0]]}]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) == 1)
    assert "ZeroDivisionError" in outlet.letters[0][1]


async def test_answer_beyond_the_limit_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_module, "ANSWER_BYTES_MAX", 1_000)
    async with server() as served:
        served.answers["/oi"] = [b" " * 1_001, {"rows": [["oi", "A", 0]]}]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: len(outlet.events) == 1)
    assert any("more than 1000 bytes" in record.detail for record in outlet.states)


async def test_new_fields_are_drift_and_do_no_harm(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/oi"] = [{"rows": [["oi", "A", 0]], "surprise": 1}]
        known = {OPEN_INTEREST: frozenset({"rows"})}
        async with polling(toy(bulk(), known_fields=known), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: FeedState.DRIFT in outlet.channel(OPEN_INTEREST))
    drift = next(record for record in outlet.states if record.state is FeedState.DRIFT)
    assert drift.detail == "open-interest: fields that are not known: surprise"
    assert len(outlet.events) == 1


async def test_server_time_gives_the_clock_offset(tmp_path: Path) -> None:
    async with server() as served:
        served.answers["/oi"] = [{"rows": [["oi", "A", 0]]}]
        async with polling(toy(bulk()), served, tmp_path) as (outlet, _):
            await outlet.until(lambda: bool(outlet.states) and outlet.states[-1].state is FeedState.LIVE)
    offset_ms = outlet.states[-1].clock_offset_ms
    assert offset_ms is not None
    assert abs(offset_ms) <= 1_000
