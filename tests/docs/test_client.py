"""What the client's page shows, run as it stands against a demo."""

import asyncio
import os
import re
import sys
from pathlib import Path

from care_collective import client

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def run(block: str, site: str) -> list[str]:
    """Runs an example against a site; the lines that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", block.replace("http://127.0.0.1:8000", site),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return output.decode().splitlines()


async def test_the_examples_do_what_the_page_says(demo: str) -> None:
    offer, thanks = BLOCKS
    first = await run(offer, demo)
    assert first == ["0 There is a pair in my cellar.", "1 Shall I bring one tonight?"]
    assert await run(thanks, demo) == ["sent 2", "sent before 2"]
    assert await run(offer, demo) == [*first, "2 Thank you so much!", "3 Shall I bring one tonight?"]


def test_the_table_names_every_exception_that_has_no_heirs() -> None:
    named = set(re.findall(r"`([A-Z]\w+)`", PAGE.partition("## What can be raised")[2]))
    kinds = {name for name in client.__all__ if isinstance(getattr(client, name), type)}
    assert kinds - {"CareClient", "Credentials"} == named
