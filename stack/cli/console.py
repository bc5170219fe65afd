"""What all commands share for speaking to people and programs: results on stdout, everything else on stderr."""

import sys
import unicodedata
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape

LEVEL_STYLES: Final = {
    "NONE": "dim",
    "WATCH": "cyan",
    "ALERT": "yellow",
    "CRITICAL": "bold red",
    "EXTREME": "bold white on red",
}


def complain(sentence: str) -> None:
    """One sentence about what is wrong, on stderr."""
    text = escape("\n".join(map(printable, sentence.splitlines())))
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {text}")


def printable(text: str) -> str:
    """Text from outside made safe for a terminal: control and format characters stand as escapes."""
    return "".join(c if unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in text)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
