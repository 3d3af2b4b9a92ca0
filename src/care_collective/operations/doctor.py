"""Looks for violations: row states that the product must never have. Changes nothing, shows ids and no text."""

from typing import Final
from uuid import UUID

import msgspec

from care_collective.db.call import Database

# Each kind that care.violations() finds, and what may be done about one; promises nothing that does not exist.
_FAULT: Final = (
    "No command mends it. Make a backup before anything is changed by hand (care-collective backup), and report it "
    "with this output: the software let it happen."
)
NEXT_STEPS: Final = {
    "orphan": "Nobody sees it, and nothing is lost: the helper's next try to offer help on the request completes it, "
    "and care-collective legacy repair removes what is left.",
    "unread_sum": "A count is wrong and no message: it is made anew when that member next reads the conversation, "
    "or by care-collective legacy repair.",
    "double_pair": "Both conversations can be read and written in. The two people can close the one they do not use.",
    "in_progress_without_helper": "The owner of the request can mark it as done, or cancel it and open it again.",
    "former_member_active": "Somebody deleted their account and it did not end all of theirs; care-collective member "
    "erase ID does the rest.",
    "former_member_not_erased": "Somebody deleted their account and some of it is still there; care-collective member "
    "erase ID does the rest.",
    "member_without_conversation": f"The inbox passes over such a row. {_FAULT}",
    "conversation_without_member": f"It is missing in that member's inbox. {_FAULT}",
    "participants_missing": f"Reading and writing do not look at these rows. {_FAULT}",
    "foreign_message": _FAULT,
    "sequence_gap": _FAULT,
    "foreign_requester": _FAULT,
}


class Violation(msgspec.Struct, frozen=True):
    """One finding: its kind, the engine it concerns (v1, v2, v1+v2, both), and the ids of what it was found on."""

    kind: str
    engine: str
    community_id: UUID
    subject: UUID
    detail: str

    @property
    def next_step(self) -> str:
        """What may be done about it, in words for an operator."""
        return NEXT_STEPS.get(self.kind, _FAULT)


async def examine(owner: Database) -> list[Violation]:
    """Every violation in the database, none in a sound one."""
    rows = await owner.pool.fetch("select kind, engine, community_id, subject, detail from care.violations()")
    found = [
        Violation(**{**row, "community_id": UUID(str(row["community_id"])), "subject": UUID(str(row["subject"]))})
        for row in rows
    ]
    return sorted(found, key=lambda v: (v.kind, v.engine, v.community_id, v.subject, v.detail))
