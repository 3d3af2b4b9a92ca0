"""Runs the command line as a process of its own, as people and scripts do. warm.py begins it."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cli import warm

_SOURCE = Path(__file__).parents[2] / "src"
_ONE_COMMAND = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401  each command has its own shape
        """The standard output, decoded."""
        return msgspec.json.decode(self.out)


@dataclass(frozen=True, slots=True)
class Shell:
    """An environment with little more than a state folder in it."""

    state: Path

    def environ(self, **more: str) -> dict[str, str]:
        """The whole environment of a command."""
        base = {"PATH": os.environ["PATH"], "HOME": str(self.state), "PYTHONPATH": str(_SOURCE)}
        base["TMPDIR"] = tempfile.gettempdir()
        return {**base, "PYTHONWARNINGS": "error", "CARE_DATA_DIR": str(self.state), **more}

    def run(self, *arguments: str, **environ: str) -> Outcome:
        """Runs a command to its end."""
        process = warm.Command(arguments, self.environ(**environ))
        out, err = process.communicate(timeout=_ONE_COMMAND)
        assert "Traceback" not in err, err
        return Outcome(process.wait(), out, err)

    @contextmanager
    def serving(self, *arguments: str, **environ: str) -> Iterator["Serving"]:
        """Runs a command that serves, once it has said that it is ready; ends it by SIGTERM."""
        process = warm.Command(arguments, self.environ(**environ))
        try:
            serving = Serving(process, _until_ready(process))
            yield serving
        finally:
            process.terminate()
            process.communicate(timeout=_ONE_COMMAND)


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that serves, and what it had said by then."""

    process: warm.Command
    greeting: str

    def stop(self) -> Outcome:
        """Ends it by SIGTERM."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=_ONE_COMMAND)
        return Outcome(self.process.wait(), out, err)


def _until_ready(process: warm.Command) -> str:
    """Everything up to the line that says that it is ready; fails with what was said if that does not come."""
    said = ""
    limit = threading.Timer(_ONE_COMMAND, process.kill)
    limit.start()
    try:
        for line in process.stdout:
            said += line
            if "is ready at" in line:
                return said
    finally:
        limit.cancel()
    raise AssertionError(f"not ready: {said}{process.stderr.read()}")
