"""The command `liqcascade`."""

import errno
import sys

import typer

from schemas.errors import LiqcascadeError
from stack.cli.console import complain

EXIT_CODES = (
    "Exit codes: 0 all is well; 1 something was refused or found wrong; 2 wrong use or settings; "
    "3 a server cannot be reached; 4 the embedded stack cannot start; 130 interrupted."
)

app = typer.Typer(
    name="liqcascade",
    help="Liquidation-cascade detection for crypto derivatives on Kafka or Redpanda.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command; what goes wrong in the world is one sentence on stderr and an exit code, never a traceback."""
    from stack.cli import commands

    commands.register(app)
    try:
        app()
    except LiqcascadeError as exc:
        complain(str(exc))
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as exc:
        if exc.errno == errno.EPIPE:  # `liqcascade tail … | head`
            sys.stderr.close()
            sys.exit(0)
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        complain(f"writing {exc.filename or 'a file'}: {exc.strerror}; free some space or choose another folder")
        sys.exit(4)
