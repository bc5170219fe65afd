"""Every command and where it stands; modules are imported when their command runs, so that --help is quick."""

import typer

from stack.cli import (
    audit,
    dead_letters,
    decode,
    demo,
    detect,
    doctor,
    embedded,
    events,
    exchanges,
    explain,
    import_history,
    recordings,
    replay,
    settings,
    stages,
    tail,
    topics,
)


def register(app: typer.Typer) -> None:
    """Put all commands into the application."""
    app.command(epilog="Example: liqcascade demo --seconds 60")(demo.demo)
    app.add_typer(embedded.app, name="stack")
    app.command(epilog="Example: liqcascade produce --exchange binance --exchange bybit")(stages.produce)
    app.command(epilog="Example: LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS=broker:9092 liqcascade process")(stages.process)
    app.command(epilog="Example: LIQCASCADE_REDIS__URL=redis://cache:6379/0 liqcascade sink")(stages.sink)
    app.command(epilog="Example: liqcascade tail alerts.cascades --last 20 --json | jq .level")(tail.tail)
    app.command(epilog="Example: liqcascade decode --exchange bybit --kind liquidation < frames.jsonl")(decode.decode)
    app.command(epilog="Example: liqcascade record --to var/frames --exchange bybit")(recordings.record)
    app.command(epilog="Example: liqcascade replay-frames var/frames --speed max | jq .side")(recordings.replay_frames)
    app.command(epilog="Example: liqcascade exchanges --json")(exchanges.exchanges)
    app.command(epilog="Example: liqcascade detect --events day.jsonl --alerts alerts.jsonl --windows windows.jsonl")(
        detect.detect
    )
    app.command("import", epilog="Example: liqcascade import --events day.jsonl --prefix history.")(
        import_history.import_history
    )
    app.command(epilog="Example: liqcascade replay --from 2026-11-23T12:00 --alerts alerts.jsonl --verify")(
        replay.replay
    )
    app.command(epilog="Example: liqcascade explain BTC:1760130903120:0")(explain.explain)
    app.command(epilog="Example: liqcascade events BTC --last 1000 --json")(events.events)
    app.command(epilog="Example: liqcascade topics --create")(topics.topics)
    app.command(epilog="Example: liqcascade doctor --json")(doctor.doctor)
    app.command(epilog="Example: liqcascade audit --from 2026-11-23T12:00 --to 2026-11-23T13:00")(audit.audit)
    app.add_typer(dead_letters.app, name="dead-letters")
    app.add_typer(settings.app, name="settings")
