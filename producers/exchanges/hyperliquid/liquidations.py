"""Hyperliquid: liquidations, inferred, as there is no public feed of them.

Sources, as of 2026-11-23 (hyperliquid.gitbook.io; production fills of nautechsystems/nautilus_trader and of
node_fills_by_block):
- Fills (`userFills`, `userEvents`, node_fills_by_block, info userFills) have `liquidation` {liquidatedUser, markPx,
  method} on both sides of the trade: a fill is the liquidated one if liquidatedUser is its user. That one sold (A)
  closes a LONG, bought (B) a SHORT; for the counterparty's fill it is the other way round. `dir` "Liquidated
  Cross|Isolated Long|Short" names the position. Where the user is not told, the liquidated one is the taker
  (`crossed`).
- `dir` "Auto-Deleveraging" is no liquidation of the user; it names a liquidator as the liquidated one. Both are left
  out.
- `trades` have no marker (the zero hash is none), but name [buyer, seller]. Only backstop liquidations can be seen: a
  known liquidator that buys takes over a LONG, one that sells a SHORT. Inferred by that alone. One event is one
  liquidated user, coin and block (a block has one time): its fills are summed, each `tid` once. The id is coin, time
  and the user, so it is the same in trades and fills, in part or whole. An address is lower case in it."""

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from typing import Final

import msgspec

from producers.amounts import Amounts, linear_by_unit, notional, positive, refusal, time_ms
from producers.exchange import FRAME_BYTES_MAX, decode_rows
from producers.exchanges.hyperliquid.instruments import is_spot
from producers.instruments import Instrument, Instruments
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, PriceKind, Side

NAME: Final = Exchange.HYPERLIQUID.value
# The vault's children that take over positions (info vaultDetails of 0xdfc24b077bc1425ad1dea75bcb6f8158e10df303).
LIQUIDATORS: Final = (
    "0x2e3d94f0562703b25c83308a05046ddaf9a8dd14",
    "0xb0a55f13d22f66e6d495ac98113841b2326e9540",
    "0x5e177e5e39c0f4e421f5865a6d8beed8d921cb70",
    "0x2ed5c4484ea3ff8b57d5f2fb152a40d9f2b68308",
)
SIDES: Final = {"A": Side.LONG, "B": Side.SHORT}  # of the liquidated one's own fill: A sold, B bought
OTHER_SIDE: Final = {Side.LONG: Side.SHORT, Side.SHORT: Side.LONG}
METHODS: Final = ("market", "backstop")
# Looked up once: attributes of an enum are slow before Python 3.12.
COMPLETENESS: Final = Completeness.INFERRED
AUTO_DELEVERAGING: Final = "Auto-Deleveraging"
POSITIONS: Final = {"Long": Side.LONG, "Short": Side.SHORT}  # last word of "Liquidated Cross Long"
_EXACT: Final = Context(prec=80)
_FIELDS: Final = ("sz", "px")
_FILLS: Final = ("userFills", "user", "userEvents")
_NO_ROWS: Final = ("subscriptionResponse", "pong", "error", "activeAssetCtx", "allDexsAssetCtxs")


class _Marker(msgspec.Struct, gc=False):
    liquidatedUser: str
    method: str


class _Row(msgspec.Struct, gc=False):
    """A trade (`users`) or a fill (`dir`)."""

    coin: str
    side: str
    px: str
    sz: str
    time: int
    tid: int | None = None
    users: tuple[str, str] | None = None
    dir: str = ""
    crossed: bool | None = None
    liquidation: _Marker | None = None


class _Fills(msgspec.Struct, gc=False):
    """Of `userFills` and `user`; the latter has other events, too, and does not name the user."""

    fills: list[_Row] = []
    user: str = ""


class _Block(msgspec.Struct):
    """Of node_fills_by_block."""

    events: list[tuple[str, _Row]]


class _Frame(msgspec.Struct, gc=False):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()
    events: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, frozen=True, gc=False):
    """What one trade or fill adds to a liquidation."""

    coin: str
    user: str
    side: Side
    row: _Row


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_TRADES: Final = msgspec.json.Decoder(list[_Row])
_FILL_LISTS: Final = msgspec.json.Decoder(_Fills)
_BLOCKS: Final = msgspec.json.Decoder(_Block)
_ROWS: Final = msgspec.json.Decoder(_Row)


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One frame of `trades`, `userFills` or `user`, a line of node_fills_by_block, or fills or trades without a frame
    (one or a list) -> 0..n events; see `Decoder`.

    price: average of the fills; quantity: their sum."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        rows = _owned_rows(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame cannot be read: {exc}") from exc
    parts, refused = _parts(rows)
    if not parts and refused is None:
        return []

    def group_event(group: list[_Part]) -> list[Liquidation]:
        return [_event(group, received_time_us, instruments)]

    try:
        events = decode_rows(_groups(parts), group_event)
    except FrameRefused as exc:
        raise exc from refused
    if refused is not None:
        refused.events = tuple(events)
        raise refused
    return events


