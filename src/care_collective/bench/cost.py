"""What the create function costs against the bare inserts of the same rows, both called by pgbench.

The figure is CPU time of the whole server (every process of it, from /proc) a call, not calls a second: those also
wait for the disk. Both sides commit alike, use as many members as connections, and each writes its pairs anew.
"""

from typing import Final

from care_collective.bench import meter, pgbench
from care_collective.bench.doors import EACH, Effort
from care_collective.bench.report import Report, at_most, failure, middle
from care_collective.bench.stand import OWNERS, Stand, Tell, database, stand

_MOST: Final = 2.5


async def measure(effort: Effort, *, tell: Tell) -> Report:
    """The row of the create function's cost."""
    if not meter.known():
        raise failure("The CPU time of a server can be read on Linux only.")
    async with stand(tell=tell) as on:
        tell("Making a community, its people and their requests")
        async with database(on, "care", members=effort.connections, requests=EACH + effort.span * effort.runs):
            pairs = []
            for number in range(1, effort.rounds + 1):
                tell(f"cost of create: round {number} of {effort.rounds}")
                whole = await _cost(on, "create", effort, 2 * number - 1, user="care_app")
                pairs.append((whole, await _cost(on, "bare", effort, 2 * number, user="postgres")))
    row = at_most(
        "CPU of the create function against its bare inserts",
        middle([whole / bare for whole, bare in pairs]),
        _MOST,
        create_ms=middle([whole for whole, _ in pairs]),
        bare_ms=middle([bare for _, bare in pairs]),
        ratios=[round(whole / bare, 3) for whole, bare in pairs],
        connections=effort.connections,
    )
    return Report([row])


async def _cost(on: Stand, script: str, effort: Effort, run: int, *, user: str) -> float:
    """Milliseconds of CPU a call."""
    before = meter.spent(on.server.pid)
    calls = await pgbench.run(
        on,
        "care",
        script,
        connections=effort.connections,
        seconds=effort.seconds,
        user=user,
        run=run,
        base=EACH + 1 + run * effort.span,
        span=effort.span,
        shift=effort.span // effort.connections,
        owners=OWNERS,
    )
    return 1000 * meter.spent(on.server.pid).since(before).database / calls.number
