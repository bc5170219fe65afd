"""All that a fold holds and writes, as one tuple of arrays: what every compiled function takes."""

from typing import NamedTuple

from processors.windows.context import Context
from processors.windows.layout import Array
from processors.windows.panes import Panes


class Names(NamedTuple):
    """Names of the assets, and a hash table by name: 0, or 1 + the row (a power of two slots, at most half full)."""

    data: Array  # uint8: all names one behind the other
    ends: Array  # int64 [row]
    table: Array  # int32 [slot]
    by_name: Array  # int64: rows in the order of their names
    rank: Array  # int64 [row]: place in that order


class Words(NamedTuple):
    """Pieces of records that are the same for long, as Avro."""

    headers: Array  # uint8 [output, 5]: what stands before a record
    exchanges: Array  # uint8 [slot, ...]: name with its length
    exchange_ends: Array  # int64 [slot]
    flags: Array  # uint8 [size, ...]: name with its length
    flag_ends: Array  # int64 [size]
    coverage: Array  # uint8: the map of what is known of the exchanges
    coverage_end: Array  # int64 [1]
    rules: Array  # uint8 [rule, custom rule, ...]: flag with its length; the last one says that the asset is muted
    rule_ends: Array  # int64 [rule, custom rule]


class Out(NamedTuple):
    """Outputs one behind the other."""

    data: Array  # uint8
    places: Array  # int64 [output, (kind, asset or NOBODY, end in data)]
    counts: Array  # int64 [2]: outputs, bytes


class State(NamedTuple):
    """Arrays by asset have its row first."""

    clock: Array  # CLOCK [1]
    assets: Array
    due_ms: Array  # int64 [asset]: no window is final and no level falls before
    panes: Panes
    bins: Array  # uint16 [asset, slot, bin]
    last: Array  # LAST [asset, place]: the ring of the last events
    context: Context
    sizes: Array  # SIZE [size]
    rules: Array  # RULES [rule]
    relative: Array  # RELATIVE_RULE [rule]
    relative_of: Array  # int64 [size]: its place in the relative profile, or NOBODY
    weeks: Array  # WEEK [asset]
    checks: Array  # int64: assets whose custom rules are to be checked
    names: Names
    words: Words
    out: Out
    ends: Array  # int64 [size]: newest panes of the windows to show, or LONG_AGO (see `figures.measure`)
    numbers: Array  # int64: what `figures.measure` fills
