"""Settings: those of this machine, and those of the detector that are in force by their topic."""

import threading
import tomllib
from copy import deepcopy
from typing import Annotated, Any

import typer

from schemas.errors import SettingsError
from stack.cli.console import print_json

app = typer.Typer(help="Settings: of this machine, and of the running detector by asset.", no_args_is_help=True)
ALL = "*"


@app.command(epilog="Example: liqcascade settings show > liqcascade.toml")
def show(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Print every setting with its value, defaults included, as TOML; secrets are masked."""
    from runtime.settings import load
    from stack.settings import Settings, lines

    settings = load(Settings)
    if as_json:
        print_json(settings.model_dump(mode="json"))
    else:
        typer.echo("\n".join(lines(settings)))


@app.command(epilog="Example: liqcascade settings in-force BTC")
def in_force(
    asset: Annotated[str, typer.Argument(help="An asset, or * for what holds where an asset does not differ.")] = ALL,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Print the detector's settings that settings.assets puts in force for an asset."""
    from processors.in_force import tree_of
    from stack.settings import tree_lines

    settings = _in_force()
    tree = tree_of(settings if asset == ALL else settings.of(asset))
    if as_json:
        print_json(tree)
    else:
        typer.echo("\n".join(tree_lines(tree)))


@app.command("set", epilog="Example: liqcascade settings set BTC levels.watch_events_per_s=5 mute=false")
def set_(
    asset: Annotated[str, typer.Argument(help="An asset, or * for all that do not differ.")],
    assignments: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Keys as in `settings in-force`.")],
) -> None:
    """Change settings of the running detector: every worker puts them in force within a second or two.

    They outlive restarts until a worker starts with a changed file."""
    settings = _in_force()
    tree = {} if asset == ALL else deepcopy(settings.assets.get(asset, {}))
    for assignment in assignments:
        key, is_one, text = assignment.partition("=")
        if not is_one or not key.strip():
            raise SettingsError(f"{assignment!r} must look like levels.watch_events_per_s=5")
        _put(tree, key.strip().split("."), _value(text.strip()))
    _publish(settings, asset, _whole(settings, tree) if asset == ALL else tree)


@app.command(epilog="Example: liqcascade settings unset BTC levels.watch_events_per_s")
def unset(
    asset: Annotated[str, typer.Argument(help="An asset.")],
    keys: Annotated[list[str] | None, typer.Argument(help="Without any: all that the asset differs in.")] = None,
) -> None:
    """Let an asset follow the settings of all again, in some keys or in all."""
    if asset == ALL:
        raise SettingsError("* has nothing to fall back on; set it to another value, or start a worker with its file")
    settings = _in_force()
    tree = deepcopy(settings.assets.get(asset, {})) if keys else {}
    for key in keys or ():
        _drop(tree, key.split("."), key)
    _publish(settings, asset, tree)


def _in_force() -> Any:
    """The tree by the topic; before any worker has published one, that of this machine's file."""
    from processors.host.settings_topic import read_settings
    from processors.settings import ProcessorSettings
    from runtime.kafka import create_topics
    from runtime.settings import load
    from schemas.topics import SETTINGS

    own = load(ProcessorSettings)
    create_topics(own.kafka, [SETTINGS])
    return read_settings(own.kafka, own.detector, ending=threading.Event()).settings


def _whole(settings: Any, over: dict[str, Any]) -> dict[str, Any]:
    """The whole tree with some keys changed; windows are named by their flag, as for an asset."""
    from pydantic import ValidationError

    from processors.overrides import put_over
    from runtime.settings import sentences

    tree: dict[str, Any] = settings.model_dump()
    try:
        put_over(tree, over, ())
    except ValidationError as exc:
        raise SettingsError("settings: " + sentences(exc, below="detector")) from exc
    return tree


def _publish(settings: Any, asset: str, tree: dict[str, Any]) -> None:
    """Refuse what every worker would refuse, then append the record."""
    from processors.host.settings_topic import publish_settings
    from processors.in_force import changed, encode
    from processors.settings import ProcessorSettings
    from runtime.settings import load

    changed(settings, asset, encode("command", tree))
    publish_settings(load(ProcessorSettings).kafka, asset, "command", tree)
    typer.echo(f"published: settings of {asset}; they take effect where the detector's journal says")


def _value(text: str) -> Any:
    """A value as TOML has it; what is none is taken as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *above, last = path
    for name in above:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            raise SettingsError(f"{'.'.join(path)}: {name} is no table of settings")
        tree = below
    tree[last] = value


def _drop(tree: dict[str, Any], path: list[str], key: str) -> None:
    name, *below = path
    if name not in tree or (below and not isinstance(tree[name], dict)):
        raise SettingsError(f"{key} is not among the settings in which the asset differs")
    if below:
        _drop(tree[name], below, key)
    if not below or not tree[name]:
        del tree[name]
