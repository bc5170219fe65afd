from itertools import pairwise

import pytest

from tests.simulation.chaos_sinks_schedule import OTHER_FAULTS, RECOVERY_S, STORE_FAULTS, STORES, length_s, schedule


@pytest.mark.parametrize("seed", range(5))
def test_every_fault_happens_and_leaves_time_to_recover(seed: int) -> None:
    planned = schedule(seed)
    assert planned == schedule(seed) != schedule(seed + 1)
    assert {(each.target, each.kind) for each in planned if each.target in STORES} == {
        (store, kind) for store in STORES for kind in STORE_FAULTS
    }
    assert {each.kind for each in planned} == {*STORE_FAULTS, *OTHER_FAULTS}
    for earlier, later in pairwise(planned):
        assert later.at_s - earlier.at_s >= earlier.seconds + RECOVERY_S
    assert length_s(planned) < 300, "ten minutes, with time to land what is left"
