"""A folder of captured frames: `<exchange>_liquidation.jsonl`, one JSON object a line, the frame under `payload`."""

import json
from collections.abc import Iterable
from pathlib import Path

from schemas.errors import SettingsError
from stack.simulator.exchange import Push, SimulatedExchange


def load(folder: Path, exchanges: Iterable[SimulatedExchange]) -> dict[str, list[Push]]:
    """Every whole frame of each exchange's file in its order; fragments are left out, a missing file has none.

    Symbols that an exchange does not list yet are listed. Raises SettingsError when the folder has no such file, or a
    line of one is no frame."""
    files = {exchange: folder / f"{exchange.name}_liquidation.jsonl" for exchange in exchanges}
    if not any(path.is_file() for path in files.values()):
        names = ", ".join(path.name for path in files.values())
        raise SettingsError(f"frames: {folder} has none of {names}; name the folder that holds them")
    return {exchange.name: _read(path, exchange) if path.is_file() else [] for exchange, path in files.items()}


def _read(path: Path, exchange: SimulatedExchange) -> list[Push]:
    pushes: list[Push] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            push = exchange.captured(json.loads(line)["payload"])
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
            raise SettingsError(
                f"frames: {path}:{number} is no {exchange.name} frame under `payload`: {exc!r}"
            ) from exc
        if push is not None:
            pushes.append(push)
    return pushes
