"""Lag without progress, seen with a time that is an argument."""

from processors.host.watchdog import HANGS_S, Verdict, Watchdog


def verdicts(*sights: tuple[float, int, int]) -> list[Verdict]:
    """Of partition 0 at (time, position, end)."""
    watchdog = Watchdog(waits_s=5.0)
    return [watchdog.see(0, position=position, end=end, now_s=now_s) for now_s, position, end in sights]


def test_lag_without_progress_waits_then_hangs_then_has_as_long_again() -> None:
    seen = verdicts((0, 7, 9), (4.9, 7, 9), (5, 7, 9), (29.9, 7, 12), (HANGS_S, 7, 12), (31, 7, 12), (60, 7, 12))
    assert [one.value for one in seen] == ["moves", "moves", "waits", "waits", "hangs", "moves", "hangs"]


def test_progress_begins_the_time_anew() -> None:
    assert verdicts((0, 7, 9), (29, 8, 9), (33, 8, 9), (58, 8, 9), (59, 8, 9))[-2:] == [Verdict.WAITS, Verdict.HANGS]


def test_nothing_to_do_is_no_hang() -> None:
    assert set(verdicts((0, 9, 9), (100, 9, 9), (101, 9, 10), (104, 9, 10))) == {Verdict.MOVES}


def test_partitions_are_judged_each_for_itself() -> None:
    watchdog = Watchdog(waits_s=5.0)
    for now_s in (0.0, HANGS_S):
        seen = [watchdog.see(partition, position=3, end=3 + partition, now_s=now_s) for partition in (0, 1)]
    assert seen == [Verdict.MOVES, Verdict.HANGS]
