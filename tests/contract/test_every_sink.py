"""What every sink must do, on the real server behind it. A new sink is found in the registry; it needs a Store."""

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from runtime.settings import KafkaSettings
from schemas.errors import RecordRefused, StoreUnavailable
from schemas.records import Record
from schemas.topics import LIQUIDATIONS, TOPICS
from sinks.connector import Batch, Connector, SinkRecord, batch_of
from sinks.registry import SINKS
from sinks.settings import SinkSettings, SinksSection
from tests.sinks.records import alert, landing, liquidation
from tests.sinks.stores import STORES, Store

HERE = (LIQUIDATIONS.name, 0)
THERE = (LIQUIDATIONS.name, 1)
BAD = [
    {"notional_usd": float("inf")},
    {"notional_usd": float("nan")},
    {"notional_usd": -1.0},
    {"price": 0.0},
    {"price": float("nan")},
]


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


@pytest.fixture
def opened(store: Store, settings: SinkSettings) -> Iterator[Callable[[], Connector]]:
    """Tasks of one sink, each opened with both partitions."""
    made: list[Connector] = []

    def make() -> Connector:
        made.append(SINKS[store.sink](settings))
        made[-1].open([HERE, THERE])
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def sink(opened: Callable[[], Connector]) -> Connector:
    return opened()


def land(sink: Connector, *batches: Iterable[SinkRecord]) -> None:
    for batch in map(batch_of, batches):
        if batch.records:
            sink.put(batch)
    sink.flush()


def events(*numbers: int) -> list[Record]:
    return [liquidation(number) for number in numbers]


def ids(*numbers: int) -> Counter[str]:
    return Counter(f"binance:BTCUSDT:{number}" for number in numbers)


def test_it_says_what_it_is() -> None:
    for kind, sink in SINKS.items():
        assert sink.kind == kind
        assert set(sink.topics) <= set(TOPICS.values())
        assert 0 < sink.flush_ms <= 60_000
        assert all(section in SinkSettings.model_fields for section in sink.sections)
        assert kind in STORES, "tests/sinks/stores.py knows the server behind every sink"


def test_it_has_the_name_of_its_connector_or_of_its_kind(settings: SinkSettings, store: Store) -> None:
    assert SINKS[store.sink](settings).name == store.sink
    assert SINKS[store.sink](settings, name="second").name == "second"


def test_settings_that_serve_are_valid(store: Store, settings: SinkSettings) -> None:
    assert SINKS[store.sink].validate(settings) == {}


# Offsets


def test_a_new_store_has_no_offsets(store: Store, settings: SinkSettings) -> None:
    sink = SINKS[store.sink](settings)
    assert sink.open([HERE, THERE]) == {}
    assert sink.flush() == {}
    sink.close()


def test_offsets_move_with_the_data(
    opened: Callable[[], Connector], sink: Connector, store: Store, settings: SinkSettings
) -> None:
    sink.put(batch_of(landing(events(1, 2))))
    assert sink.flush() == {HERE: 2}
    assert opened().flush() == {HERE: 2}
    assert store.landed(settings) == ids(1, 2)


def test_offsets_move_without_data(sink: Connector) -> None:
    sink.put(Batch((), {HERE: 5}))
    sink.put(Batch((), {HERE: 7, THERE: 1}))
    assert sink.flush() == {HERE: 7, THERE: 1}
    assert sink.open([HERE, THERE]) == {HERE: 7, THERE: 1}
    assert sink.open([THERE]) == {THERE: 1}


def test_an_offset_may_be_put_again_to_see_whether_the_store_takes_writes(sink: Connector) -> None:
    for _ in range(2):
        sink.put(Batch((), {HERE: 5}))
        assert sink.flush() == {HERE: 5}
    assert sink.open([HERE]) == {HERE: 5}


def test_offsets_go_back_when_a_person_resets_them(sink: Connector, store: Store, settings: SinkSettings) -> None:
    batch = landing(events(1, 2))
    land(sink, batch)
    sink.put(Batch((), {HERE: 0}))
    assert sink.flush() == {HERE: 0}
    assert sink.open([HERE]) == {HERE: 0}
    land(sink, batch)
    assert store.landed(settings) == ids(1, 2), "what is redelivered counts once"


def test_offsets_have_holes_where_a_log_has(sink: Connector) -> None:
    for first_offset in (0, 100):
        land(sink, landing(events(first_offset), first_offset=first_offset))
    assert sink.open([HERE]) == {HERE: 101}


def test_two_connectors_of_a_kind_have_offsets_of_their_own(store: Store, settings: SinkSettings) -> None:
    for name in ("first", "second"):
        sink = SINKS[store.sink](settings, name=name)
        assert sink.open([HERE]) == {}
        sink.put(Batch((), {HERE: 3}))
        sink.flush()
        sink.close()


# Redelivery


def test_a_redelivered_batch_counts_once(opened: Callable[[], Connector], store: Store, settings: SinkSettings) -> None:
    sink = opened()
    batch = landing([*events(*range(10)), alert(1)])
    positions = {record.position for record in batch}
    sink.open(positions)
    land(sink, batch)
    stored = opened().open(positions)
    assert all(record.offset < stored[record.position] for record in batch), "nothing is to be read again"
    assert store.landed(settings) == ids(*range(10))


def test_an_event_that_was_published_twice_counts_once(sink: Connector, store: Store, settings: SinkSettings) -> None:
    """An exchange sends the same row again after a reconnect: same id, another offset."""
    event = liquidation(1)
    for first_offset in (0, 2):
        land(sink, landing([event, event], first_offset=first_offset))
    assert store.landed(settings) == ids(1)


