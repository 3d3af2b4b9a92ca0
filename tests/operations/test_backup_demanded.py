"""A database with members is migrated only over a backup that was proved, or for a reason that is remembered."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from care_collective.db import migrate as runner
from care_collective.errors import CareError
from care_collective.operations import backup
from care_collective.operations.backup import archive
from care_collective.operations.startup import as_owner, bring_up, opened, owner_of, remember_verified, silent
from care_collective.settings import Settings, load
from harness import Postgres, care

pytestmark = pytest.mark.usefixtures("own_release")

NEXT = "create table care.next (id uuid not null, constraint next_pkey primary key (id));\n"
NEXT += "comment on table care.next is 'Of the release to come.';\n"


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The release to come, with one more migration."""
    original = runner._read
    monkeypatch.setattr(
        runner, "_read", lambda folder: {**original(folder), **({"9999_next": NEXT} if folder == "migrations" else {})}
    )


@pytest.fixture
async def inhabited(postgres: Postgres) -> AsyncIterator[Settings]:
    """A server's database with a member."""
    name = await postgres.create()
    async with care(postgres, name) as opened_:
        await (await opened_.town()).member()
    yield load({"HOME": "/", "DATABASE_URL": postgres.server.dsn(database=name)})
    await postgres.drop(name)


async def _run(settings: Settings, statement: str) -> None:
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(statement)
    await connection.close()


async def _events(settings: Settings) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(settings.database_url)
    rows = await connection.fetch("select event, reason, done_by from care.backups order by created_at")
    await connection.close()
    return [tuple(row) for row in rows]


async def _backed_up(settings: Settings, folder: Path) -> archive.Archive:
    made = await backup.make(str(settings.database_url), "DATABASE_URL", folder, tell=silent)
    return made.archive


@pytest.mark.usefixtures("upgraded")
async def test_a_database_with_members_wants_a_backup_of_its_own_proved_today(
    postgres: Postgres, inhabited: Settings, tmp_path: Path
) -> None:
    # Nobody has run this release here: its ledger of backups is not there yet.
    await _run(inhabited, "drop table care.backups")
    words = "no backup of it was made and verified within 24 hours"
    with pytest.raises(CareError, match=words):
        await bring_up(inhabited)
    kept = await _backed_up(inhabited, tmp_path)
    with pytest.raises(CareError, match=words):  # made is not proved
        await bring_up(inhabited)

    other = load({"HOME": "/", "DATABASE_URL": postgres.server.dsn(database=await postgres.create())})
    assert await remember_verified(other, kept) == "it is of another database than this deployment's"
    assert await _events(other) == []

    assert await remember_verified(inhabited, kept) is None
    for aged in ("created_at", "made_at"):
        await _run(inhabited, f"update care.backups set {aged} = {aged} - interval '24 hours'")
        with pytest.raises(CareError, match=words):
            await bring_up(inhabited)
        await _run(inhabited, f"update care.backups set {aged} = {aged} + interval '24 hours'")
    await _run(inhabited, "update care.backups set origin = 'another/1'")
    with pytest.raises(CareError, match=words):
        await bring_up(inhabited)
    await _run(inhabited, f"update care.backups set origin = '{kept.manifest.origin}'")
    assert [m.name for m in (await bring_up(inhabited)).migrations] == ["9999_next"]
    assert (await bring_up(inhabited)).empty  # and nothing is asked where nothing is to do


@pytest.mark.usefixtures("upgraded")
async def test_a_reason_stands_in_for_a_backup_and_is_remembered(inhabited: Settings) -> None:
    await bring_up(inhabited, without_backup="The volume was just copied.")
    event, reason, who = (await _events(inhabited))[0]
    assert (event, reason) == ("waived", "The volume was just copied.")
    assert "@" in str(who)
    await bring_up(inhabited, without_backup="Once more.")
    assert len(await _events(inhabited)) == 1  # nothing was to do, so nothing was waived


@pytest.mark.usefixtures("upgraded")
async def test_a_database_without_members_wants_none(postgres: Postgres) -> None:
    for template in ("care_template", "template0"):
        name = await postgres.create(template=template)
        await bring_up(load({"HOME": "/", "DATABASE_URL": postgres.server.dsn(database=name)}))
        await postgres.drop(name)


async def test_new_functions_alone_want_none(inhabited: Settings) -> None:
    await _run(inhabited, "update care.schema_functions set checksum = 'older' where room = 'inbox'")
    assert (await bring_up(inhabited)).rooms == ("inbox",)


async def test_an_embedded_database_is_backed_up_by_itself_before_an_upgrade(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"CARE_DATA_DIR": str(state_folder / "upgrade")})
    backups = settings.data_dir / "backups"
    async with opened(settings) as deployment, owner_of(deployment) as owner:
        await owner.pool.execute("insert into public.communities (slug, name) values ('here', 'Here')")
        await owner.pool.execute(
            "insert into public.profiles (community_id, user_id, display_name) "
            "select id, gen_random_uuid(), 'Ann' from public.communities"
        )
    assert not backups.exists()
    original = runner._read
    monkeypatch.setattr(
        runner, "_read", lambda folder: {**original(folder), **({"9999_next": NEXT} if folder == "migrations" else {})}
    )
    told: list[str] = []
    async with opened(settings, tell=told.append):
        pass
    assert told.index("Writing the backup") < told.index("Restoring it there")
    assert told.index("Restoring it there") < told.index("Bringing the database up to this release")
    (made,) = backups.iterdir()
    kept = archive.read(made)
    assert kept.manifest.tables["public.profiles"].rows == 1
    assert "care.next" not in kept.manifest.tables
    async with as_owner(settings) as owner:
        assert await owner.pool.fetchval("select file_sha256 from care.backups") == kept.sha256
    assert len(list(backups.iterdir())) == 1
