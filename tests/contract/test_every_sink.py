"""What every sink must do, on the real server behind it. A new sink is found in the registry; it needs a Store."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import KafkaSettings
from schemas.errors import RecordRefused, StoreUnavailable
from schemas.topics import LIQUIDATIONS
from sinks.connector import Connector, offsets_after
from sinks.registry import SINKS
from sinks.settings import SinkSettings, SinksSection
from tests.sinks.records import alert, landing, liquidation
from tests.sinks.stores import STORES, Store

HERE = (LIQUIDATIONS.name, 0)
THERE = (LIQUIDATIONS.name, 1)


@pytest.fixture(scope="module", params=SINKS)
def server(request: pytest.FixtureRequest) -> Iterator[Store]:
    folder = Path(tempfile.mkdtemp(prefix="liqcascade-sink-"))
    folder.chmod(0o755)
    store = STORES[request.param](folder)
    store.server.start()
    yield store
    store.server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def store(server: Store) -> Store:
    server.server.start()
    server.empty()
    return server


@pytest.fixture
def settings(store: Store) -> SinkSettings:
    return store.settings(KafkaSettings(), SinksSection())


def opened(store: Store, settings: SinkSettings) -> Connector:
    sink = SINKS[store.sink](settings)
    sink.open([HERE, THERE])
    return sink


def test_it_says_what_it_is() -> None:
    for name, sink in SINKS.items():
        assert sink.name == name
        assert sink.topics
        assert 0 < sink.flush_ms <= 10_000
        assert name in STORES, "tests/sinks/stores.py knows the server behind every sink"


def test_a_new_store_has_no_offsets(store: Store, settings: SinkSettings) -> None:
    sink = SINKS[store.sink](settings)
    assert sink.open([HERE, THERE]) == {}
    sink.close()


def test_offsets_move_with_the_data(store: Store, settings: SinkSettings) -> None:
    sink = opened(store, settings)
    batch = landing([liquidation(1), liquidation(2)])
    sink.put(batch, offsets_after(batch))
    assert SINKS[store.sink](settings).open([HERE, THERE]) == {HERE: 2}
    assert store.landed(settings) == {"binance:BTCUSDT:1": 1, "binance:BTCUSDT:2": 1}


def test_offsets_move_without_data(store: Store, settings: SinkSettings) -> None:
    sink = opened(store, settings)
    sink.put((), {HERE: 5})
    sink.put((), {HERE: 7, THERE: 1})
    assert sink.open([HERE, THERE]) == {HERE: 7, THERE: 1}


def test_an_offset_may_be_put_again_to_see_whether_the_store_takes_writes(store: Store, settings: SinkSettings) -> None:
    sink = opened(store, settings)
    sink.put((), {HERE: 5})
    sink.put((), {HERE: 5})
    assert sink.open([HERE]) == {HERE: 5}


def test_offsets_have_holes_where_a_log_has(store: Store, settings: SinkSettings) -> None:
    sink = opened(store, settings)
    for first_offset in (0, 100):
        batch = landing([liquidation(first_offset)], first_offset=first_offset)
        sink.put(batch, offsets_after(batch))
    assert sink.open([HERE]) == {HERE: 101}


def test_a_redelivered_batch_counts_once(store: Store, settings: SinkSettings) -> None:
    sink = opened(store, settings)
    batch = landing([liquidation(number) for number in range(10)] + [alert(1)])
    sink.open({record.position for record in batch})
    sink.put(batch, offsets_after(batch))
    again = SINKS[store.sink](settings)
    stored = again.open({record.position for record in batch})
    assert all(record.offset < stored[record.position] for record in batch), "nothing is to be read again"
    assert store.landed(settings) == Counter(f"binance:BTCUSDT:{number}" for number in range(10))


def test_an_event_that_was_published_twice_counts_once(store: Store, settings: SinkSettings) -> None:
    """An exchange sends the same row again after a reconnect: same id, another offset."""
    sink = opened(store, settings)
    event = liquidation(1)
    for first_offset in (0, 2):
        batch = landing([event, event], first_offset=first_offset)
        sink.put(batch, offsets_after(batch))
    assert store.landed(settings) == {"binance:BTCUSDT:1": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"notional_usd": float("inf")},
        {"notional_usd": float("nan")},
        {"notional_usd": -1.0},
        {"price": 0.0},
        {"price": float("nan")},
    ],
    ids=str,
)
def test_a_refused_value_leaves_nothing(store: Store, settings: SinkSettings, changes: dict[str, float]) -> None:
    sink = opened(store, settings)
    batch = landing([liquidation(1), liquidation(2, **changes), liquidation(3)])
    with pytest.raises(RecordRefused):
        sink.put(batch, offsets_after(batch))
    assert store.landed(settings) == {}
    good = [batch[0], batch[2]]
    sink.put(good, offsets_after(batch))
    assert store.landed(settings).keys() == {"binance:BTCUSDT:1", "binance:BTCUSDT:3"}
    assert sink.open([HERE]) == {HERE: 3}


def test_a_second_worker_on_a_partition_lands_nothing(store: Store, settings: SinkSettings) -> None:
    first, second = opened(store, settings), opened(store, settings)
    batch = landing([liquidation(1), liquidation(2)])
    first.put(batch, offsets_after(batch))
    with pytest.raises(StoreUnavailable, match="another worker"):
        second.put(batch[:1], offsets_after(batch[:1]))
    assert second.open([HERE]) == {HERE: 2}
    rest = landing([liquidation(3)], first_offset=2)
    second.put(rest, offsets_after(rest))
    with pytest.raises(StoreUnavailable, match="another worker"):
        first.put(rest, offsets_after(rest))
    assert store.landed(settings) == Counter(f"binance:BTCUSDT:{number}" for number in (1, 2, 3))


def test_a_worker_with_one_stale_partition_lands_nothing_of_the_others(store: Store, settings: SinkSettings) -> None:
    first, second = opened(store, settings), opened(store, settings)
    first.put((), {THERE: 1})
    batch = landing([liquidation(1)]) + landing([liquidation(2)], partition=1)
    with pytest.raises(StoreUnavailable):
        second.put(batch, offsets_after(batch))
    assert store.landed(settings) == {}
    assert second.open([HERE, THERE]) == {THERE: 1}


def test_a_killed_store_is_unavailable_and_keeps_what_it_had(store: Store, settings: SinkSettings) -> None:
    sink = opened(store, settings)
    batch = landing([liquidation(1)])
    sink.put(batch, offsets_after(batch))
    store.server.kill()
    more = landing([liquidation(2)], first_offset=1)
    with pytest.raises(StoreUnavailable):
        sink.put(more, offsets_after(more))
    with pytest.raises(StoreUnavailable):
        sink.open([HERE])
    store.server.start()
    stored = sink.open([HERE])
    kept = [record for record in batch + more if record.offset >= stored.get(HERE, 0)]
    sink.put(kept, offsets_after(kept))
    assert store.landed(settings) == {"binance:BTCUSDT:1": 1, "binance:BTCUSDT:2": 1}


def test_an_idle_sink_notices_an_outage(store: Store, settings: SinkSettings) -> None:
    sink = opened(store, settings)
    sink.check()
    store.server.kill()
    with pytest.raises(StoreUnavailable):
        sink.check()


def test_closing_twice_or_unopened_is_fine(store: Store, settings: SinkSettings) -> None:
    sink = SINKS[store.sink](settings)
    sink.close()
    sink.open([HERE])
    sink.close()
    sink.close()


def test_no_message_holds_the_password(store: Store, settings: SinkSettings) -> None:
    store.server.kill()
    password = store.server.url.partition("//")[2].rpartition("@")[0].rpartition(":")[2] or "no password"
    with pytest.raises(StoreUnavailable) as caught:
        SINKS[store.sink](settings).open([HERE])
    assert password not in str(caught.value)
    assert str(store.server.port) in str(caught.value)
