"""Runs pgbench on a scratch database: the same function, called the same way, without a web process before it."""

import asyncio
import os
import re
from asyncio.subprocess import PIPE, STDOUT
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

from care_collective.bench.report import failure
from care_collective.bench.stand import SQL, Stand
from care_collective.db.embedded import find_binaries

_PROGRESS: Final = re.compile(r"progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms")
_NUMBER: Final = re.compile(r"number of transactions actually processed: (\d+)")
_SPARE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Calls:
    """What pgbench reached: calls a second, milliseconds a call, and how many calls it made in all."""

    rate: float
    milliseconds: float
    number: int


def program() -> Path:
    """pgbench of the PostgreSQL that is measured. Errors: CareError where it has none."""
    found = find_binaries().folder / "pgbench"
    if not found.is_file():
        raise failure(f"{found} is missing: the benchmarks compare with pgbench.")
    return found


async def run(
    on: Stand, database: str, script: str, *, connections: int, seconds: int, user: str = "care_app", **variables: int
) -> Calls:
    """Calls `sql/<script>.sql` as fast as it goes for `seconds` and one before them, which does not count.

    Prepared statements, as the web process's driver has them. Errors: CareError with its words where a call fails.
    """
    with_file = SQL / f"{script}.sql"
    given = {"i": 0, "run": 0, **variables}
    command = [
        *(str(program()), "--no-vacuum", "--protocol=prepared", "--progress=1", f"--file={with_file}"),
        *(f"--client={connections}", "--jobs=1", f"--time={seconds + 1}"),
        *(f"--define={name}={value}" for name, value in given.items()),
        on.url(user, database),
    ]
    environment = {**os.environ, "PGOPTIONS": "-c timezone=UTC -c statement_timeout=10s", "PGAPPNAME": "pgbench"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds + _SPARE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    words = output.decode(errors="replace")
    steps = [(float(rate), float(wait)) for rate, wait in _PROGRESS.findall(words)][1:]
    number = _NUMBER.search(words)
    if process.returncode != 0 or not steps or number is None:
        raise failure("pgbench failed. Its last words:\n" + "\n".join(words.splitlines()[-15:]))
    return Calls(mean(rate for rate, _ in steps), mean(wait for _, wait in steps), int(number[1]))
