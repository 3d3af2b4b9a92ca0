"""The policy in SQL gives the answers of the policy in Python, and whom a stage takes."""

import hashlib
from uuid import UUID

import pytest

from care_collective.rollout.policy import Stage, bucket, uses_v2
from care_collective.settings import STAGE
from harness import Care, Town

pytestmark = pytest.mark.alike

MEMBERS = [UUID(bytes=hashlib.md5(str(number).encode()).digest(), version=4) for number in range(10_000)]
STAGES = [
    "off", "internal", "on", " on\n", "percentage:0", "percentage:0.01", "percentage:0.10", "percentage:10",
    "percentage:12.50", "percentage:99.99", "percentage:100", "percentage:100.00",
]  # fmt: skip
GARBAGE = [
    "", " ", "ON", "true", "percentage", "percentage:", "percentage:abc", "percentage:150", "percentage:-5",
    "percentage:10.005", "percentage:05", "percentage:1e1", "percentage:10%", "percentage:100.01", "10",
    "percentage:\u0665", "percentage:10\n5", "off on",
]  # fmt: skip


@pytest.mark.parametrize(("salt", "flag"), [("", "messaging_v2"), ("frühling", "messaging_v2"), ("", "second_flag")])
async def test_a_bucket_is_the_same_in_sql_and_python_for_10_000_members(shared: Care, salt: str, flag: str) -> None:
    found = await shared.owner.fetch("select care.bucket(u, $2, $3) from unnest($1::uuid[]) as u", MEMBERS, salt, flag)
    assert [row[0] for row in found] == [bucket(member, salt, flag) for member in MEMBERS]


async def test_a_stage_is_read_in_sql_as_in_python(shared: Care) -> None:
    for text in STAGES + GARBAGE:
        expected = str(Stage.parse(text)) if STAGE.fullmatch(text.strip()) else None
        assert await shared.owner.fetchval("select care.canonical_stage($1)", text) == expected, text


async def test_the_policy_is_the_same_in_sql_and_python_at_every_stage(scratch: Care) -> None:
    members = MEMBERS[:500]
    for salt in ("", "spring"):
        for stage in (*STAGES, *GARBAGE[:4]):
            await scratch.owner.execute("update care.rollout_flags set stage = $1, salt = $2", stage, salt)
            found = await scratch.owner.fetch(
                "select care.uses_v2('messaging_v2', u) from unnest($1::uuid[]) u", members
            )
            parsed = Stage.parse(stage) if STAGE.fullmatch(stage.strip()) else Stage("off")
            expected = [uses_v2(parsed, member, in_cohort=False, salt=salt) for member in members]
            assert [row[0] for row in found] == expected, (stage, salt)
    await scratch.owner.execute("update care.rollout_flags set stage = 'on', stopped = 'tripped'")
    assert not await scratch.owner.fetchval("select care.uses_v2('messaging_v2', $1)", members[0])
    assert not await scratch.owner.fetchval("select care.uses_v2('no_such_flag', $1)", members[0])


async def test_who_is_named_is_the_cohort_and_without_names_coordinators_and_operators(scratch: Care) -> None:
    town: Town = await scratch.town()
    plain, named = await town.member("Pia"), await town.member("Nell")
    coordinator, operator = await town.member("Cora", coordinator=True), await town.member("Otto")
    await scratch.owner.execute("insert into care.operators values ($1, 'a test')", operator.user_id)
    await scratch.owner.execute("update care.rollout_flags set stage = 'percentage:0'")

    async def inside() -> list[str]:
        people = (plain, named, coordinator, operator)
        found = []
        for person in people:
            in_sql = await scratch.owner.fetchval(
                "with r as materialized (select set_config('request.jwt.claims', $1, true)) "
                "select care.uses_v2('messaging_v2', $2) from r",
                person.caller().claims(),
                person.user_id,
            )
            assert in_sql == await scratch.database.value("care.is_in_cohort", person.caller())
            found += [person.name] * in_sql
        return found

    assert await inside() == ["Cora", "Otto"]
    await scratch.owner.execute(
        "insert into care.rollout_cohort (flag, user_id, added_by) values ('messaging_v2', $1, 'a test')", named.user_id
    )
    assert await inside() == ["Nell"]
