"""What is gathered about a rollback: its own attempts and no others, and where to look next."""

from uuid import UUID, uuid4

import pytest

from care_collective.db.call import Database
from care_collective.errors import CareError, Code
from care_collective.rollout.incident import Incident, gather
from harness import Care

FLAG = "messaging_v2"


async def look(care: Care, change: str | None = None) -> Incident:
    """The incident as the command has it."""
    return await gather(Database(care.owner), FLAG, None if change is None else UUID(change))


async def attempt(
    care: Care, reference: str, *, at: str, version: str = "v2", code: str | None = "server_error"
) -> None:
    """An attempt, opened so far from now; without a code it worked."""
    await care.owner.execute(
        "insert into care.engine_outcomes (help_request_id, user_id, version, endpoint, opened_at, kind, code, "
        "duration_ms, node_id, reference) select $1, $1, $2, 'start-conversation', now() + $3::text::interval, "
        "case when $4::text is null then 'success' else 'failure' end, $4, 12, $1, $5",
        uuid4(), version, at, code, reference,
    )  # fmt: skip


async def stop(care: Care, action: str, why: str) -> str:
    """A stop of the flag, by its id."""
    made = await care.owner.fetchval(
        "select care.stop_rollout($1, $2, $3, null, $4, 'It failed.', '{\"failures\": 2}') ->> 'change_id'",
        FLAG, action, "guard" if action == "trip" else "Olga", why,
    )  # fmt: skip
    return str(made)


async def resume(care: Care) -> None:
    """A person lets it go on."""
    await care.owner.execute("select care.resume_rollout($1, 'on', 'Olga', null, 'Mended.')", FLAG)


async def test_a_rollback_is_gathered_with_the_attempts_that_failed_before_it(scratch: Care) -> None:
    with pytest.raises(CareError, match="never rolled back") as none:
        await look(scratch)
    assert none.value.code is Code.NOT_FOUND

    await attempt(scratch, "before", at="-3 hours")
    await resume_after_kill(scratch)
    one, two = uuid4().hex, uuid4().hex
    for reference in (one, two):
        await attempt(scratch, reference, at="0 seconds")
    await attempt(scratch, "worked", at="0 seconds", code=None)
    await attempt(scratch, "old-engine", at="0 seconds", version="v1")
    await attempt(scratch, "after", at="10 minutes")
    change = await stop(scratch, "trip", "detector")
    found = await look(scratch)
    assert found == await look(scratch, change)
    assert (found.change["id"], found.change["actor"], found.change["why"]) == (change, "guard", "detector")
    assert (found.change["numbers"], found.resumed) == ({"failures": 2}, None)
    assert {a["reference"] for a in found.attempts} == {one, two}
    assert {(a["code"], a["endpoint"]) for a in found.attempts} == {("server_error", "start-conversation")}
    assert found.codes == {"server_error": 2, "success": 1}
    assert any(f"{one}|{two}" in hint or f"{two}|{one}" in hint for hint in found.look_for)
    assert found.rehearse == "care-collective rollout rehearse --fault raising"

    await resume(scratch)
    first = await scratch.owner.fetchval("select id::text from care.rollout_changes where action = 'kill'")
    assert (await look(scratch)).resumed is not None
    earlier = await look(scratch, first)
    assert (earlier.change["actor"], earlier.attempts[0]["reference"]) == ("Olga", "before")
    with pytest.raises(CareError, match="no rollback and no warning"):
        await look(scratch, str(uuid4()))


async def test_no_command_to_be_copied_has_words_of_a_members_in_it(scratch: Care) -> None:
    town = await scratch.town()
    for reference in ("x' LOG; id #", "$(id)", "a\nid\n", "-f/etc/passwd", ".*", "0123456789abcdef0123456789abcdef"):
        member = await town.member()
        assert (await member.call("report_problem", reference=reference))["success"]
    await stop(scratch, "kill", "complaints")
    found = await look(scratch)
    assert len(found.problems) == 6
    (command,) = (hint for hint in found.look_for if "grep" in hint)
    assert command.endswith("grep -E '0123456789abcdef0123456789abcdef' LOG")


async def resume_after_kill(care: Care) -> None:
    """An earlier stop, an hour ago, which somebody has let go on."""
    await stop(care, "kill", "errors")
    await resume(care)
    await care.owner.execute("update care.rollout_changes set at = at - interval '1 hour'")


@pytest.mark.parametrize(
    ("action", "why", "code", "fault"),
    [
        ("trip", "violation", None, "violation"),
        ("trip", "probe", "unavailable", "killed-backends"),
        ("kill", "data-loss", None, "violation"),
        ("kill", "complaints", "server_error", "all"),
    ],
)
async def test_the_rehearsal_that_fits_is_named(
    scratch: Care, action: str, why: str, code: str | None, fault: str
) -> None:
    if code is not None:
        await attempt(scratch, "any", at="-1 minute", code=code)
    await stop(scratch, action, why)
    assert (await look(scratch)).rehearse == f"care-collective rollout rehearse --fault {fault}"
