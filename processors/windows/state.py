"""All that a fold holds and writes, as one tuple of arrays: what every compiled function takes."""

from typing import Annotated, NamedTuple, TypeAlias

from numba import from_dtype, types

from processors.cascade.relative import RELATIVE_RULE, WEEK
from processors.windows.context import Context
from processors.windows.layout import ASSET, CLOCK, EVENT, LAST, RULES, SIZE, Array
from processors.windows.panes import Panes
from processors.windows.reference import reader_of

BYTES: TypeAlias = Annotated[Array, types.uint8[::1]]
BYTES2: TypeAlias = Annotated[Array, types.uint8[:, ::1]]
BYTES3: TypeAlias = Annotated[Array, types.uint8[:, :, ::1]]
LONGS: TypeAlias = Annotated[Array, types.int64[::1]]
LONGS2: TypeAlias = Annotated[Array, types.int64[:, ::1]]


class Names(NamedTuple):
    """Names of the assets, and a hash table by name: 0, or 1 + the row (a power of two slots, at most half full)."""

    data: BYTES  # all names one behind the other
    ends: LONGS  # [row]
    table: Annotated[Array, types.int32[::1]]  # [slot]
    by_name: LONGS  # rows in the order of their names


class Words(NamedTuple):
    """Pieces of records that are the same for long, as Avro."""

    headers: BYTES2  # [output, 5]: what stands before a record
    exchanges: BYTES2  # [slot, ...]: name with its length
    exchange_ends: LONGS  # [slot]
    flags: BYTES2  # [size, ...]: name with its length
    flag_ends: LONGS  # [size]
    coverage: BYTES  # the map of what is known of the exchanges
    coverage_end: LONGS  # [1]
    rules: BYTES3  # [rule, custom rule, ...]: flag with its length; the last one says that the asset is muted
    rule_ends: LONGS2  # [rule, custom rule]


class Out(NamedTuple):
    """Outputs one behind the other."""

    data: BYTES
    places: LONGS2  # [output, (kind, asset or NOBODY, end in data)]
    counts: LONGS  # [2]: outputs, bytes


class State(NamedTuple):
    """Arrays by asset have its row first."""

    events: Annotated[Array, from_dtype(EVENT)[::1]]  # the run that is folded, and room behind it
    clock: Annotated[Array, from_dtype(CLOCK)[::1]]  # [1]
    assets: Annotated[Array, from_dtype(ASSET)[::1]]
    due_ms: LONGS  # [asset]: no window is final and no level falls before
    panes: Panes
    tumbling: Annotated[Array, types.int64[:, :, :, ::1]]  # [asset, window, cell, (events, micro-USD)]
    bins: Annotated[Array, types.uint16[:, :, ::1]]  # [asset, slot, bin]
    last: Annotated[Array, from_dtype(LAST)[:, ::1]]  # [asset, place]: the ring of the last events
    context: Context
    sizes: Annotated[Array, from_dtype(SIZE)[::1]]
    rules: Annotated[Array, from_dtype(RULES)[::1]]
    relative: Annotated[Array, from_dtype(RELATIVE_RULE)[::1]]  # [rule]
    relative_of: LONGS  # [size]: its place in the relative profile, or NOBODY
    weeks: Annotated[Array, from_dtype(WEEK)[::1]]  # [asset]
    checks: LONGS  # assets whose custom rules are to be checked
    names: Names
    words: Words
    out: Out
    ends: LONGS  # [size]: newest panes of the windows to show, or LONG_AGO (see `figures.measure`)
    numbers: LONGS  # what `figures.measure` fills
    cells: LONGS2  # [cell, (events, micro-USD)]: of the window that it judges


state_at = reader_of(State)
