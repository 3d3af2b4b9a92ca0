"""What the API's page shows, run as it stands against one demo."""

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from docs.test_client import run
from npm_harness import SUPABASE_JS, brought

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
LINES = {
    "python": ["1 Then you are my man.", "2 Is tomorrow too soon?"],
    "js": ["0 I pass the pharmacy at five.", "1 Wonderful, they close at six."],
}


def block(language: str, site: str) -> str:
    """The page's one example in a language, for a demo at an address."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found).replace("http://127.0.0.1:8000", site)


async def said(*command: str, cwd: Path) -> str:
    """What a program that succeeds prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, complaints = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


async def heard(text: str, *wanted: str) -> list[re.Match[str]]:
    """What a shell prints for each of these patterns; ended once all are there, since curl listens for a time."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-eu", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(text.encode())
    process.stdin.close()
    printed, found = "", list[re.Match[str]]()
    try:
        async with asyncio.timeout(60):
            while len(found) < len(wanted) and (line := await process.stdout.readline()):
                printed += line.decode()
                found = [match for pattern in wanted if (match := re.search(pattern, printed, re.MULTILINE))]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert len(found) == len(wanted), printed
    return found


async def test_the_examples_do_what_the_page_says(demo: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Two seconds are enough for a person's machine, not for one that runs all tests at once.
    patient = block("sh", demo).replace("--max-time 2 ", "--max-time 50 ")
    message, _ = await heard(
        patient, r"^id: 1\ndata: (.*)$\n", r'^event: state\ndata: {"unread":{.*"conversations":\[.*$\n'
    )
    assert msgspec.json.decode(message[1])["content"] == "More than enough. May I come on Saturday?"

    assert await run(block("python", demo), demo) == LINES["python"]

    folder = brought(tmp_path_factory, SUPABASE_JS)
    # Every browser has a WebSocket, Node from 22 on; nothing here opens one.
    program = "globalThis.WebSocket ??= class {}\n" + block("js", demo)
    (folder / "program.mjs").write_text(program)
    node = shutil.which("node") or "node"
    assert (await said(node, "program.mjs", cwd=folder)).splitlines() == LINES["js"]
