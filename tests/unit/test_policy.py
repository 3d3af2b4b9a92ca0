"""The assignment and the precedence of rollout.md, without any database."""

import hashlib
from functools import cache
from itertools import pairwise, product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from care_collective.rollout.policy import (
    INTERNAL,
    OFF,
    ON,
    Decision,
    Declared,
    Source,
    Stage,
    Stored,
    bucket,
    in_force,
    needs_cohort,
    uses_v2,
)
from care_collective.settings import STAGE_RULE


def _member(number: int) -> UUID:
    """The same 100,000 members in every run, with version bits as the product's ids have them."""
    return UUID(bytes=hashlib.md5(str(number).encode()).digest(), version=4)


@cache
def members(number: int = 100_000) -> tuple[UUID, ...]:
    """The first of them. Made where they are needed: every process of a run reads this file."""
    return tuple(_member(place) for place in range(number))


EVERY_STAGE = [Stage("percentage", share) for share in range(10_001)] + [OFF, INTERNAL, ON]


@pytest.mark.parametrize(
    ("text", "stage", "canonical"),
    [
        ("off", OFF, "off"),
        ("internal", INTERNAL, "internal"),
        ("on", ON, "on"),
        ("on\n", ON, "on"),
        (" \t off \r\n", OFF, "off"),
        ("percentage:0", Stage("percentage", 0), "percentage:0"),
        ("percentage:0.00", Stage("percentage", 0), "percentage:0"),
        ("percentage:0.01", Stage("percentage", 1), "percentage:0.01"),
        ("percentage:0.1", Stage("percentage", 10), "percentage:0.1"),
        ("percentage:10", Stage("percentage", 1_000), "percentage:10"),
        ("percentage:12.50", Stage("percentage", 1_250), "percentage:12.5"),
        ("percentage:29.29", Stage("percentage", 2_929), "percentage:29.29"),
        ("percentage:99.99", Stage("percentage", 9_999), "percentage:99.99"),
        ("percentage:100", Stage("percentage", 10_000), "percentage:100"),
        ("percentage:100.0", Stage("percentage", 10_000), "percentage:100"),
        ("percentage:100.00", Stage("percentage", 10_000), "percentage:100"),
    ],
)
def test_a_stage_is_parsed_and_written_canonically(text: str, stage: Stage, canonical: str) -> None:
    assert Stage.parse(text) == stage
    assert str(stage) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "OFF", "On", "true", "false", "none", "offf", "off on", "internal:5", "on:100", "percentage"),
        *("percentage:", "percentage: 10", "percentage :10", "Percentage:10", "percentage=10", "percentage:10%"),
        *("percentage:10.005", "percentage:150", "percentage:101", "percentage:100.01", "percentage:100.1"),
        *("percentage:100.10", "percentage:1000", "percentage:100.000", "percentage:-5", "percentage:-0"),
        *("percentage:+5", "percentage:abc", "percentage:1e1", "percentage:.5", "percentage:5.", "percentage:05"),
        *("percentage:0x10", "percentage:1_0", "percentage:10,5", "percentage:nan", "percentage:inf", "10", "10%"),
        *(
            "percentage:1\u0660",
            "percentage:\u0665",
            "percentage:\uff15",
            "percentage:²",
            "percentage:10\n5",
            "off\u200b",
        ),
        *("percentage:10percentage:10", "percentage:10:20", "off\x00", "'on'", '"on"'),
    ],
)
def test_any_other_text_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="in steps of") as refused:
        Stage.parse(text)
    assert STAGE_RULE in str(refused.value)


def test_every_stage_reads_back_what_it_writes() -> None:
    assert [Stage.parse(str(stage)) for stage in EVERY_STAGE] == EVERY_STAGE


@limits(deadline=None)  # times are not asserted
@given(st.text())
def test_no_text_whatever_becomes_a_stage_that_does_not_write_it_back(text: str) -> None:
    try:
        stage = Stage.parse(text)
    except ValueError:
        return
    assert Stage.parse(str(stage)) == stage


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stage("percentage", 10_001),
        lambda: Stage("percentage", -1),
        lambda: Stage("on", 1),
        lambda: Stage("off", 10_000),
        lambda: Stage("internal", 5),
    ],
)
def test_a_stage_with_an_impossible_share_cannot_be_made(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="must be off"):
        make()


