"""What a fold that begins without a state must see before its outputs are right. Pure.

Windows, levels and correlation forget within minutes, so 25 minutes of everything make them whole, counted back from
the beginning of the oldest episode that is open: its alerts say how it began. Open interest, funding and ids are
remembered for longer: 24 hours of liquidations and context go before, without ticks, which only make time pass where
nothing else does.

    context_from              from          to                 at
    |--- 24 h, no ticks ------|-- 25 min ---|== outputs are right ==>
                                            ^ the oldest open episode began here, or `at` without one"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from schemas.records import CascadeAlert
from schemas.topics import MARKET
from schemas.words import AlertKind

LEAD_MS: Final = 25 * 60_000  # the widest window twice and its grace are 11 min, a level's hold less
CONTEXT_MS: Final = 24 * 3_600_000
BACK_MS_MAX: Final = 24 * 3_600_000


class LeadIn(NamedTuple):
    """Times in ms, see above. `beyond`: open episodes that began too long ago, oldest first."""

    context_from_ms: int
    from_ms: int
    to_ms: int
    beyond: tuple[str, ...]


def lead_in(open_: Mapping[str, int], at_ms: int) -> LeadIn:
    """What must be seen to be right at `at_ms`, with these episodes open then: id -> when it began.

    >>> lead_in({"BTC:50000000": 50_000_000, "ETH:1": 1}, 100_000_000)
    LeadIn(context_from_ms=-37900000, from_ms=48500000, to_ms=50000000, beyond=('ETH:1',))"""
    reach_ms = at_ms - BACK_MS_MAX + LEAD_MS
    to_ms = min([at_ms, *(begun_ms for begun_ms in open_.values() if begun_ms >= reach_ms)])
    beyond = sorted((begun_ms, episode) for episode, begun_ms in open_.items() if begun_ms < reach_ms)
    return LeadIn(to_ms - LEAD_MS - CONTEXT_MS, to_ms - LEAD_MS, to_ms, tuple(episode for _, episode in beyond))


def open_episodes(alerts: Iterable[CascadeAlert]) -> dict[str, int]:
    """Episodes that have not ended, of the alerts of one partition in any order: id -> when it began, ms."""
    newest: dict[str, CascadeAlert] = {}
    for alert in alerts:
        known = newest.get(alert.asset)
        if alert.asset != MARKET and (known is None or _place(known) <= _place(alert)):
            newest[alert.asset] = alert
    return {
        alert.episode_id: began_ms(alert.episode_id) for alert in newest.values() if alert.kind is not AlertKind.ENDED
    }


def began_ms(episode_id: str) -> int:
    """When an episode began, as its id says.

    >>> began_ms("BTC:1760000000000")
    1760000000000"""
    return int(episode_id.rpartition(":")[2])


def _place(alert: CascadeAlert) -> tuple[int, int]:
    return began_ms(alert.episode_id), alert.sequence
