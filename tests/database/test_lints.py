"""Other people's lints over our SQL: squawk (migrations), pgspot (search path), plpgsql_check (function bodies)."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import care_collective
from care_collective.db.migrate import migrations, rooms
from harness import Care

SQL = Path(care_collective.__file__).parent / "sql"
TOOLS = Path(sys.executable).parent
SQUAWK_EXCLUDED = {
    "prefer-robust-stmts",  # the runner makes each file one transaction
    "require-concurrent-index-creation",  # a migration is one transaction
    "require-lock-timeout",  # the runner sets both
    "require-statement-timeout",
    "prefer-bigint-over-int",  # counters of one conversation or one member
}
PGSPOT_EXCLUDED = {
    # `create or replace` takes over no stranger's object: care_owner may not replace what it does not own.
    "PS002",
    "PS015",
}
# The view care.threads: its names are resolved once, when the runner makes it, under the runner's closed search path.
PGSPOT_KNOWN = re.compile(r"'>=' in c\.last_seq >= 0|in CAST\(('v1'|'v2'|NULL) AS text\)")


def test_squawk_finds_nothing_in_the_migrations() -> None:
    done = subprocess.run(
        [TOOLS / "squawk", "--reporter", "json", "--pg-version", "15.0", *sorted((SQL / "migrations").glob("*.sql"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [f for f in json.loads(done.stdout) if f["rule_name"] not in SQUAWK_EXCLUDED]
    assert found == []


def test_pgspot_finds_nothing_in_what_the_runner_runs(tmp_path: Path) -> None:
    # The tables are made under the runner's search path; the functions have to bring their own.
    (tmp_path / "tables.sql").write_text(
        "set search_path = pg_catalog, pg_temp;\n" + "".join(migration.text for migration in migrations())
    )
    (tmp_path / "functions.sql").write_text("".join(rooms().values()))
    for name in ("tables.sql", "functions.sql"):
        done = subprocess.run([TOOLS / "pgspot", tmp_path / name], capture_output=True, text=True, check=False)
        found = re.findall(r"^(PS\d+): (.*)$", done.stdout, flags=re.MULTILINE)
        assert [f for f in found if f[0] not in PGSPOT_EXCLUDED and not PGSPOT_KNOWN.search(f[1])] == []
        assert "Unknown: 0" in done.stdout


async def test_plpgsql_check_finds_nothing_in_any_function(scratch: Care) -> None:
    available = await scratch.owner.fetchval(
        "select count(*) from pg_available_extensions where name = 'plpgsql_check'"
    )
    if not available:
        ours = scratch.server.version == 18
        assert ours or "CI" not in os.environ, "install postgresql-15-plpgsql-check: CI checks every function"
        why = "is no part of the embedded server" if ours else "is in Debian's postgresql-15-plpgsql-check; CI has it"
        pytest.skip(f"plpgsql_check {why}")
    await scratch.owner.execute("create schema lint; create extension plpgsql_check schema lint")

    async def found() -> set[str]:
        rows = await scratch.owner.fetch(
            "select p.proname || ': ' || c.message as found from pg_proc p "
            "join pg_language l on l.oid = p.prolang "
            "cross join lateral lint.plpgsql_check_function_tb(p.oid, other_warnings => true, extra_warnings => true, "
            "security_warnings => true, performance_warnings => false) c "
            "where l.lanname = 'plpgsql' and p.pronamespace in ('public'::regnamespace, 'care'::regnamespace)"
        )
        return {row["found"] for row in rows}

    assert await found() == set()
    await scratch.owner.execute(
        "create function care.planted() returns void language plpgsql as "
        "$$ begin perform p.nothing from public.profiles p; end $$"
    )
    assert await found() == {"planted: column p.nothing does not exist"}
