"""`python -m tests.simulation.fuzz_frames --count 1000000 --seed 7`: damaged frames of every exchange, from a seed.

Each sample frame of tests/data (and each captured one, where they are there) is mutated: bytes, fields, values,
structure, whole frames spliced. A decoder must give events, nothing, or a refusal; an event must be fit for its topic;
and where every field that tells sides is as it was, no side may differ from those of the whole frame."""

import argparse
import copy
import json
import math
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from producers.decode import Decoding
from producers.exchange import KINDS, LIQUIDATION
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, shipped
from schemas.codec import Codec
from schemas.errors import FrameRefused
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.topics import FUNDING, LIQUIDATIONS, OPEN_INTEREST, Topic
from schemas.words import Side

DATA: Final = Path(__file__).parent.parent / "data"
REAL: Final = Path(os.environ.get("LIQCASCADE_REAL_DATA", Path(__file__).parent.parent.parent.parent / "shared/data"))
TOPICS: Final[dict[Any, Topic]] = {Liquidation: LIQUIDATIONS, OpenInterest: OPEN_INTEREST, Funding: FUNDING}
RECEIVED_TIME_US: Final = 1_791_400_000_000_000
AT_MS: Final = 1_500_000_000_000  # every format of old is tried, too
ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**200, 1e308, -0.0, 0.1, "", "0", "-1", "1e400", "NaN", "Infinity",
    "1_000", "٣", "BUY", "sell", "long", "牛来USDT", "\x00", "\u202e", " ", "a" * 70, [], {}, [[]], {"": None},
)  # fmt: skip
# Fields that tell the side of a liquidation, by themselves or by their sign.
SIDE_FIELDS: Final = {
    "binance": {"S"},
    "bybit": {"S", "side"},
    "okx": {"posSide", "side"},
    "hyperliquid": {"side", "dir", "crossed", "user", "users", "liquidation", "liquidatedUser", "startPosition"},
    "gate": {"size", "order_size", "left"},
    "bitget": {"side", "posSide", "holdSide"},
}
ROUNDS_MAX: Final = 3
FRESH_EVERY: Final = 10_000
BROKEN_MAX: Final = 5
# One frame in so many is also decoded as open interest and funding, and as a format of old: those cost more than the
# liquidations, which are what must not be wrong.
OTHER_KINDS_EVERY: Final = 4


