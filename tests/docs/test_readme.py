"""What the README tells a newcomer to type, typed."""

import asyncio
import os
import re
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


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


def test_the_readmes_commands_exist_and_ci_runs_its_test_commands() -> None:
    lines = [line.split()[0] for block in BLOCKS for line in block.splitlines() if line.startswith("scripts/")]

    assert lines == ["scripts/serve", "scripts/serve", "scripts/test", "scripts/check"]
    for command in lines:
        assert os.access(ROOT / command, os.X_OK)
    ran = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert set(lines) - {"scripts/serve"} <= set(ran)
