"""Frames as the exchanges sent them: to a folder, and back from it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import SettingsError
from stack.cli.console import complain

Exchanges = Annotated[list[str] | None, typer.Option(help="Only this exchange; repeat for several.")]


def record(
    to: Annotated[Path, typer.Option(help="Folder for the recording; files of earlier ones stay.")],
    exchange: Exchanges = None,
) -> None:
    """Record every frame of the exchanges as received, compressed, without Kafka, until SIGINT or SIGTERM.

    `producers.record_folder` does the same beside publishing."""
    from producers.app import record as run
    from producers.settings import ProducerSettings
    from runtime.settings import load

    chosen: dict[str, Any] = {"record_folder": to} | ({"exchanges": exchange} if exchange else {})
    run(load(ProducerSettings, producers=chosen))


def replay_frames(
    recording: Annotated[Path, typer.Argument(help="A folder of recordings, or one file.")],
    exchange: Exchanges = None,
    speed: Annotated[str, typer.Option(help="Times the pace at which it was received, or max.")] = "max",
    to_topics: Annotated[bool, typer.Option(help="Publish the events with their receive times, too.")] = False,
    prefix: Annotated[str, typer.Option(help="Prefix of those topics, so that they never mix with live ones.")] = (
        "replay."
    ),
) -> None:
    """Decode a recording with the decoders and instruments of its time and print the events as JSON lines.

    A frame that is refused gives a line {"error": …, "exchange", "received_time_us"}; then, or when a part of the
    recording cannot be read, the exit code is 1 at the end."""
    from contextlib import nullcontext

    from producers.recording import Recording
    from producers.replay_frames import Replay, to_lines
    from producers.replay_topics import TopicWriter
    from producers.settings import ProducerSettings
    from runtime.settings import load

    if to_topics and not prefix:
        raise SettingsError("--prefix: say one, so that replayed events never mix with live ones")
    pace_of = pace(speed)
    read = Recording(recording)
    replay = Replay(read, exchanges=exchange or (), speed=pace_of)
    with TopicWriter(load(ProducerSettings).kafka, prefix) if to_topics else nullcontext() as topics:
        for replayed in replay:
            for line in to_lines(replayed):
                sys.stdout.write(line + "\n")
            if topics is not None:
                topics.write(replayed.events)
            if replay.paced:
                sys.stdout.flush()
    sys.stdout.flush()
    for sentence in read.damaged:
        complain(sentence)
    raise typer.Exit(1 if replay.refused or read.damaged else 0)


def pace(text: str) -> float | None:
    """`--speed`: None for max. Raises SettingsError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise SettingsError(f"--speed {text}: say a number above 0, or max")
    return speed
