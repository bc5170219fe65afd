"""`python -m benchmarks NAME`: progress on stderr, one JSON object as the last line on stdout."""

import importlib
import json
import pkgutil
import sys

import benchmarks
from runtime.logs import configure
from runtime.settings import LogSettings
from schemas.errors import LiqcascadeError


def main(arguments: list[str]) -> int:
    """Run one benchmark; returns the exit code."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_")
    if len(arguments) != 1 or arguments[0] not in names:
        print(f"say which benchmark: make bench NAME=… with one of {', '.join(names)}", file=sys.stderr)
        return 2
    configure(LogSettings(level="warning", format="console"), stage="benchmark")
    try:
        result = importlib.import_module(f"benchmarks.{arguments[0]}").run()
    except LiqcascadeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
