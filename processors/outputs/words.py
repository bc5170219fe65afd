"""The pieces of records that are the same for long, as Avro, and the buffer that outputs are written to."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from processors.settings import RULES_MAX, DetectorSettings
from processors.windows.layout import SLOTS, Array
from processors.windows.state import Out, Words
from schemas.flat import long
from schemas.records import ExchangeCoverage
from schemas.words import EXCHANGES_MAX, Completeness, Exchange, FeedState

OUTPUTS_FIRST: Final = 1 << 16  # bytes of outputs that are held at once in the beginning; then doubled
OUTPUT_MIN: Final = 32  # bytes of the shortest output
NAME_MAX: Final = 20  # bytes of the name of an exchange, with its length
FLAG_MAX: Final = 48  # bytes of the flag of a custom rule, with its length: rule: and 40 characters
MUTED: Final = "muted"
COVERAGE_MAX: Final = 2 + EXCHANGES_MAX * (NAME_MAX + 2)
STATES, WINDOWS, ALERTS, LATE, PROGRESS = range(5)  # kinds of output
WORD: Final = 8  # bytes that are copied at once: as many lie behind every piece and behind all outputs


def new_out(size: int) -> Out:
    """An empty buffer for so many bytes of outputs."""
    return Out(np.zeros(size + WORD, np.uint8), np.zeros((size // OUTPUT_MIN, 3), np.int64), np.zeros(2, np.int64))


def words_of(settings: DetectorSettings, headers: Sequence[bytes]) -> Words:
    """The pieces, without rules; `headers` of STATES, WINDOWS and ALERTS."""
    exchanges, exchange_ends = _table([exchange.value for exchange in Exchange])
    assert exchanges.shape == (SLOTS, exchanges.shape[1])
    flags, flag_ends = _table([window.flag for window in settings.windows])
    return Words(
        np.frombuffer(b"".join(header.ljust(WORD, b"\0") for header in headers), np.uint8).reshape(-1, WORD),
        exchanges,
        exchange_ends,
        flags,
        flag_ends,
        np.zeros(COVERAGE_MAX + WORD, np.uint8),
        np.zeros(1, np.int64),
        np.zeros((0, RULES_MAX + 1, FLAG_MAX + WORD), np.uint8),
        np.zeros((0, RULES_MAX + 1), np.int64),
    )


def with_rules(words: Words, names: Sequence[Sequence[str]]) -> Words:
    """The pieces with the names of custom rules, by row of RULES."""
    rules = np.zeros((len(names), RULES_MAX + 1, FLAG_MAX + WORD), np.uint8)
    ends = np.zeros((len(names), RULES_MAX + 1), np.int64)
    for row, own in enumerate(names):
        flags = {number: f"rule:{name}" for number, name in enumerate(own)} | {RULES_MAX: MUTED}
        for number, flag in flags.items():
            data = _string(flag)
            rules[row, number, : len(data)] = np.frombuffer(data, np.uint8)
            ends[row, number] = len(data)
    return words._replace(rules=rules, rule_ends=ends)


def put_coverage(words: Words, coverage: Mapping[str, ExchangeCoverage]) -> None:
    """Encode what is known of the exchanges."""
    states, tapes = tuple(FeedState), tuple(Completeness)
    parts = [long(len(coverage))] if coverage else []
    for name, one in coverage.items():
        parts += [_string(name), long(states.index(one.state)), long(tapes.index(one.completeness))]
    data = b"".join([*parts, long(0)])
    words.coverage[: len(data)] = np.frombuffer(data, np.uint8)
    words.coverage_end[0] = len(data)


def _string(text: str) -> bytes:
    data = text.encode()
    return long(len(data)) + data


def _table(texts: Sequence[str]) -> tuple[Array, Array]:
    encoded = [_string(text) for text in texts]
    rows = np.zeros((len(encoded), max(map(len, encoded)) + WORD), np.uint8)
    for row, data in zip(rows, encoded, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return rows, np.array([len(data) for data in encoded], np.int64)
