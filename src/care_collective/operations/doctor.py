"""Looks for violations: row states that the product must never have. Changes nothing, shows ids and no text."""

from uuid import UUID

import msgspec

from care_collective.db.call import Database


class Violation(msgspec.Struct, frozen=True):
    """One finding: its kind, the engine it concerns (v1, v2, v1+v2, both), and the ids of what it was found on."""

    kind: str
    engine: str
    community_id: UUID
    subject: UUID
    detail: str


async def examine(owner: Database) -> list[Violation]:
    """Every violation in the database, none in a sound one."""
    rows = await owner.pool.fetch("select kind, engine, community_id, subject, detail from care.violations()")
    found = [
        Violation(**{**row, "community_id": UUID(str(row["community_id"])), "subject": UUID(str(row["subject"]))})
        for row in rows
    ]
    return sorted(found, key=lambda v: (v.kind, v.engine, v.community_id, v.subject, v.detail))
