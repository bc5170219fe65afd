"""Structured logs on stderr; stdout is for what a program may read."""

import logging
import sys

import structlog

from runtime.settings import LogSettings


def configure(settings: LogSettings, *, stage: str) -> None:
    """Set up structlog for this process; foreign `logging` records go the same way.

    Text that came from outside is rendered quoted, so that it can not forge a line."""
    level = getattr(logging, settings.level.upper())
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())

    def add_stage(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["stage"] = stage  # not a context variable: threads would not inherit it
        return event

    shared: list[structlog.typing.Processor] = [
        add_stage,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))  # libraries: only what an operator should see