@dataclass
class Outcome:
    """Of one exchange: how many frames gave what, and the frames that broke a promise, with the reason."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, bytes]] = field(default_factory=list)


def samples(name: str) -> list[bytes]:
    """Frames and bodies of tests/data and the captured ones."""
    found = []
    for path in sorted((DATA / name).glob("*.jsonl")):
        for case in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            bodies = [case[key] for key in ("frame", "body") if key in case]
            found += [json.dumps(body, ensure_ascii=False).encode() for body in bodies]
            found += [case["text"].encode()] if "text" in case else []
    for path in sorted((REAL / "frames").glob(f"{name}_*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found.append(json.dumps(json.loads(line)["payload"], ensure_ascii=False).encode())
    return found


class Fuzzer:
    """One exchange, from a seed."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self._random = random.Random(f"{name}:{seed}")
        self._adapter = ADAPTERS[name]
        self._samples = samples(name)
        self._parsed = [frame for frame in map(_parsed, self._samples) if isinstance(frame, dict | list)]
        self._side_fields = frozenset(SIDE_FIELDS[name])
        self._codec = Codec()
        self._decoding = self._fresh()

    def run(self, count: int) -> Outcome:
        """Decode `count` damaged frames; stops at the first few that break a promise."""
        outcome = Outcome()
        for number in range(count):
            if number % FRESH_EVERY == 0:
                self._decoding = self._fresh()  # what an odd table of marks may do to later frames is bounded, too
            if self._random.random() < 0.5:
                self._any_damage(outcome, number)
            else:
                self._damage_beside_the_side(outcome)
            if len(outcome.broken) >= BROKEN_MAX:
                break
        return outcome

    def _fresh(self) -> Decoding:
        adapter = self._adapter
        return Decoding(adapter, Instruments(adapter.exchange, shipped(adapter.exchange), adapter.instrument_rule))

    def _any_damage(self, outcome: Outcome, number: int) -> None:
        """Bytes or values anywhere: events that are fit for the topic, nothing, or a refusal."""
        if self._random.random() < 0.5:
            frame = self._bytes(self._random.choice(self._samples))
        else:
            tree = json.loads(json.dumps(self._random.choice(self._parsed)))
            for _ in range(self._random.randint(1, ROUNDS_MAX)):
                self._value(tree)
            frame = json.dumps(tree, ensure_ascii=self._random.random() < 0.5).encode(errors="surrogatepass")
        kinds = KINDS if number % OTHER_KINDS_EVERY == 0 else (LIQUIDATION,)
        for kind in kinds:
            self._decoded(outcome, frame, kind, at_ms=AT_MS if number % (2 * OTHER_KINDS_EVERY) == 0 else None)

    def _damage_beside_the_side(self, outcome: Outcome) -> None:
        """Values that tell no side: whatever still comes out has the sides that the whole frame has."""
        whole = self._random.choice(self._parsed)
        expected = self._decoded(outcome, json.dumps(whole).encode(), LIQUIDATION, at_ms=None)
        if not expected:
            return
        tree = json.loads(json.dumps(whole))
        self._value(tree, spare=self._side_fields)
        sides: dict[str, set[Side]] = {}
        for event in expected:
            sides.setdefault(event.instrument, set()).add(event.side)
        any_side = set().union(*sides.values())
        frame = json.dumps(tree).encode()
        for event in self._decoded(outcome, frame, LIQUIDATION, at_ms=None):
            if event.side not in sides.get(event.instrument, any_side):
                outcome.broken.append((f"{event} was {sides}", frame))

    def _decoded(self, outcome: Outcome, frame: bytes, kind: str, *, at_ms: int | None) -> list[Any]:
        events: Any
        try:
            if kind == LIQUIDATION and self._adapter.frame_evidence is not None:
                self._adapter.frame_evidence(frame)
            events = self._decoding.any_shape(frame, kind=kind, received_time_us=RECEIVED_TIME_US, at_ms=at_ms)
            outcome.counts["events" if events else "nothing"] += 1
        except FrameRefused as exc:
            events = exc.events
            outcome.counts["refused"] += 1
            str(exc).encode()
        except Exception as exc:  # the promise that this tool holds the decoders to
            outcome.broken.append((repr(exc), frame))
            return []
        for event in events:
            if reason := self._unfit(event):
                outcome.broken.append((reason, frame))
        return list(events)

    def _unfit(self, event: Any) -> str | None:
        """Why an event must not reach its topic."""
        try:
            if self._codec.decode(type(event), self._codec.encode(TOPICS[type(event)], event)) != event:
                return f"{event} does not survive the wire"
        except Exception as exc:
            return f"{event} cannot be encoded: {exc!r}"
        numbers = [value for value in msgspec.structs.astuple(event) if isinstance(value, float)]
        if not all(map(math.isfinite, numbers)):
            return f"{event} has a number that is none"
        if isinstance(event, Liquidation) and not (
            event.side in (Side.LONG, Side.SHORT) and event.price > 0 < event.quantity and event.notional_usd >= 0
        ):
            return f"{event} has no side or no size"
        return None

    def _bytes(self, frame: bytes) -> bytes:
        for _ in range(self._random.randint(1, ROUNDS_MAX)):
            start = self._random.randint(0, len(frame))
            end = min(len(frame), start + self._random.randint(0, 12))
            other = self._random.choice(self._samples)
            piece = self._random.choice(
                (b"", self._random.randbytes(3), frame[start:end] * 2, other[start : start + 40], b"9", b"-", b'"')
            )
            frame = frame[:start] + piece + frame[end:]
        return frame

    def _value(self, tree: Any, spare: frozenset[str] = frozenset()) -> None:
        """Change one value, key or element somewhere in a tree; with `spare` a value only, none below those."""
        place = tree
        while isinstance(place, dict | list) and place:
            key = self._random.choice([*place] if isinstance(place, dict) else range(len(place)))
            if key in spare:
                return
            below = place[key]
            if not (isinstance(below, dict | list) and below) or (not spare and self._random.random() < 0.2):
                self._change(place, key, spare)
                return
            place = below

    def _change(self, place: Any, key: Any, spare: frozenset[str]) -> None:
        what = self._random.random()
        if spare or what < 0.6:
            place[key] = self._other_value(place[key])
        elif what < 0.75:
            del place[key]
        elif what < 0.9 and isinstance(place, list):
            place.insert(0, place[key])
        elif isinstance(place, dict):
            place[self._random.choice(("x", str(key).upper(), ""))] = place.pop(key)

    def _other_value(self, value: Any) -> Any:
        if isinstance(value, str) and value and self._random.random() < 0.5:
            at = self._random.randrange(len(value))
            return value[:at] + self._random.choice("0123456789.-eE") + value[at + self._random.randint(0, 1) :]
        if isinstance(value, int) and self._random.random() < 0.5:
            return self._random.choice((-value, value * 1_000, value // 1_000, value + 1))
        return copy.deepcopy(self._random.choice(ODD))  # its lists and objects are damaged in their turn


def _parsed(frame: bytes) -> Any:
    try:
        return json.loads(frame)
    except ValueError:
        return None


def main(arguments: list[str]) -> int:
    """A line an exchange, the frames that broke a promise, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(prog="fuzz_frames")
    parser.add_argument("--count", type=int, default=1_000_000, help="frames an exchange")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--exchange", action="append", choices=list(ADAPTERS))
    options = parser.parse_args(arguments)
    result: dict[str, dict[str, int]] = {}
    for name in options.exchange or ADAPTERS:
        start = time.perf_counter()
        outcome = Fuzzer(name, options.seed).run(options.count)
        result[name] = dict(outcome.counts) | {"broken": len(outcome.broken)}
        print(f"{name}: {result[name]} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        for reason, frame in outcome.broken:
            print(f"  {reason[:300]}\n  {frame!r}", file=sys.stderr)
    print(json.dumps({"seed": options.seed, "count": options.count, "exchanges": result}))
    return 1 if any(each["broken"] for each in result.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
