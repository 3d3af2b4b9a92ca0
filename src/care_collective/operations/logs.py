"""Writes the log: one line an event on standard error, as JSON or for a terminal.

No event carries a member's words or a secret; a stack is written without the values of its variables.
"""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import Processor

from care_collective.settings import Log
from care_collective.text import on_one_line

# What every line has, whether it was logged by us or by a library through the standard logging.
_SHARED: Final[tuple[Processor, ...]] = (
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,  # the plain form; the pretty ones print variables
)


def _json(event: dict[str, Any], default: Callable[[Any], Any]) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=default).decode()
    except (UnicodeEncodeError, TypeError):  # a lone surrogate in a caller's path, a key that is no text
        return json.dumps(event, default=default)


def _for_terminals(*, colors: bool) -> Processor:
    render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def safe(name: str, value: object) -> object:
        if not isinstance(value, str):
            return value
        # A stack has lines of its own.
        return "\n".join(map(on_one_line, value.split("\n"))) if name == "exception" else on_one_line(value)

    return lambda logger, method, event: render(logger, method, {name: safe(name, v) for name, v in event.items()})


def configure(log: Log, *, stream: TextIO | None = None) -> None:
    """Sends all events of `log.level` and above to `stream`, standard error by default. Once a process."""
    stream = stream or sys.stderr
    plain = log.format == "console" or (log.format == "auto" and stream.isatty())
    renderer: Processor = (
        _for_terminals(colors=stream.isatty()) if plain else structlog.processors.JSONRenderer(serializer=_json)
    )
    level = getattr(logging, log.level.upper())
    structlog.configure(
        processors=[*_SHARED, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Libraries speak up only when something is wrong: their `info` is not written with our promises in mind.
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    # While the database is away the pool writes a stack for every try; each call that fails says so already.
    logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)
