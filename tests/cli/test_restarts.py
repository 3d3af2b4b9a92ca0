"""`serve` outlives its embedded PostgreSQL: killed, it runs again, and the log says so."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from cli.process import Shell
from harness import free_port

log = logging.getLogger(__name__)


@pytest.fixture
def shell(state_folder: Path) -> Shell:
    """A state folder of this module's."""
    return Shell(state_folder / "restarts")


def _postmaster(shell: Shell) -> int | None:
    """The pid of the server that says that it is ready."""
    try:
        lines = (shell.state / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    return int(lines[0]) if len(lines) >= 8 and lines[7].strip() == "ready" else None


def test_serve_is_ready_again_by_itself_after_its_database_was_killed(shell: Shell) -> None:
    port, lasted = str(free_port()), []
    with (
        shell.serving("serve", "--port", port) as serving,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client,
    ):
        said: list[str] = []  # read at once: a full pipe would hold the process up
        assert serving.process.stderr is not None
        reading = threading.Thread(target=said.extend, args=[serving.process.stderr])
        reading.start()

        def told() -> int:
            return sum("embedded.restarted" in line for line in said)

        assert client.get("/api/health/ready").status_code == 200
        for number in range(1, 4):
            killed = _postmaster(shell)
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            died = time.monotonic()
            # The log tells it last: killed before that, it would be one failed start more and one line less.
            while (
                _postmaster(shell) in {killed, None}
                or client.get("/api/health/ready").status_code != 200
                or told() < number
            ):
                assert time.monotonic() < died + 60, "it does not come back"
                assert client.get("/api/health/live").status_code == 200
                time.sleep(0.02)
            lasted.append(time.monotonic() - died)
        serving.process.terminate()
        assert serving.process.wait(30) == 0
        reading.join()
    log.info("ready again after %s s", [round(seconds, 2) for seconds in lasted])
    assert told() == 3, said
    assert not (shell.state / "postgres" / "data" / "postmaster.pid").exists()
