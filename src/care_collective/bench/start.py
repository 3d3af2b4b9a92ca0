"""How long a start takes from outside, from no data to an answered page, and what the web process holds then.

What scripts/serve adds before it (parts installed once, and then compared with the lock) is counted where this is a
checkout. Memory is what the kernel counts as resident.
"""

import asyncio
import http.client
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from care_collective.bench.report import Report, at_most, failure
from care_collective.bench.stand import Tell, served

_FIRST_SECONDS: Final = 15
_SECOND_SECONDS: Final = 3
_MEGABYTES: Final = 120
_SCRIPT: Final = Path(__file__).parents[3] / "scripts" / "serve"
_PAGES: Final = ("/", "/sign-in", "/sign-up", "/api/health")


async def measure(*, tell: Tell) -> Report:
    """The rows of a first start, a second one and the memory of the web process."""
    with tempfile.TemporaryDirectory(prefix="care-collective-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root the server runs as another user, who has to pass  # noqa: ASYNC240
        tell("Starting with no data")
        first, _ = await _start(folder)
        tell("Starting again")
        second, memory = await _start(folder)
    return Report(
        [
            at_most("start: no data to an answered page", round(first, 2), _FIRST_SECONDS, unit="s"),
            at_most("start: a second time", round(second, 2), _SECOND_SECONDS, unit="s"),
            at_most("start: memory of the web process", round(memory, 1), _MEGABYTES, unit="MB"),
        ]
    )


async def _start(folder: Path) -> tuple[float, float]:
    command = (str(_SCRIPT),) if _SCRIPT.is_file() else (sys.executable, "-P", "-m", "care_collective", "serve")
    began = time.perf_counter()
    async with served(folder / "site", command=command) as (process, host, port):
        await asyncio.to_thread(_get, host, port, _PAGES[0])
        seconds = time.perf_counter() - began
        for path in _PAGES:
            await asyncio.to_thread(_get, host, port, path)
        return seconds, megabytes(process.pid)


def _get(host: str, port: int, path: str) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status not in {200, 303}:
            raise failure(f"The site answered {answer.status} for {path}.")
    finally:
        connection.close()


def megabytes(pid: int) -> float:
    """What a process holds in memory at present. Errors: CareError where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        raise failure("The memory of a process can be read on Linux only.")
    kibibytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(kibibytes) * 1024 / 1e6
