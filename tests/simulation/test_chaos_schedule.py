"""The schedule of a fault run: from its seed, every fault at every exchange, with time to recover in between."""

from itertools import pairwise

import pytest

from schemas.records import FeedHealth
from schemas.words import Exchange, FeedState
from stack.simulator.faults import FAULTS
from stack.simulator.scenarios import EXCHANGES
from tests.simulation.chaos_schedule import ALONE_S_MAX, KINDS, RECOVERY_S, length_s, schedule


def test_every_fault_is_once_at_every_exchange_in_the_order_of_time() -> None:
    planned = schedule(7, EXCHANGES)
    assert {(each.exchange, each.kind) for each in planned} == {(name, kind) for name in EXCHANGES for kind in KINDS}
    assert len(planned) == len(EXCHANGES) * len(KINDS)
    assert [each.at_s for each in planned] == sorted(each.at_s for each in planned)
    assert set(FAULTS) - set(KINDS) == {"fragment"}, "which is legal, so there is nothing to name"


def test_equal_seeds_give_equal_schedules() -> None:
    assert schedule(7, EXCHANGES) == schedule(7, EXCHANGES) != schedule(8, EXCHANGES)


@pytest.mark.parametrize("seed", range(20))
def test_a_feed_has_time_to_recover(seed: int) -> None:
    planned = schedule(seed, ["okx"])
    for earlier, later in pairwise(planned):
        alone_s = ALONE_S_MAX.get(earlier.kind, earlier.seconds)
        assert later.at_s - earlier.at_s >= alone_s + RECOVERY_S - 1e-9
    assert 150 < length_s(planned) < 260, "at four times the speed: more than ten minutes, and not many more"


@pytest.mark.parametrize(
    ("state", "detail", "kinds"),
    [
        (FeedState.GAP, "nothing was received for 900 ms", {"drop", "close", "cut-24h", "backlog", "ban"}),
        (FeedState.STALE, "nothing came for 30 s", {"stall"}),
        (FeedState.DRIFT, "refused: decoding okx: Input data was truncated", {"half-frame"}),
        (FeedState.DRIFT, "refused: decoding okx: details.posSide is 'sold'", {"changed-side"}),
        (
            FeedState.DRIFT,
            "sides: 16 of the last 20 checked liquidations have the other side by their evidence (mark)",
            {"swapped-sides"},
        ),
        (FeedState.DRIFT, "liquidation: fields that are not known: novelty", {"unknown-field"}),
        (FeedState.LIVE, "frames came again: 3", {"duplicate"}),
        (FeedState.LIVE, "rows came out of order: 3, by up to 3.1 s", {"reorder"}),
        (FeedState.LIVE, "the exchange's clock is 20.0 s behind ours", {"clock-skew"}),
        (FeedState.LIVE, "", set()),
    ],
)
def test_a_record_names_its_fault_and_no_other(state: FeedState, detail: str, kinds: set[str]) -> None:
    record = FeedHealth(
        exchange=Exchange.OKX, channel="liquidation", state=state, since_ms=0, detail=detail, event_time_ms=0
    )
    assert {name for name, kind in KINDS.items() if kind.names(record)} == kinds
