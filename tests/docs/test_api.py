"""What the API's page shows, run as it stands against one demo."""

import asyncio
import re
import shutil
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


async def said(*command: str, text: str = "", cwd: Path | None = None) -> str:
    """What a program that succeeds prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, complaints = await asyncio.wait_for(process.communicate(text.encode()), 60)
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


async def test_the_examples_do_what_the_page_says(demo: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    shown = await said("sh", "-eu", text=block("sh", demo))
    [seq, message] = re.findall(r"^id: (1)\ndata: (.*)$", shown, re.MULTILINE)[0]
    assert (seq, msgspec.json.decode(message)["content"]) == ("1", "More than enough. May I come on Saturday?")
    assert re.search(r'^event: state\ndata: {"unread":{.*"conversations":\[', shown, re.MULTILINE)

    assert await run(block("python", demo), demo) == LINES["python"]

    folder = brought(tmp_path_factory, SUPABASE_JS)
    # Every browser has a WebSocket, Node from 22 on; nothing here opens one.
    program = "globalThis.WebSocket ??= class {}\n" + block("js", demo)
    (folder / "program.mjs").write_text(program)
    node = shutil.which("node") or "node"
    assert (await said(node, "program.mjs", cwd=folder)).splitlines() == LINES["js"]
