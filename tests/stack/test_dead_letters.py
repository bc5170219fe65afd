"""Refused records on a real broker: found, shown safely, and brought back once."""

import json

import pytest
from confluent_kafka import Producer

from runtime.kafka import producer_config
from runtime.log_reader import LogRecord
from runtime.settings import KafkaSettings
from schemas.errors import LiqcascadeError, SettingsError
from schemas.topics import DEAD_LETTERS, LIQUIDATIONS
from sinks.connector import Position
from sinks.dead_letters import DeadLetters, Stage
from sinks.dead_letters import Letter as SinkLetter
from stack.dead_letters import find_letter, letter_of, read_letters
from stack.dead_letters_replay import REPLAYED_HEADER, Outcome, replay
from stack.log_range import between
from tests.sinks.records import CODEC, liquidation
from tests.sinks.topics import Log
from tests.stack.test_cli import run

POISON = b"\x00\x00\x00\x00\x63\x1b[31mnot Avro"


@pytest.fixture
def log(kafka: str, topic_prefix: str) -> Log:
    return Log(KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=2))


def refuse(log: Log, sink: str, records: list[LogRecord], reason: str = "not the wire format") -> None:
    """Letters as a task writes them."""
    letters = DeadLetters(log.settings, log.names.of(DEAD_LETTERS), connector=sink, task=0)
    for record in records:
        position: Position = (record.topic, record.partition)
        letters.send(
            SinkLetter(
                position=position,
                offset=record.offset,
                key=record.key,
                value=record.value,
                headers=record.headers,
                error=LiqcascadeError(reason),
                stage=Stage.VALUE_CONVERTER,
                class_name="schemas.codec.Codec",
            )
        )
    letters.flush()


def held(log: Log) -> list[LogRecord]:
    return list(between(log.settings, [log.names.of(LIQUIDATIONS)]))


def send(log: Log, value: bytes, key: str, headers: list[tuple[str, str | bytes | None]]) -> None:
    """One dead letter by hand."""
    producer = Producer(producer_config(log.settings))
    producer.produce(log.names.of(DEAD_LETTERS), key=key, value=value, headers=headers)
    assert producer.flush(60) == 0


def test_a_record_that_two_sinks_refused_comes_back_once_with_key_headers_and_bytes(log: Log) -> None:
    log.append([liquidation(1), POISON], LIQUIDATIONS, [("trace", b"\xff1")])
    poison = [record for record in held(log) if record.value == POISON]
    refuse(log, "timescale", poison)
    refuse(log, "redis", poison)
    letters = list(read_letters(log.settings))
    assert [letter.by for letter in letters] == ["timescale", "redis"]
    assert set(replay(log.settings, letters).values()) == {Outcome.REPLAYED}
    assert set(replay(log.settings, letters).values()) == {Outcome.ALREADY}
    first, again = [record for record in held(log) if record.value == POISON]
    assert (again.key, again.partition) == (first.key, first.partition)
    place = f"{first.topic}/{first.partition}/{first.offset}"
    assert again.headers == (*first.headers, (REPLAYED_HEADER, place.encode()))
    refuse(log, "timescale", [again])  # it was no good yet: a letter of its own, which can be replayed in turn
    newest = list(read_letters(log.settings))[-1]
    assert replay(log.settings, [newest]) == {newest.id: Outcome.REPLAYED}
    assert [record.headers.count((REPLAYED_HEADER, place.encode())) for record in held(log)].count(1) == 1
    assert len([record for record in held(log) if record.value == POISON]) == 3


def test_frames_and_records_that_are_gone_are_named_and_not_replayed(log: Log) -> None:
    send(log, b'{"e":"forceOrder"', log.names.of(LIQUIDATIONS), [("reason", "cut short"), ("error", "FrameRefused"),
                                                  ("exchange", "binance"), ("channel", "liquidation")])  # fmt: skip
    log.append([liquidation(1)])
    (record,) = held(log)
    refuse(log, "redis", [record._replace(offset=99), record._replace(topic="elsewhere")])
    letters = list(read_letters(log.settings))
    assert letters[0].by == "producers"
    outcomes = replay(log.settings, letters)
    assert [outcomes[letter.id] for letter in letters] == [Outcome.FRAME, Outcome.GONE, Outcome.GONE]
    assert len(held(log)) == 1


def test_the_detector_s_letters_name_their_record(log: Log) -> None:
    log.append([POISON], LIQUIDATIONS)
    (record,) = held(log)
    headers = [("reason", "bad"), ("partition", str(record.partition)), ("offset", str(record.offset))]
    send(log, POISON, record.topic, [*headers])
    (letter,) = read_letters(log.settings)
    assert (letter.by, letter.place) == ("detector", (record.topic, record.partition, record.offset))
    assert replay(log.settings, [letter]) == {letter.id: Outcome.REPLAYED}


def test_headers_that_are_nonsense_are_no_place() -> None:
    letter = letter_of(LogRecord("dead-letters", 0, 1, 2, b"\xff", None, (("__connect.errors.topic", b"x\x00"),)))
    assert (letter.place, letter.source, letter.by) == (None, "x\x00", "unknown")


def test_a_letter_that_is_not_there_is_said_so(log: Log) -> None:
    with pytest.raises(LiqcascadeError, match="there is no letter 0/5"):
        find_letter(log.settings, "0/5")
    with pytest.raises(SettingsError, match="no id of a dead letter"):
        find_letter(log.settings, "five")


def test_the_command_lists_shows_and_replays(log: Log) -> None:
    environment = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": log.settings.bootstrap_servers,
        "LIQCASCADE_KAFKA__TOPIC_PREFIX": log.settings.topic_prefix,
    }
    log.append([POISON, CODEC.encode(LIQUIDATIONS, liquidation(2))], LIQUIDATIONS)
    refuse(log, "timescale", [one for one in held(log) if one.value == POISON], "not \x1b[31mAvro")
    listed = run(
        "dead-letters", "list", "--sink", "timescale", "--topic", "market.liquidations", "--json", **environment
    )
    (row,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (row["by"], row["stage"], row["place"]["offset"]) == ("timescale", "VALUE_CONVERTER", 0)
    assert run("dead-letters", "list", "--reason", "other", "--json", **environment).stdout == ""
    shown = run("dead-letters", "show", row["id"], **environment)
    assert POISON[:4].hex(" ") in shown.stdout
    assert "\x1b[31m" not in shown.stdout + run("dead-letters", "list", **environment).stdout
    nothing = run("dead-letters", "replay", **environment)
    assert (nothing.returncode, "say which letters" in nothing.stderr) == (2, True)
    done = run("dead-letters", "replay", row["id"], **environment)
    assert (done.returncode, done.stdout) == (0, "letters: 1 replayed, 0 before, 0 could not be\n")
    again = run("dead-letters", "replay", "--all", "--json", **environment)
    assert json.loads(again.stdout)["before"] == 1
    assert len(held(log)) == 3
