"""`liqcascade dead-letters`: what was refused, why, and bringing it back after a fix."""

from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.errors import SettingsError
from stack.cli.console import print_json, printable
from stack.cli.replay import to_time_ms

if TYPE_CHECKING:
    from stack.dead_letters import Letter

app = typer.Typer(help="Frames and records that were refused: list, show, replay.", no_args_is_help=True)
REASON_SHOWN: Final = 120
BYTES_SHOWN: Final = 4_096

Sink = Annotated[str | None, typer.Option(help='Only of this connector; also "detector" and "producers".')]
Topic = Annotated[str | None, typer.Option(help="Only records of this topic.")]
Reason = Annotated[str | None, typer.Option(help="Only with this text in the reason.")]
From = Annotated[str | None, typer.Option("--from", help="Only refused from then on: ISO time (UTC) or ms.")]
To = Annotated[str | None, typer.Option("--to", help="Only refused before.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command("list", epilog="Example: liqcascade dead-letters list --sink timescale --from 2026-11-23T12:00")
def list_(
    sink: Sink = None, topic: Topic = None, reason: Reason = None, from_: From = None, to: To = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Name the newest dead letters with the reason of each."""
    newest: deque[Letter] = deque(maxlen=limit)
    count = 0
    for letter in _letters(sink, topic, reason, from_, to):
        newest.append(letter)
        count += 1
    table = Table("id", "refused", "by", "record", "reason", box=None, header_style="bold")
    for letter in sorted(newest, key=lambda one: one.append_time_ms):
        if as_json:
            print_json(_row(letter))
            continue
        place = str(letter.place or f"{letter.stage} frame")
        cells = (letter.id, _time(letter.append_time_ms), letter.by, place, letter.reason[:REASON_SHOWN])
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if not as_json:
        Console(soft_wrap=True).print(table)
    if count > limit:
        typer.echo(f"{count:,} letters fit; the newest {limit:,} are shown (--limit)", err=True)


@app.command(epilog="Example: liqcascade dead-letters show 3/17")
def show(letter: Annotated[str, typer.Argument(help="Id as in the list.")], as_json: AsJson = False) -> None:
    """Print one letter: headers, reason, and the bytes, as text where they are text."""
    from runtime.settings import StageSettings, load
    from stack.dead_letters import find_letter

    found = find_letter(load(StageSettings).kafka, letter)
    value = found.value or b""
    if as_json:
        print_json(_row(found) | {"headers": found.headers, "value_hex": value.hex()})
        return
    lines = {
        "id": found.id,
        "refused": f"{_time(found.append_time_ms)} by {found.by}",
        "record": str(found.place or found.source),
        "reason": found.reason,
    }
    for name, text in (lines | {f"header {name}": text for name, text in found.headers.items()}).items():
        typer.echo("\n  ".join(printable(line) for line in f"{name}: {text}".splitlines()))
    typer.echo(f"value: {len(value):,} bytes{'' if len(value) <= BYTES_SHOWN else f', the first {BYTES_SHOWN:,}'}")
    typer.echo(_shown(value[:BYTES_SHOWN]))


@app.command(epilog="Example: liqcascade dead-letters replay --sink timescale --from 2026-11-23T12:00")
def replay(
    letters: Annotated[list[str] | None, typer.Argument(help="Ids as in the list; or choose by the options.")] = None,
    sink: Sink = None, topic: Topic = None, reason: Reason = None, from_: From = None, to: To = None,
    all_: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Append refused records to their topics once more, after what refused them was mended.

    Every reader of the topic gets them again: those that have them know them by their ids. Each is replayed once,
    however often this is run. The last line counts; exit code 1 when some could not be replayed."""
    from runtime.settings import StageSettings, load
    from stack.dead_letters import find_letter
    from stack.dead_letters_replay import Outcome
    from stack.dead_letters_replay import replay as bring_back

    if not (letters or sink or topic or reason or from_ or to or all_):
        raise SettingsError("say which letters: ids, --sink, --topic, --reason, --from, --to, or --all")
    kafka = load(StageSettings).kafka
    chosen = [find_letter(kafka, one) for one in letters] if letters else [*_letters(sink, topic, reason, from_, to)]
    outcomes = bring_back(kafka, chosen)
    counts = Counter(outcomes.values())
    for letter_id, outcome in outcomes.items():
        if outcome in (Outcome.FRAME, Outcome.GONE) and not as_json:
            typer.echo(f"{letter_id}: not replayed: {outcome}", err=True)
    unable = counts[Outcome.FRAME] + counts[Outcome.GONE]
    numbers = {"replayed": counts[Outcome.REPLAYED], "before": counts[Outcome.ALREADY], "unable": unable}
    if as_json:
        print_json(numbers | {"letters": outcomes})
    else:
        typer.echo(f"letters: {numbers['replayed']} replayed, {numbers['before']} before, {unable} could not be")
    raise typer.Exit(1 if unable else 0)


def _letters(
    sink: str | None, topic: str | None, reason: str | None, from_: str | None, to: str | None
) -> Iterator["Letter"]:
    from runtime.kafka import topic_names
    from runtime.settings import StageSettings, load
    from stack.dead_letters import read_letters

    kafka = load(StageSettings).kafka
    from_ms = 0 if from_ is None else to_time_ms("--from", from_)
    names = {topic, topic_names(kafka).prefix + (topic or "")}
    for letter in read_letters(kafka, from_ms=from_ms, to_ms=None if to is None else to_time_ms("--to", to)):
        fits = (sink in (None, letter.by)) and (topic is None or letter.source in names)
        if fits and (reason is None or reason in letter.reason):
            yield letter


def _row(letter: "Letter") -> dict[str, Any]:
    row = {name: getattr(letter, name) for name in ("id", "append_time_ms", "by", "source", "stage", "reason")}
    return row | {"place": None if letter.place is None else letter.place._asdict()}


def _shown(value: bytes) -> str:
    """Text where it is text throughout, else lines of hexadecimal digits."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(char.isprintable() or char in "\t\r\n" for char in text):
        return "\n".join(map(printable, text.splitlines()))
    return "\n".join(value[at : at + 32].hex(" ") for at in range(0, len(value), 32))


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23]
