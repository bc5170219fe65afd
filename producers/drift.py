"""Signs that an exchange has changed its format or the meaning of a side, found while everything still decodes. Pure.

A value that is not known is refused by the decoder; here it is about what a decoder does not look at."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from schemas.records import Liquidation

SAMPLE_MS: Final = 1_000  # a body a second and kind is looked at: all of a quiet channel, 20 µs a second of a busy one
NAMES_MAX: Final = 20  # new names that are told
NAME_CHARACTERS_MAX: Final = 40
DEPTH_MAX: Final = 8  # bodies have at most five levels
# With right sides a few in a hundred disagree, up to a quarter where evidence is thin; with turned sides the rest. At a
# quarter, 15 of 20 come together once in 260,000 times; without any meaning, once in 50.
SIDES_CHECKED: Final = 20
SIDES_DISAGREEING_MIN: Final = 15
MATCH_MS: Final = 2_000  # the same liquidation in two lists
EVENTS_MAX: Final = 4_096  # kept for the comparison with a REST list: an hour of ordinary days
QUANTITY_TOLERANCE: Final = 1e-9  # relative: both come from the same decimal, by other arithmetic


class FieldWatch:
    """Names of fields that are not known, in samples of the bodies of one kind."""

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known
        self._sampled_ms = -SAMPLE_MS

    def look(self, body: bytes, now_ms: int) -> list[str]:
        """New names in the body, sorted; [] where it was not the turn of this one or nothing is known to compare."""
        if not self._known or now_ms - self._sampled_ms < SAMPLE_MS:
            return []
        self._sampled_ms = now_ms
        try:
            parsed = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []  # the decoder refuses it and says why
        new = {_shown(name) for name in _names(parsed, DEPTH_MAX) if name not in self._known}
        return sorted(new)[:NAMES_MAX]


class FieldWatches:
    """A watch for each kind of an exchange."""

    def __init__(self, known_fields: Mapping[str, frozenset[str]]) -> None:
        self._watches = {kind: FieldWatch(known) for kind, known in known_fields.items()}

    def look(self, kind: str, body: bytes, now_ms: int) -> str | None:
        """A sentence when the body has names that are not known."""
        watch = self._watches.get(kind)
        new = watch.look(body, now_ms) if watch is not None else []
        return f"{kind}: fields that are not known: {', '.join(new)}" if new else None


class SideWatch:
    """Whether one witness agrees with the sides, over what was checked lately."""

    def __init__(self) -> None:
        self._agreed: deque[bool] = deque(maxlen=SIDES_CHECKED)

    def add(self, agrees: bool) -> None:
        """Take one piece of evidence."""
        self._agreed.append(agrees)

    @property
    def contradiction(self) -> str | None:
        """A sentence when nearly all of the last ones disagree, else None."""
        checked, disagreeing = len(self._agreed), self._agreed.count(False)
        if disagreeing < SIDES_DISAGREEING_MIN:
            return None
        return f"sides: {disagreeing} of the last {checked} checked liquidations have the other side by their evidence"


class ListWatch:
    """The sides of the websocket held against those of a REST list of the same liquidations."""

    def __init__(self) -> None:
        self._events: deque[Liquidation] = deque(maxlen=EVENTS_MAX)

    def add(self, event: Liquidation) -> None:
        """Take an event of the websocket."""
        self._events.append(event)

    def compare(self, listed: Iterable[Liquidation]) -> list[bool]:
        """For every listed one that the websocket had: do the sides agree? Each event is matched once.

        Of two that fit (both sides of one size within two seconds) nothing is said."""
        by_instrument: dict[str, list[Liquidation]] = {}
        for event in self._events:
            by_instrument.setdefault(event.instrument, []).append(event)
        agreed = []
        matched: set[str] = set()
        for row in listed:
            fitting = [event for event in by_instrument.get(row.instrument, ()) if _is_same(event, row)]
            if len({event.side for event in fitting}) == 1 and fitting[0].event_id not in matched:
                matched.add(fitting[0].event_id)
                agreed.append(fitting[0].side is row.side)
        self._events = deque((event for event in self._events if event.event_id not in matched), maxlen=EVENTS_MAX)
        return agreed


def _is_same(event: Liquidation, row: Liquidation) -> bool:
    return (
        abs(event.event_time_ms - row.event_time_ms) <= MATCH_MS
        and abs(event.quantity - row.quantity) <= QUANTITY_TOLERANCE * row.quantity
    )


def _names(parsed: Any, depth: int) -> Iterable[str]:
    if isinstance(parsed, Mapping):
        yield from parsed
        if depth:
            for value in parsed.values():
                yield from _names(value, depth - 1)
    elif isinstance(parsed, list) and depth:
        for value in parsed:
            yield from _names(value, depth - 1)


def _shown(name: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in name[:NAME_CHARACTERS_MAX])
