"""Says how this node and its database are. Numbers, versions and states; never a secret, never a text."""

from typing import Any

from care_collective import __version__
from care_collective.db.call import Database
from care_collective.db.migrate import mismatch
from care_collective.errors import CareError, Code


async def report(database: Database, *, flag: dict[str, Any], listening: bool) -> dict[str, Any]:
    """The health of this node. `status` is ok, behind (the database is not this release's) or unavailable.

    `flag` and `listening`, whether notifications arrive, are this process's own.
    """
    base: dict[str, Any] = {"version": __version__, "flag": flag, "listening": listening}
    try:
        found = (await database.call("care.health")).data()
    except CareError as error:
        # A database that is there and does not know the question is one that nobody has migrated, or is of another
        # release.
        return {**base, "status": "unavailable", "database": "away" if error.code is Code.UNAVAILABLE else "unknown"}
    applied = {m["version"]: (m["checksum"], m["incompatible"]) for m in found["migrations"] or ()}
    problem = mismatch(applied, found["functions"] or {}, found["release"])
    return {
        **base,
        "status": "ok" if problem is None else "behind",
        "database": "reached",
        "server_version": found["server_version"],
        "migrations": {"applied": len(applied), "problem": problem},
        "outbox_lag_seconds": round(float(found["outbox_lag_seconds"]), 3),
    }
