"""Limits that a test holds: sizes of files and functions, docstrings, and words that do not belong here."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "runtime", "producers", "processors", "sinks", "stack")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def functions(tree: ast.AST, *, within: bool = False) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function, and whether it stands within another one."""
    for node in ast.iter_child_nodes(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, within
        yield from functions(node, within=within or is_function)


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_of_a_size_to_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES_MAX
    tree = ast.parse(text)
    for node, within in functions(tree):
        assert (node.end_lineno or 0) - node.lineno + 1 <= FUNCTION_LINES_MAX, node.name
        if not within and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
    assert ast.get_docstring(tree) or path.name == "__init__.py", "a module says what it is"


def test_no_dead_code_or_promises() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "NotImplemented" + "Error")
    for path in sources():
        for word in words:
            assert word not in path.read_text(encoding="utf-8"), f"{path}: {word}"


def test_the_lock_has_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert "://" not in lock


def test_generic_code_names_no_exchange() -> None:
    names = ("binance", "bybit", "okx", "hyperliquid", "bitget")
    own = {"exchanges", "simulator", "demo", "avsc"}
    generic = [path for path in sources() if not own.intersection(path.relative_to(ROOT).parts)]
    for path in generic:
        if path.name == "words.py" or "stack/cli" in str(path):
            continue
        text = path.read_text(encoding="utf-8").lower()
        for name in names:
            assert name not in text, f"{path} names {name}"


def test_nothing_of_this_machine_is_tracked() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        assert not name.startswith(("var/", ".venv/")), name
