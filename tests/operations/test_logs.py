"""The log of a serving process: one line an event, whoever logs, and never the value of a variable."""

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from care_collective.cli.show import show_table
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


def test_what_a_caller_sent_commands_no_terminal_and_begins_no_line(stream: io.StringIO) -> None:
    configure(Log("info", "console"), stream=stream)

    path = "/\x1b]0;mine\x07/\u202e\x9b2J\n2026 forged"
    structlog.get_logger("care_collective.test").info("web.request", path=path)
    logging.getLogger("a.library").error("%s", path)

    written = stream.getvalue()
    assert written.count("\n") == 2
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(written)
    assert written.count("0;mine") == 2


def test_a_name_that_somebody_signs_up_with_makes_no_row_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    name = "Ann\x1b[1A\rop@example.org  approved\nB\u2028\u202eC"
    show_table(("name", "status"), [(name, "pending"), ("नमस्ते\u200d", "ok")])

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines[:2])
    assert "\\x1b[1A\\rop@example.org" in lines[1]
    assert lines[2].startswith("नमस्ते\u200d")  # names in any script