# Worked out apart from the code, with: printf 'messaging_v2:<salt>:<id>' | sha256sum | cut -c1-8
@pytest.mark.parametrize(
    ("user_id", "salt", "first_four_bytes"),
    [
        ("00000000-0000-4000-8000-000000000001", "", 0xF5C85861),
        ("ABCDEF01-2345-4678-9ABC-DEF012345678", "", 0x6C7B60FE),
        ("ABCDEF01-2345-4678-9ABC-DEF012345678", "spring", 0x32351064),
        ("abcdef01-2345-4678-9abc-def012345678", "frühling", 0xF29E69E0),
    ],
)
def test_a_bucket_is_the_hash_that_rollout_md_describes(user_id: str, salt: str, first_four_bytes: int) -> None:
    assert bucket(UUID(user_id), salt) == first_four_bytes % 10_000


@limits(deadline=None)  # times are not asserted
@given(st.uuids(), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_bucket_hashes_the_lower_case_text_of_the_id(user_id: UUID, salt: str) -> None:
    digest = hashlib.sha256(f"messaging_v2:{salt}:{str(user_id).lower()}".encode()).hexdigest()
    assert bucket(user_id, salt) == int(digest[:8], 16) % 10_000


@pytest.mark.parametrize("percent", [1, 10, 25, 50, 99])
@pytest.mark.parametrize("salt", ["", "spring"])
def test_the_share_of_100_000_members_is_within_one_point(percent: int, salt: str) -> None:
    stage = Stage.parse(f"percentage:{percent}")
    share = sum(uses_v2(stage, member, in_cohort=False, salt=salt) for member in members()) / len(members())
    assert abs(share * 100 - percent) <= 1


def test_who_is_in_stays_in_at_every_larger_share() -> None:
    shares = [0, 1, 50, 100, 1_000, 2_500, 5_000, 9_900, 9_999, 10_000]
    inside = [
        {member for member in members(20_000) if uses_v2(Stage("percentage", share), member, in_cohort=False)}
        for share in shares
    ]
    assert all(smaller <= larger for smaller, larger in pairwise(inside))
    assert inside[0] == set()
    assert inside[-1] == set(members(20_000))


@limits(deadline=None)  # times are not asserted
@given(st.uuids(), st.text(max_size=8), st.integers(0, 10_000))
def test_a_member_is_in_exactly_when_the_bucket_lies_below_the_share(user_id: UUID, salt: str, share: int) -> None:
    answers = {uses_v2(Stage("percentage", share), user_id, in_cohort=False, salt=salt) for _ in range(3)}
    assert answers == {bucket(user_id, salt) < share}


def test_the_answer_holds_across_stages_and_calls() -> None:
    ten = Stage.parse("percentage:10")
    before = [uses_v2(ten, member, in_cohort=False) for member in members(1_000)]
    for other in (OFF, ON, Stage.parse("percentage:50")):
        for member in members(1_000):
            uses_v2(other, member, in_cohort=False)
    assert [uses_v2(Stage.parse("percentage:10.00"), member, in_cohort=False) for member in members(1_000)] == before


def test_another_salt_draws_other_members() -> None:
    ten = Stage.parse("percentage:10")
    both = sum(
        uses_v2(ten, member, in_cohort=False) and uses_v2(ten, member, in_cohort=False, salt="spring")
        for member in members()
    )
    assert both / len(members()) == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize(
    ("stage", "cohort_in", "others_in"),
    [
        ("off", False, 0),
        ("internal", True, 0),
        ("percentage:0", True, 0),
        ("percentage:0.01", True, None),
        ("percentage:50", True, None),
        ("percentage:100", True, 1_000),
        ("on", True, 1_000),
    ],
)
def test_the_cohort_is_in_from_internal_on_and_never_at_off(stage: str, cohort_in: bool, others_in: int | None) -> None:
    parsed = Stage.parse(stage)
    assert {uses_v2(parsed, member, in_cohort=True) for member in members(1_000)} == {cohort_in}
    outside = sum(uses_v2(parsed, member, in_cohort=False) for member in members(1_000))
    assert others_in is None or outside == others_in


@limits(deadline=None)  # times are not asserted
@given(st.sampled_from(EVERY_STAGE), st.uuids(), st.text(max_size=4))
def test_the_cohort_is_looked_up_only_where_it_can_change_the_answer(stage: Stage, user_id: UUID, salt: str) -> None:
    answers = {uses_v2(stage, user_id, in_cohort=cohort, salt=salt) for cohort in (True, False)}
    assert needs_cohort(stage, user_id, salt=salt) == (len(answers) == 2)


def test_the_cohort_is_never_looked_up_at_off_and_on() -> None:
    assert not any(needs_cohort(stage, member) for stage in (OFF, ON) for member in members(100))
    assert all(needs_cohort(INTERNAL, member) for member in members(100))


TEN = Stage.parse("percentage:10")
HALF = Stage.parse("percentage:50")


def _expected(enabled: bool | None, declared: Stage | None, stopped: bool, stored: str | None) -> Decision:
    """The table of rollout.md, written as a table: the first row that fits, top to bottom."""
    readable = {None: OFF, "percentage:50": HALF, "on": ON, "on\n": ON, "off": OFF}
    rows = [
        (enabled is False, OFF, Source.ENVIRONMENT_ENABLED),
        (stopped, OFF, Source.DATABASE_KILLED),
        (declared is not None, declared, Source.ENVIRONMENT_STAGE),
        (enabled is True, ON, Source.ENVIRONMENT_STAGE),
        (stored is not None, readable.get(stored, OFF), Source.DATABASE_STAGE),
        (True, OFF, Source.DEFAULT),
    ]
    stage, source = next((stage, source) for fits, stage, source in rows if fits)
    assert stage is not None
    return Decision(stage, source, alarm=stored not in readable)


def test_precedence_in_every_combination() -> None:
    combinations = list(
        product(
            (None, True, False),
            (None, OFF, INTERNAL, TEN, ON),
            (False, True),
            (None, "off", "on", "on\n", "percentage:50", "", "ON", "percentage:150", "true"),
        )
    )
    assert len(combinations) == 270
    for enabled, declared, stopped, stored in combinations:
        found = in_force(Declared(enabled, declared), Stored(stored, stopped))
        assert found == _expected(enabled, declared, stopped, stored), (enabled, declared, stopped, stored)


@pytest.mark.parametrize(
    ("environment", "stored", "decision"),
    [
        (Declared(), Stored(), Decision(OFF, Source.DEFAULT)),
        (Declared.of(False, "on"), Stored("on"), Decision(OFF, Source.ENVIRONMENT_ENABLED)),
        (Declared.of(False, None), Stored("on", stopped=True), Decision(OFF, Source.ENVIRONMENT_ENABLED)),
        (Declared.of(True, "on"), Stored("on", stopped=True), Decision(OFF, Source.DATABASE_KILLED)),
        (Declared.of(True, None), Stored("off"), Decision(ON, Source.ENVIRONMENT_STAGE)),
        (Declared.of(True, "percentage:10"), Stored("on"), Decision(TEN, Source.ENVIRONMENT_STAGE)),
        (Declared.of(None, "percentage:10"), Stored("on"), Decision(TEN, Source.ENVIRONMENT_STAGE)),
        (Declared.of(True, "off"), Stored("on"), Decision(OFF, Source.ENVIRONMENT_STAGE)),
        (Declared(), Stored("percentage:50"), Decision(HALF, Source.DATABASE_STAGE)),
        (Declared(), Stored("true"), Decision(OFF, Source.DATABASE_STAGE, alarm=True)),
        (Declared.of(True, None), Stored("true"), Decision(ON, Source.ENVIRONMENT_STAGE, alarm=True)),
    ],
)
def test_precedence_in_the_cases_that_went_wrong_before(
    environment: Declared, stored: Stored, decision: Decision
) -> None:
    assert in_force(environment, stored) == decision


def test_nothing_declared_and_nothing_stored_is_off() -> None:
    assert in_force(Declared()) == Decision(OFF, Source.DEFAULT)


@limits(deadline=None)  # times are not asserted
@given(st.booleans() | st.none(), st.sampled_from([None, *EVERY_STAGE]), st.text() | st.none())
def test_no_stop_is_ever_overruled(enabled: bool | None, declared: Stage | None, stored: str | None) -> None:
    assert in_force(Declared(enabled, declared), Stored(stored, stopped=True)).stage == OFF
    assert in_force(Declared(False, declared), Stored(stored)).stage == OFF


def test_the_sources_have_the_names_that_the_pages_show() -> None:
    assert [str(source) for source in Source] == [
        "environment:enabled",
        "database:killed",
        "environment:stage",
        "database:stage",
        "default",
    ]
