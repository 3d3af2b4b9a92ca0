"""A demo as the documents start it, for what they tell a newcomer to type."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
        "CARE_DATA_DIR": str(state_folder / f"demo-{port}"),
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
