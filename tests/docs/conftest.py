"""A demo as the documents start it, for what they tell a newcomer to type."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def checkout(state_folder: Path) -> Path:
    """What scripts/serve needs of this checkout, in a folder of its own, so that nobody's .env counts; installed."""
    subprocess.run(["sh", "scripts/lock", "sync", ".venv", "requirements.lock"], cwd=ROOT, check=True, timeout=600)
    copy = state_folder / "checkout to serve"
    for folder in ("scripts", "src"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("*.pyc.*"))  # half written
    for lock in ROOT.glob("requirements*.lock"):
        shutil.copy(lock, copy)
    shutil.copy(ROOT / ".env.example", copy)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


def newcomer(**settings: str) -> dict[str, str]:
    """The whole environment of somebody who has set nothing but these."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **settings}


@pytest.fixture
async def demo(checkout: Path, state_folder: Path) -> AsyncIterator[str]:
    """The address of a demo started as the README starts it, on another port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "exec scripts/serve demo", cwd=checkout, stdout=asyncio.subprocess.PIPE,
        env=newcomer(CARE_DATA_DIR=str(state_folder / f"demo-{port}"), CARE_PORT=str(port)),
    )  # fmt: skip
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
