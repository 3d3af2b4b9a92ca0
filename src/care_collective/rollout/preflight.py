"""What has to be true before a stage, asked of the deployment: one line each, yes or no, and what to do for a no.

Changes nothing. A question that the database cannot answer is a no and not an end: all others are asked all the same.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
import msgspec

from care_collective import __version__
from care_collective.db.call import Database
from care_collective.db.migrate import plan
from care_collective.errors import CareError, SettingsError
from care_collective.operations import backup, deployed, doctor
from care_collective.rollout import criteria
from care_collective.rollout.policy import INTERNAL, ON, Stage
from care_collective.settings import Settings

Tell = Callable[[str], None]

_OPERATORS: Final = (
    "select count(*) from care.operators o join care.users u on u.id = o.user_id where u.deleted_at is null"
)
_MIGRATE: Final = "care-collective migrate"


class Line(msgspec.Struct, frozen=True):
    """One line of the list: what was asked, whether it is so, what was found, and what to do where it is not.

    `advice`: a no of it holds nothing back, for a deployment may rightly do without.
    """

    question: str
    yes: bool
    found: str
    do: str | None = None
    advice: bool = False


class Preflight(msgspec.Struct, frozen=True):
    """The list before a stage. `ready`: every line is a yes, but for advice. Whether it is time to go on the numbers
    say, not this.
    """

    stage: str
    ready: bool
    lines: list[Line]


def following(stage: str) -> Stage:
    """The stage that usually comes after this one, the last after itself; the first where it cannot be read."""
    try:
        return criteria.following(Stage.parse(stage)) or ON
    except ValueError:
        return INTERNAL


async def preflight(owner: Database, settings: Settings, *, stage: Stage | None, tell: Tell) -> Preflight:
    """Asks everything before `stage`, or the usual next one. `owner` has the owner's rights on whichever release."""
    asked: list[tuple[str, Callable[[], Awaitable[Line]]]] = [
        ("A backup was verified within 24 hours", lambda: _backup(owner)),
        ("The database is this release's", lambda: _migrations(owner)),
        ("Functions and rights are as they must be", lambda: _rights(owner)),
        ("Every node runs this release", lambda: _nodes(owner)),
        ("The flag can be read and is not stopped", lambda: _flag(owner)),
        ("The environment declares no stage", lambda: _environment(owner, settings)),
        ("No violation in V2", lambda: _violations(owner)),
        ("There is an operator", lambda: _operator(owner)),
        ("Alerts reach somebody", lambda: _alerts(settings)),
    ]
    lines = []
    for question, ask in asked:
        tell(question)
        try:
            line = await ask()
        except (CareError, SettingsError, asyncpg.PostgresError) as error:
            found = str(error) if isinstance(error, SettingsError) else "the database has no answer to this"
            line = Line("", False, found, f"Bring it up to this release first: {_MIGRATE}.")
        lines.append(msgspec.structs.replace(line, question=question))
    wanted = stage or following(await _stage(owner))
    return Preflight(str(wanted), all(line.yes or line.advice for line in lines), lines)


def _line(yes: bool, found: str, do: str) -> Line:
    return Line("", yes, found, None if yes else do)


async def _backup(owner: Database) -> Line:
    async with owner.pool.acquire() as connection:
        yes = await backup.recent(connection)
    do = "care-collective backup, then care-collective backup verify FILE."
    return _line(yes, "verified" if yes else "none of this database was", do)


async def _migrations(owner: Database) -> Line:
    async with owner.pool.acquire() as connection:
        todo = await plan(connection)
    found = f"waiting: migrations {len(todo.migrations)}, files of functions {len(todo.rooms)}"
    return _line(
        todo.empty, f"release {__version__}" if todo.empty else found, f"{_MIGRATE}, then start the site again."
    )


async def _rights(owner: Database) -> Line:
    async with owner.pool.acquire() as connection:
        report = await deployed.examine(connection)
    count = len(report.findings)
    found = f"{count} findings, the first on {report.findings[0].subject}" if count else f"{report.things} things"
    return _line(not count, found, "care-collective doctor --deployed shows each.")


async def _nodes(owner: Database) -> Line:
    nodes = (await _look(owner))["nodes"]
    number: int = (await owner.call("care.health")).data()["server_version"]
    server = f"PostgreSQL {number // 10000}.{number % 10000}"
    if not nodes:
        return _line(False, f"no node is running, {server}", "Start the site: care-collective serve.")
    others = sorted({f"{node['name']} runs {node['release']}" for node in nodes if node["release"] != __version__})
    found = "; ".join(others) or f"{len(nodes)} running {__version__}, {server}"
    return _line(not others, found, f"Start each of them again with release {__version__}.")


async def _flag(owner: Database) -> Line:
    found = await _look(owner)
    if not found["readable"]:
        do = 'Set it anew: care-collective rollout set off --why "It could not be read".'
        return _line(False, "the stage is no stage, hence it is off", do)
    alarms = [node["name"] for node in found["nodes"] if node["alarm"]]
    if alarms:
        return _line(False, f"{', '.join(alarms)} cannot read it", "Look at /api/health of that node.")
    stop = found["stopped_by"]
    if stop is not None:
        do = (
            "See what it was (care-collective rollout incident), and once it is mended: care-collective rollout resume."
        )
        return _line(False, f"stopped by {stop['actor']} ({stop['why']})", do)
    return _line(True, f"at {found['stage']}", "")


async def _environment(owner: Database, settings: Settings) -> Line:
    nodes = (await _look(owner))["nodes"]
    declaring = [node["name"] for node in nodes if node["source"].startswith("environment")]
    if (settings.messaging_v2_enabled, settings.messaging_v2_rollout) != (None, None):
        declaring.append("this command's environment")
    do = "Take MESSAGING_V2_ENABLED and MESSAGING_V2_ROLLOUT out of it, and start it again."
    return _line(not declaring, ", ".join(declaring) or "the database decides", do)


async def _violations(owner: Database) -> Line:
    found = await doctor.examine(owner)
    orphans = sum(one.kind == "orphan" for one in found)
    ours = [one for one in found if one.engine != "v1"]
    said = f"{len(ours)} violations, {orphans} orphans in V1" if ours or orphans else "no orphan in V1 either"
    return _line(not ours, said, "care-collective doctor says what may be done about each.")


async def _operator(owner: Database) -> Line:
    count = await owner.pool.fetchval(_OPERATORS)
    do = "care-collective member role EMAIL operator."
    return _line(bool(count), f"{count}" if count else "nobody is", do)


async def _alerts(settings: Settings) -> Line:
    ways = [name for name, url in (("e-mail", settings.smtp_url), ("POST", settings.alert_url)) if url is not None]
    do = "Set CARE_SMTP_URL or CARE_ALERT_URL, here and for the site; or look at its page and log yourself, each day."
    line = _line(bool(ways), " and ".join(ways) or "the log only", do)
    return msgspec.structs.replace(line, advice=True)  # both settings may be absent, and the guard needs neither


async def _look(owner: Database) -> dict[str, Any]:
    found: dict[str, Any] = (await owner.call("care.rollout_json", p_flag="messaging_v2", p_changes=1)).data()
    return found


async def _stage(owner: Database) -> str:
    try:
        return str((await _look(owner))["stage"])
    except CareError:
        return ""
