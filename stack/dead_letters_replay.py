"""Bringing refused records back to the topic that they came from.

A record is replayed from the log and not from its letter: there it lies with its key and headers, whole. The replayed
one carries `liqcascade.replayed_from`, the place of the first one, and lands in the same partition behind it. So the
log itself remembers what was replayed, and no second run, not even one after a crash, replays it again."""

from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from confluent_kafka import KafkaException, Producer

from runtime.kafka import producer_config, topic_names
from runtime.log_reader import LogRecord
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, SettingsError
from stack.dead_letters import PRODUCERS, Letter, Place
from stack.log_range import Span, spans, to_end

REPLAYED_HEADER: Final = "liqcascade.replayed_from"
LETTERS_MAX: Final = 10_000  # at once: with records of 1 kB each 10 MB in memory
SEARCHED_MAX: Final = 20_000_000  # records behind the letters' own, at 150,000 a second: two minutes
ACKNOWLEDGE_S_MAX: Final = 30.0
AGAIN: Final = "run it again, it leaves out those that are there"


class Outcome(StrEnum):
    """What `replay` made of a letter."""

    REPLAYED = "replayed"
    ALREADY = "replayed before"
    FRAME = "a frame of an exchange: `liqcascade decode` reads it; no topic has held it"
    GONE = "its topic no longer holds the record, nor what would say whether it was replayed"


def replay(kafka: KafkaSettings, letters: Sequence[Letter]) -> dict[str, Outcome]:
    """Append the refused records behind their topics' ends once more; by id, what became of each letter.

    Letters of several sinks about one record bring it back once. Two at the same time could do it twice.
    Raises BrokerUnavailable: some may be back; the same call again brings those that are not. SettingsError when
    there are more than LETTERS_MAX, or too much lies behind them to be searched."""
    if len(letters) > LETTERS_MAX:
        raise SettingsError(
            f"{len(letters)} letters are more than {LETTERS_MAX} at once; choose some by --from and --to"
        )
    names = topic_names(kafka)
    wanted: dict[tuple[str, int], dict[Place, list[str]]] = defaultdict(lambda: defaultdict(list))
    outcomes: dict[str, Outcome] = {}
    for letter in letters:
        if letter.place is None or names.topic(letter.source) is None:
            outcomes[letter.id] = Outcome.FRAME if letter.by == PRODUCERS else Outcome.GONE
        else:
            wanted[letter.place[:2]][letter.place].append(letter.id)
    held = {(span.topic, span.partition): span for span in spans(kafka, sorted({topic for topic, _ in wanted}))}
    there_of = {at: [place for place in places if _holds(held.get(at), place)] for at, places in wanted.items()}
    _refuse_long_search(sum(held[at].end - min(there)[2] for at, there in there_of.items() if there))
    for at, places in wanted.items():
        there = there_of[at]
        originals, done = _search(kafka, at, there)
        again = [place for place in there if place in originals and place not in done]
        _append(kafka, {place: originals[place] for place in again})
        for place, ids in places.items():
            came = Outcome.REPLAYED if place in again else Outcome.ALREADY if place in done else Outcome.GONE
            outcomes |= dict.fromkeys(ids, came)
    return outcomes


def _holds(span: Span | None, place: Place) -> bool:
    return span is not None and span.start <= place.offset < span.end


def _refuse_long_search(behind: int) -> None:
    if behind > SEARCHED_MAX:
        raise SettingsError(
            f"{behind:,} records lie behind the letters' own and would be searched for what was replayed before,"
            f" at most {SEARCHED_MAX:,} can be; choose younger letters by --from, or one topic"
        )


def _search(
    kafka: KafkaSettings, at: tuple[str, int], places: Sequence[Place]
) -> tuple[dict[Place, LogRecord], set[Place]]:
    """The records at these places of one partition, and those places that were replayed."""
    originals: dict[Place, LogRecord] = {}
    done: set[Place] = set()
    if not places:
        return originals, done
    by_offset, by_text = {place.offset: place for place in places}, {str(place): place for place in places}
    for record in to_end(kafka, {at: min(by_offset)}):
        if record.offset in by_offset:
            originals[by_offset[record.offset]] = record
        for name, value in record.headers:
            if name == REPLAYED_HEADER and (text := value.decode(errors="replace")) in by_text:
                done.add(by_text[text])
    return originals, done


def _append(kafka: KafkaSettings, records: dict[Place, LogRecord]) -> None:
    if not records:
        return
    producer, receipts = Producer(producer_config(kafka)), Receipts()
    doing = f"replaying at {kafka.bootstrap_servers}"
    try:
        for place, record in records.items():
            kept = [header for header in record.headers if header[0] != REPLAYED_HEADER]
            producer.produce(
                place.topic,
                partition=place.partition,
                key=record.key,
                value=record.value,
                headers=[*kept, (REPLAYED_HEADER, str(place).encode())],
                on_delivery=receipts.answer,
            )
            receipts.sent()
            producer.poll(0)
        receipts.wait(producer, ACKNOWLEDGE_S_MAX, doing=doing)
    except BrokerUnavailable as exc:
        raise BrokerUnavailable(f"{exc}; {AGAIN}") from exc
    except (BufferError, KafkaException) as exc:
        raise BrokerUnavailable(f"{doing}: {exc}; {AGAIN}") from exc
