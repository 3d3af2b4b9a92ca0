"""The log of a serving process: one line an event, whoever logs, and never the value of a variable."""

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from care_collective.operations.logs import configure
from care_collective.settings import Log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What was written; the process's own logging is put back afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def fail() -> None:
    password = "kept to myself"
    raise ValueError(len(password))


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_stack_is_written_without_the_values_of_its_variables(stream: io.StringIO, form: str) -> None:
    configure(msgspec.convert(("info", form), Log), stream=stream)
    logger = structlog.get_logger("care_collective.test")

    try:
        fail()
    except ValueError:
        logger.exception("test.failed", number=1)
        logging.getLogger("a.library").exception("it failed")

    written = stream.getvalue()
    assert written.count("in fail") == 2
    assert "kept to myself" not in written.replace('password = "kept to myself"', "")


def test_each_event_is_one_line_of_json_and_the_level_bounds_them(stream: io.StringIO) -> None:
    configure(Log("warning", "json"), stream=stream)

    structlog.get_logger("care_collective.test").info("test.quiet")
    structlog.get_logger("care_collective.test").warning("test.loud", number=1)
    logging.getLogger("a.library").error("something\nwrong")

    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("test.loud", "warning"),
        ("something\nwrong", "error"),
    ]
    assert all(line["timestamp"].endswith("Z") for line in lines)
