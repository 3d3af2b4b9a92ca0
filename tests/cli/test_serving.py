"""`serve` and `demo` as processes: ready, used beside, asked over HTTP, stopped, started again."""

import json
import socket
import subprocess
from pathlib import Path
from typing import cast

import httpx
import pytest

from cli.process import Shell
from harness import free_port

PASSWORD = "kindness-next-door"


@pytest.fixture(scope="module")
def shell(state_folder: Path) -> Shell:
    """A state folder of this module's."""
    return Shell(state_folder / "serving")


def _signed_in(client: httpx.Client, email: str) -> dict[str, str]:
    answer = client.post("/api/auth/sign-in", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def test_serve_says_how_to_begin_and_ends_well(shell: Shell) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    with shell.serving("serve", "--port", str(free_port()), CARE_METRICS_BIND=metrics) as serving:
        assert "community add SLUG" in serving.greeting
        told = httpx.get(f"http://{metrics}/metrics", trust_env=False).text
        assert "care_database_up 1.0" in told
        assert "process_open_fds" in told
        assert shell.run("community", "add", "linden-row", "--name", "Linden Row").code == 0  # beside it
        assert shell.run("doctor").code == 0
        refused = shell.run("serve", "--port", str(free_port()))
        assert refused.code == 2
        assert f"run by process {serving.process.pid} already" in refused.err
        assert serving.stop().code == 0
    assert not (shell.state / "postgres" / "data" / "postmaster.pid").exists()


def test_a_port_that_is_taken_is_2(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = shell.run("serve", "--port", str(taken.getsockname()[1]))
    assert refused.code == 2
    assert "--port" in refused.err
    assert "cannot be listened on (Address already in use). Choose another port or host." in refused.err


def test_demo_is_made_once_and_can_be_tried_as_printed(shell: Shell) -> None:
    port = str(free_port())
    with shell.serving("demo", "--port", port) as serving:
        commands = serving.greeting.split("An offer from a shell")[1].split("\n\n")[0].split("\n", 1)[1]
        assert PASSWORD in serving.greeting
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for person in ("maria", "samuel", "ruth", "tomas", "kofi"):
                assert f"{person}@linden-row.example" in serving.greeting
                _signed_in(client, f"{person}@linden-row.example")
            offered = _shell_answer(commands)
            assert offered["success"], offered
            mine = client.get("/api/messaging/conversations", headers=_signed_in(client, "samuel@linden-row.example"))
            assert offered["conversation_id"] in {c["id"] for c in mine.json()["conversations"]}
        found = shell.run("doctor", "--json", CARE_DATA_DIR=str(shell.state / "demo"))
        assert found.code == 1
        assert [violation["kind"] for violation in found.json["violations"]] == ["orphan"]
        ended = serving.stop()
        assert ended.code == 0
        assert "Making a sample community" in ended.err
    with shell.serving("demo", "--port", port) as again:
        assert "Making a sample community" not in again.stop().err


def _shell_answer(commands: str) -> dict[str, object]:
    done = subprocess.run(["sh", "-euc", commands], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return cast(dict[str, object], json.loads(done.stdout))


def test_demo_is_refused_where_others_could_reach_it(shell: Shell) -> None:
    refused = shell.run("demo", "--host", "0.0.0.0")
    assert refused.code == 2
    assert "this machine only" in refused.err
