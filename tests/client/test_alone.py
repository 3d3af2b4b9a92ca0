"""The client runs where nothing of the server's is installed: Python, httpx and msgspec suffice."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

import care_collective

SOURCE = Path(care_collective.__file__).parent
NEEDED = ("httpx", "msgspec")
PROGRAM = """
import asyncio, importlib.util, json, sys
from uuid import uuid4
import httpx
from care_collective.client import CareClient, NotFound

absent = [n for n in {absent!r} if importlib.util.find_spec(n) is None]
asked = uuid4()

def answer(request):
    if request.url.path == "/api/health/live":
        return httpx.Response(200, json={{"status": "ok"}})
    return httpx.Response(404, json={{"error": "No.", "code": "not_found", "request_id": "r"}})

async def main():
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with http, CareClient("http://care.example", http=http) as client:
        print((await client.health.live()).status, absent)
        try:
            await client.requests.get(asked)
        except NotFound as error:
            print(error)
    print(sorted(n for n in sys.modules if n.startswith("care_collective.") and ".client" not in n))

asyncio.run(main())
"""
SERVERS = ["asyncpg", "litestar", "argon2", "uvicorn", "structlog", "joserfc", "jinja2", "rich_click", "uvloop"]


def closure(*names: str) -> set[str]:
    """Distributions with all that they require here, extras and other platforms' aside."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for line in distribution(name).requires or []:
            required, _, marker = line.partition(";")
            if "extra ==" not in marker and _applies(marker):
                left.append(re.split(r"[^A-Za-z0-9._-]", required.strip())[0])
    return found


def _applies(marker: str) -> bool:
    bound = re.search(r'python_version < "3\.(\d+)"', marker.replace("'", '"'))
    return bound is None or sys.version_info < (3, int(bound[1]))


def roots(names: set[str]) -> Iterator[Path]:
    """The packages and modules that distributions installed."""
    for name in names:
        found = distribution(name)
        tops = {file.parts[0] for file in found.files or [] if ".." not in file.parts}
        yield from (
            Path(str(found.locate_file(top))) for top in tops if not top.endswith((".dist-info", "__pycache__"))
        )


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A folder with the client, the codes, httpx and msgspec, and what these two need."""
    for root in roots(closure(*NEEDED)):
        (tmp_path / root.name).symlink_to(root)
    own = tmp_path / "care_collective"
    own.mkdir()
    for name in ("__init__.py", "errors.py", "client", "py.typed"):
        (own / name).symlink_to(SOURCE / name)
    return tmp_path


async def test_the_client_needs_httpx_and_msgspec_alone(alone: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(alone)!r})\n" + PROGRAM.format(absent=SERVERS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-B", "-W", "error", "-c", program,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, errors.decode()) == (0, "")
    assert output.decode().splitlines() == [
        f"ok {SERVERS}",
        "not_found: No. (reference r)",
        "['care_collective.errors']",
    ]


def test_the_package_says_that_it_is_typed() -> None:
    assert (SOURCE / "py.typed").exists()