# A rebalance in the middle of a batch


def test_what_was_put_and_not_flushed_is_landed_or_forgotten_as_the_offsets_say(
    sink: Connector, store: Store, settings: SinkSettings
) -> None:
    land(sink, landing(events(1)))
    sink.put(batch_of(landing(events(2, 3), first_offset=1)))
    next_offset = sink.open([HERE])[HERE]
    assert next_offset in (1, 3)
    land(sink, [one for one in landing(events(1, 2, 3)) if one.offset >= next_offset])
    assert store.landed(settings) == ids(1, 2, 3)


def test_the_next_owner_goes_on_where_the_last_one_was_cut_off(
    opened: Callable[[], Connector], store: Store, settings: SinkSettings
) -> None:
    first, log = opened(), landing(events(1, 2, 3, 4))
    land(first, log[:1])
    first.put(batch_of(log[1:3]))
    first.close()
    second = opened()
    land(second, [one for one in log if one.offset >= second.flush()[HERE]])
    assert store.landed(settings) == ids(1, 2, 3, 4)


def test_a_second_task_on_a_partition_lands_nothing(
    opened: Callable[[], Connector], store: Store, settings: SinkSettings
) -> None:
    first, second = opened(), opened()
    batch = landing(events(1, 2))
    land(first, batch)
    with pytest.raises(StoreUnavailable, match="another worker"):
        land(second, batch[:1])
    assert second.open([HERE]) == {HERE: 2}
    rest = landing(events(3), first_offset=2)
    land(second, rest)
    with pytest.raises(StoreUnavailable, match="another worker"):
        land(first, rest)
    assert store.landed(settings) == ids(1, 2, 3)


def test_a_task_with_one_stale_partition_lands_nothing_of_the_others(
    opened: Callable[[], Connector], store: Store, settings: SinkSettings
) -> None:
    first, second = opened(), opened()
    first.put(Batch((), {THERE: 1}))
    first.flush()
    with pytest.raises(StoreUnavailable):
        land(second, landing(events(1)) + landing(events(2), partition=1))
    assert store.landed(settings) == {}
    assert second.open([HERE, THERE]) == {THERE: 1}


# A poison record


@pytest.mark.parametrize("changes", BAD, ids=str)
def test_a_refused_value_leaves_nothing(
    sink: Connector, store: Store, settings: SinkSettings, changes: dict[str, float]
) -> None:
    batch = landing([liquidation(1), liquidation(2, **changes), liquidation(3)])
    with pytest.raises(RecordRefused):
        land(sink, batch)
    assert sink.flush() == {}
    assert store.landed(settings) == {}
    sink.put(Batch([batch[0], batch[2]], {HERE: 3}))
    assert sink.flush() == {HERE: 3}
    assert store.landed(settings) == ids(1, 3)


def test_batches_before_the_refused_one_stand(sink: Connector, store: Store, settings: SinkSettings) -> None:
    good, bad = landing(events(1, 2)), landing([liquidation(3, price=0.0)], first_offset=2)
    with pytest.raises(RecordRefused):
        land(sink, good, bad)
    next_offset = sink.flush().get(HERE, 0)
    assert next_offset <= 2
    land(sink, [one for one in good if one.offset >= next_offset])
    sink.put(Batch((), {HERE: 3}))
    assert sink.flush() == {HERE: 3}
    assert store.landed(settings) == ids(1, 2)


# An outage at each step


def test_an_outage_before_the_opening(store: Store, settings: SinkSettings) -> None:
    sink = SINKS[store.sink](settings)
    store.server.kill()
    with pytest.raises(StoreUnavailable):
        sink.open([HERE])
    store.server.start()
    assert sink.open([HERE]) == {}
    sink.close()


def test_an_outage_before_a_put_keeps_what_had_landed(sink: Connector, store: Store, settings: SinkSettings) -> None:
    batch = landing(events(1))
    land(sink, batch)
    store.server.kill()
    more = landing(events(2), first_offset=1)
    with pytest.raises(StoreUnavailable):
        land(sink, more)
    with pytest.raises(StoreUnavailable):
        sink.open([HERE])
    store.server.start()
    stored = sink.open([HERE])
    land(sink, [record for record in batch + more if record.offset >= stored.get(HERE, 0)])
    assert store.landed(settings) == ids(1, 2)


def test_an_outage_between_put_and_flush_loses_and_doubles_nothing(
    sink: Connector, store: Store, settings: SinkSettings
) -> None:
    batch = landing(events(1, 2))
    sink.put(batch_of(batch))
    store.server.kill()
    with contextlib.suppress(StoreUnavailable):  # a store that lands with the put has nothing to do here
        sink.flush()
    store.server.start()
    next_offset = sink.open([HERE]).get(HERE, 0)
    assert next_offset in (0, 2)
    if next_offset == 0:
        land(sink, batch)
    assert store.landed(settings) == ids(1, 2)


def test_an_idle_sink_notices_an_outage(sink: Connector, store: Store) -> None:
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


def test_a_message_names_the_place_and_no_secret(store: Store, settings: SinkSettings) -> None:
    store.server.kill()
    with pytest.raises(StoreUnavailable) as caught:
        SINKS[store.sink](settings).open([HERE])
    assert store.place in str(caught.value)
    assert store.secret not in str(caught.value)
