"""The list before a stage: each line says no for its own reason, and yes once that is mended."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import pytest

from care_collective.db.call import Database
from care_collective.operations.backup.make import ORIGIN
from care_collective.rollout.policy import INTERNAL, Stage
from care_collective.rollout.preflight import Line, Preflight, following, preflight
from care_collective.settings import Settings, load
from harness import Care, Postgres, care

WELL = {"CARE_ALERT_URL": "https://alerts.example.org/care", "CARE_DATA_DIR": "/nowhere"}


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment for which every line is a yes."""

    care: Care

    async def list(self, stage: Stage | None = INTERNAL, environ: Mapping[str, str] = {}) -> Preflight:
        """The list, with these settings beside what is well."""
        settings: Settings = load({**WELL, **environ})
        return await preflight(Database(self.care.owner), settings, stage=stage, tell=lambda _: None)

    async def noes(self, **environ: str) -> dict[str, Line]:
        """The lines that are a no."""
        found = await self.list(environ=environ)
        assert found.ready == all(line.yes for line in found.lines if not line.advice)
        assert all((line.do is None) == line.yes for line in found.lines)
        return {line.question: line for line in found.lines if not line.yes}

    async def run(self, statement: str, *arguments: object) -> None:
        """Changes what the list asks about."""
        await self.care.owner.execute(statement, *arguments)


@pytest.fixture(scope="module")
async def site(postgres: Postgres) -> AsyncIterator[Site]:
    """One for all tests of this file, which mend what they break."""
    name = await postgres.create()
    async with care(postgres, name, size=2) as opened:
        town = await opened.town()
        olga = await town.member("Olga")
        made = Site(opened)
        await made.run("insert into care.operators (user_id, granted_by) values ($1, 'test')", olga.user_id)
        await made.run(
            "insert into care.backups (event, file_name, file_sha256, origin, made_at, row_counts, release, done_by) "
            f"values ('verified', 'a.dump', 'sum', ({ORIGIN}), now(), '{{}}', '0.1.0', 'test')"
        )
        await made.run(
            "insert into care.rollout_nodes (node_id, name, release, seen_at, generation, stage, source) "
            "values ($1, 'one', '0.1.0', now() + interval '10 minutes', 1, 'off', 'database:stage')",
            uuid4(),
        )
        yield made
    await postgres.drop(name)


async def test_where_all_is_well_every_line_is_a_yes(site: Site) -> None:
    found = await site.list(None)
    assert (found.stage, found.ready, len(found.lines)) == ("internal", True, 9)


async def test_what_the_deployment_lacks_is_a_no_each(site: Site) -> None:
    await site.run("update care.backups set made_at = now() - interval '25 hours'")
    await site.run("update care.rollout_nodes set release = '0.0.9', source = 'environment:stage'")
    await site.run("update care.rollout_flags set stage = 'half'")
    await site.run("update care.users set deleted_at = now(), email = 'deleted:' || id")
    town = await site.care.town()
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    await site.run(
        "insert into public.conversations_v2 (community_id, help_request_id, requester_id, helper_id, initial_message) "
        "values ($1, $2, $3, $4, 'A conversation without its members.')",
        town.community_id, request, owner.user_id, helper.user_id,
    )  # fmt: skip
    await site.run("grant select on public.messages_v2 to care_app")
    noes = await site.noes(CARE_ALERT_URL="", MESSAGING_V2_ROLLOUT="on")
    assert {question: line.found for question, line in noes.items()} == {
        "A backup was verified within 24 hours": "none of this database was",
        "Functions and rights are as they must be": noes["Functions and rights are as they must be"].found,
        "Every node runs this release": "one runs 0.0.9",
        "The flag can be read and is not stopped": "the stage is no stage, hence it is off",
        "The environment declares no stage": "one, this command's environment",
        "No violation in V2": "2 violations, 0 orphans in V1",
        "There is an operator": "nobody is",
        "Alerts reach somebody": "the log only",
    }
    assert "messages_v2" in noes["Functions and rights are as they must be"].found

    await site.run("revoke select on public.messages_v2 from care_app")
    await site.run("delete from public.conversations_v2")
    await site.run("update care.users set deleted_at = null")
    await site.run("update care.rollout_flags set stage = 'off'")
    await site.run("update care.rollout_nodes set release = '0.1.0', source = 'database:stage'")
    await site.run("update care.backups set made_at = now()")
    assert await site.noes() == {}


async def test_a_deployment_without_alerts_is_told_so_and_held_back_by_nothing(site: Site) -> None:
    found = await site.list(environ={"CARE_ALERT_URL": ""})
    assert [(line.question, line.advice) for line in found.lines if not line.yes] == [("Alerts reach somebody", True)]
    assert found.ready


async def test_a_stop_is_a_no_that_names_who_and_why(site: Site) -> None:
    await site.run("select care.stop_rollout('messaging_v2', 'kill', 'Olga', null, 'errors', 'Offers fail.')")
    assert [line.found for line in (await site.noes()).values()] == ["stopped by Olga (errors)"]
    await site.run("select care.resume_rollout('messaging_v2', 'internal', 'Olga', null, 'Mended.')")
    assert (await site.list(None)).stage == "percentage:10"


async def test_a_database_that_is_behind_or_has_lost_a_function_is_told_of_and_all_else_is_still_asked(
    site: Site,
) -> None:
    await site.run("update care.schema_functions set checksum = 'old' where room = 'doctor'")
    await site.run("alter function care.rollout_json(text, integer) rename to rollout_json_lost")
    noes = await site.noes()
    assert noes["The database is this release's"].found == "waiting: migrations 0, files of functions 1"
    assert "another release" in noes["Functions and rights are as they must be"].found
    assert "database has no answer" in noes["The flag can be read and is not stopped"].found
    assert "A backup was verified within 24 hours" not in noes
    await site.run("alter function care.rollout_json_lost(text, integer) rename to rollout_json")
    assert "another release" in (await site.noes())["Functions and rights are as they must be"].found


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("off", "internal"),
        ("internal", "percentage:10"),
        ("percentage:2.5", "percentage:10"),
        ("percentage:10", "percentage:50"),
        ("percentage:50", "on"),
        ("on", "on"),
        ("half", "internal"),
    ],
)
def test_the_usual_next_stage(now: str, then: str) -> None:
    assert str(following(now)) == then
