"""What the README tells a newcomer to type, typed."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.fixture
async def demo(state_folder: Path) -> AsyncIterator[str]:
    """The address of a demo started as the README starts it, on another port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": str(ROOT / "src"),
        "CARE_DATA_DIR": str(state_folder / "readme"),
        "CARE_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "care_collective", "demo", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            if b"ready at" in line:
                break
    drain = asyncio.create_task(process.stdout.read())
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    assert await process.wait() == 0
    await drain


async def test_an_offer_an_answer_and_a_reading_as_the_readme_shows_them(demo: str) -> None:
    walk = next(block for block in BLOCKS if block.startswith("site="))
    process = await asyncio.create_subprocess_exec(
        "sh", "-eu", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(walk.replace("http://127.0.0.1:8000", demo).encode())

    assert process.returncode == 0
    sent, _, thread = output.partition(b"}")
    assert msgspec.json.decode(sent + b"}")["seq"] == 1
    read = msgspec.json.decode(thread)
    assert [m["seq"] for m in read["messages"]] == [0, 1]
    assert read["messages"][1]["content"] == "Tonight would be wonderful. Second door on the left."


def test_the_readmes_commands_exist_and_ci_runs_its_test_command() -> None:
    commands = [block.split()[0] for block in BLOCKS if block.startswith("scripts/")]

    assert commands == ["scripts/serve", "scripts/serve", "scripts/test"]
    for command in commands:
        assert os.access(ROOT / command, os.X_OK)
    ran = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert {"scripts/check", "scripts/test"} <= set(ran)
