"""Final tumbling windows as Avro: what `WindowAggregate` says, in the order of its fields."""

from typing import Final

from processors.jit import part
from processors.outputs.avro import put_byte, put_double, put_id, put_long, put_name, put_piece
from processors.outputs.states import begin, finish, put_source
from processors.outputs.words import NAME_MAX, WINDOWS
from processors.windows.avro import LONG_MAX
from processors.windows.layout import MICRO, SIDES, Array
from processors.windows.state import State
from schemas.words import EXCHANGES_MAX

# names aside: ids and 7 longs, 3 doubles, the exchanges, source and time
AGGREGATE_MAX: Final = 5 + 13 * LONG_MAX + 3 * 8 + EXCHANGES_MAX * (NAME_MAX + LONG_MAX + 16) + 2 + 3 * (LONG_MAX + 1)


@part
def put_aggregate(a: int, s: int, end_ms: int, cells: Array, state: State) -> None:
    """The window of size `s` that ends at `end_ms`. It is final at its end + grace, whenever that is noticed."""
    size, data, words = state.sizes[s], state.out.data, state.words
    start_ms = end_ms - size.size_ms
    events, micro_usd, long_events, long_micro_usd, exchanges = 0, 0, 0, 0, 0
    for cell in range(cells.shape[0]):
        events += cells[cell, 0]
        micro_usd += cells[cell, 1]
        if cell % SIDES == 0:
            long_events += cells[cell, 0]
            long_micro_usd += cells[cell, 1]
            exchanges += cells[cell, 0] + cells[cell + 1, 0] > 0
    at = put_id(data, begin(WINDOWS, state), a, state.names, size.size_ms, start_ms)
    at = put_name(data, at, a, state.names)
    at = put_long(data, put_long(data, put_long(data, at, size.size_ms), start_ms), end_ms)
    at = put_long(data, put_long(data, put_long(data, at, events), long_events), events - long_events)
    at = put_double(data, at, micro_usd / MICRO)
    at = put_double(data, at, long_micro_usd / MICRO)
    at = put_double(data, at, (micro_usd - long_micro_usd) / MICRO)
    at = put_long(data, at, exchanges)
    for slot in range(words.exchanges.shape[0]):
        longs, shorts = slot * SIDES, slot * SIDES + 1
        count = cells[longs, 0] + cells[shorts, 0]
        if count:
            at = put_piece(data, at, words.exchanges[slot], words.exchange_ends[slot])
            at = put_long(data, at, count)
            at = put_double(data, at, (cells[longs, 1] + cells[shorts, 1]) / MICRO)
            at = put_double(data, at, cells[longs, 1] / MICRO)
    at = put_source(put_byte(data, at, 0), state)
    finish(WINDOWS, a, put_long(data, at, end_ms + size.grace_ms), state.out)