def _owned_rows(frame: bytes) -> Sequence[tuple[str, _Row]]:
    """The trades and fills of a frame, each with its user ("": not told); none for other channels."""
    if frame.lstrip()[:1] == b"[":
        if b'"fundingRate"' in frame or b'"universe"' in frame:
            return []  # market data of REST
        return [("", row) for row in _TRADES.decode(frame)]
    message = _FRAMES.decode(frame)
    if message.channel == "trades":
        return [("", row) for row in _TRADES.decode(message.data)]
    if message.channel in _FILLS:
        fills = _FILL_LISTS.decode(message.data)
        return [(fills.user, row) for row in fills.fills]
    if message.channel:
        return []
    if bytes(message.events):
        return _BLOCKS.decode(frame).events
    return [("", _ROWS.decode(frame))]


def _parts(rows: Iterable[tuple[str, _Row]]) -> tuple[list[_Part], FrameRefused | None]:
    """What the rows add to liquidations, each trade once; the first row's error that could not be understood."""
    parts: list[_Part] = []
    seen: set[int] = set()
    refused = None
    for user, row in rows:
        if row.users is None and row.liquidation is None:
            continue
        try:
            part = None if is_spot(row.coin) else _part(user.lower(), row)
        except FrameRefused as exc:
            refused = refused or exc
            continue
        if part is None or row.tid in seen:
            continue
        if row.tid is not None:
            seen.add(row.tid)
        parts.append(part)
    return parts, refused


def _part(user: str, row: _Row) -> _Part | None:
    if row.side not in SIDES:
        raise refusal(NAME, "side", row.side, "A or B")
    if row.liquidation is not None:
        return _of_fill(user, row, row.liquidation)
    buyer, seller = (each.lower() for each in row.users or ("", ""))
    if (buyer in LIQUIDATORS) is (seller in LIQUIDATORS):
        return None
    if buyer in LIQUIDATORS:
        return _Part(row.coin, seller, Side.LONG, row)
    return _Part(row.coin, buyer, Side.SHORT, row)


def _of_fill(user: str, row: _Row, marker: _Marker) -> _Part | None:
    liquidated = marker.liquidatedUser.lower()
    if row.dir == AUTO_DELEVERAGING or liquidated in LIQUIDATORS:
        return None
    if marker.method not in METHODS:
        raise refusal(NAME, "liquidation.method", marker.method, " or ".join(METHODS))
    named = None
    if row.dir.startswith("Liquidated"):
        named = POSITIONS.get(row.dir.rpartition(" ")[2])
        if named is None:
            raise refusal(NAME, "dir", row.dir, "Liquidated Cross or Isolated, Long or Short")
    if user or (named is None and row.crossed is not None):
        own = user == liquidated if user else bool(row.crossed)
        side = SIDES[row.side] if own else OTHER_SIDE[SIDES[row.side]]
        if named not in (None, side) or (own and row.dir.startswith("Open")):
            raise refusal(NAME, "dir", row.dir, f"one that fits a {side} of {liquidated[:42]}, by side {row.side}")
    elif named is not None:
        side = named
    else:
        raise refusal(NAME, "crossed", row.crossed, "true or false where neither user nor dir tell whose fill it is")
    return _Part(row.coin, liquidated, side, row)


def _groups(parts: Iterable[_Part]) -> Iterable[list[_Part]]:
    """Parts of one liquidated user, coin and block."""
    groups: dict[tuple[str, int, str], list[_Part]] = {}
    for part in parts:
        groups.setdefault((part.coin, part.row.time, part.user), []).append(part)
    return groups.values()


def _event(group: Sequence[_Part], received_time_us: int, instruments: Instruments) -> Liquidation:
    first = group[0]
    if len({part.side for part in group}) > 1:
        raise refusal(NAME, "side", first.user[:42], "one side of a user, coin and block")
    instrument = instruments[first.coin]
    amounts = _amounts(instrument, [part.row for part in group])
    return Liquidation(
        event_id=f"{NAME}:{first.coin}:{first.row.time}:{first.user}",
        exchange=instrument.exchange,
        asset=instrument.asset,
        instrument=first.coin,
        market=instrument.market,
        side=first.side,
        price=amounts.price,
        quantity=amounts.quantity,
        notional_usd=amounts.notional_usd,
        price_kind=PriceKind.FILL if len({part.row.px for part in group}) == 1 else PriceKind.AVERAGE,
        completeness=COMPLETENESS,
        event_time_ms=time_ms(first.row.time, NAME, "time"),
        received_time_us=received_time_us,
    )


def _amounts(instrument: Instrument, rows: Sequence[_Row]) -> Amounts:
    if len(rows) == 1:
        return linear_by_unit(rows[0].sz, rows[0].px, instrument.contract_size, NAME, _FIELDS)
    units, usd = Decimal(0), Decimal(0)
    for row in rows:
        positive(row.sz, NAME, _FIELDS[0])
        positive(row.px, NAME, _FIELDS[1])
        units += Decimal(row.sz)
        usd += _EXACT.multiply(Decimal(row.sz), Decimal(row.px))
    coins = _EXACT.multiply(units, instrument.contract_size)
    return Amounts(float(_EXACT.divide(usd, coins)), float(coins), notional(usd, NAME))
