"""The commands that look after a deployment, one after another on one embedded database."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from care_collective.cli import show
from care_collective.db.embedded import running
from cli.process import Shell

COMMANDS = [
    ["serve"],
    ["demo"],
    ["migrate"],
    ["doctor"],
    ["types"],
    ["openapi"],
    ["member"],
    *(["member", verb] for verb in ("invite", "password", "approve", "reject", "role", "list")),
    ["community"],
    *(["community", verb] for verb in ("add", "set", "list")),
    ["rollout"],
    *(
        ["rollout", verb]
        for verb in ("status", "set", "kill", "resume", "history", "simulate", "replay", "preflight", "incident")
    ),
    ["rollout", "rule"],
    *(["rollout", "rule", verb] for verb in ("list", "set")),
    ["rollout", "cohort"],
    *(["rollout", "cohort", verb] for verb in ("add", "remove", "list")),
    ["legacy"],
    *(["legacy", verb] for verb in ("status", "repair", "migrate", "verify", "retire")),
    ["mail"],
    *(["mail", verb] for verb in ("status", "retry")),
    ["bench"],
    *(
        ["bench", verb]
        for verb in ("create", "send", "inbox", "thread", "compare", "flag", "start", "latency", "live", "all")
    ),
]


@pytest.fixture(scope="module")
def shell(state_folder: Path) -> Shell:
    """An embedded deployment of this module's, empty at first."""
    return Shell(state_folder / "cli")


# What one process says to each of these, since to start is most of what an explanation takes: code and words.
EXPLAIN = """
import contextlib, io, json, sys
from care_collective import cli

def explained(command):
    sys.argv[1:] = [*command, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            cli.main()
        except SystemExit as end:
            return end.code, out.getvalue()

program, *given = sys.argv
sys.argv = [cli.__file__.replace("cli/__init__", "__main__")]
print(json.dumps([explained(command.split()) for command in given]))
"""


@pytest.fixture(scope="module")
def explained(shell: Shell) -> dict[str, tuple[int, str]]:
    """What each command says of itself."""
    names = [" ".join(command) for command in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", EXPLAIN, *names], env=shell.environ(), capture_output=True, text=True, check=True
    )
    return dict(zip(names, json.loads(done.stdout), strict=True))


@pytest.fixture
async def beside(shell: Shell) -> AsyncIterator[None]:
    """The deployment's PostgreSQL runs meanwhile, as beside `serve`: many commands need not start it each."""
    async with running(shell.state / "postgres"):
        yield


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(explained: dict[str, tuple[int, str]], command: list[str]) -> None:
    code, out = explained[" ".join(command)]
    assert code == 0
    leaf = command not in (
        ["member"],
        ["community"],
        ["bench"],
        ["legacy"],
        ["mail"],
        ["rollout"],
        ["rollout", "cohort"],
        ["rollout", "rule"],
    )
    assert ("Example" in out) == leaf
    assert not leaf or f"\n   scripts/serve {' '.join(command)}" in out


def test_a_path_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "program", lambda: "scripts/serve")
    said = show.spoken("There is none in /var/lib/care-collective yet. Run `care-collective migrate`.")
    assert said == "There is none in /var/lib/care-collective yet. Run `scripts/serve migrate`."


def test_help_and_version_load_neither_driver_nor_web(shell: Shell) -> None:
    heavy = "{'asyncio', 'asyncpg', 'litestar', 'msgspec', 'uvicorn'}"
    code = f"import sys, care_collective.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=shell.environ()).returncode == 0
    assert shell.run("--version").out == "care-collective, version 0.1.0\n"
    assert shell.run("--help").code == 0


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["serve", "--port", "70000"], ["member", "invite", "no address", "--name", "A"]],
    ids=" ".join,
)
def test_wrong_usage_is_2(shell: Shell, arguments: list[str]) -> None:
    assert shell.run(*arguments).code == 2


@pytest.mark.parametrize("command", ["serve", "demo", "migrate", "doctor"])
def test_a_wrong_setting_is_2_and_one_line(shell: Shell, command: str) -> None:
    refused = shell.run(command, CARE_LOG="loud")
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err.startswith("care-collective: CARE_LOG is 'loud': must be")
    assert refused.err.count("\n") == 1


def test_a_server_that_is_not_there_is_2_and_one_line(shell: Shell) -> None:
    refused = shell.run("doctor", DATABASE_URL="postgresql://care:hunter2@127.0.0.1:1/care")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "hunter2" not in refused.err


LOOKING = [["doctor"], ["doctor", "--deployed"], ["migrate", "--check"]]


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_looking_makes_no_database(state_folder: Path, command: list[str]) -> None:
    """As with a mistyped CARE_DATA_DIR: no violations in a database just made would be a lie."""
    mistyped = Shell(state_folder / "mistyped")
    refused = mistyped.run(*command)
    assert (refused.code, refused.out) == (2, "")
    assert f"There is no database in {mistyped.state}" in refused.err
    assert "scripts/serve migrate" in refused.err
    assert not mistyped.state.exists()
    data = mistyped.state / "postgres" / "data"
    data.mkdir(parents=True)
    assert mistyped.run(*command).code == 2
    assert [path for path in mistyped.state.rglob("*") if path not in (data, data.parent)] == []
    data.rmdir()
    data.parent.rmdir()
    mistyped.state.rmdir()


async def test_looking_makes_nothing_in_a_server_without_our_database(state_folder: Path) -> None:
    """What is left where the first start was killed right after PostgreSQL's own."""
    shell = Shell(state_folder / "half-made")
    async with running(shell.state / "postgres"):
        pass
    for command in LOOKING:
        refused = shell.run(*command)
        assert (refused.code, refused.out) == (2, "")
        assert f"There is no database in {shell.state}" in refused.err
    async with running(shell.state / "postgres") as server:
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("create database care")
        await connection.close()
    assert shell.run("doctor").code == shell.run("doctor", "--deployed").code == 2
    empty = shell.run("migrate", "--check", "--json")
    assert empty.code == 1
    assert "0002_core" in empty.json["to_do"]["migrations"]
    assert not empty.json["up_to_date"]


def test_migrate_makes_what_is_missing_once(shell: Shell) -> None:
    done = shell.run("migrate")
    assert done.code == 0
    assert "Done: migration 0002_core" in done.out
    after = shell.run("migrate", "--check", "--json")
    assert after.code == 0
    assert after.json == {"up_to_date": True, "to_do": {"migrations": [], "functions": []}}


async def test_looking_migrates_no_database(shell: Shell) -> None:
    async with running(shell.state / "postgres") as server:
        connection = await asyncpg.connect(server.dsn(database="care"))
        await connection.execute("update care.schema_functions set checksum = 'older' where room = 'inbox'")
        await connection.close()
    for arguments, words in (([], "are not this release's"), (["--deployed"], "written by another release")):
        refused = shell.run("doctor", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert words in refused.err
        assert "scripts/serve migrate" in refused.err
    behind = shell.run("migrate", "--check", "--json")
    assert (behind.code, behind.json["to_do"]) == (1, {"migrations": [], "functions": ["inbox"]})
    assert shell.run("migrate").code == 0


def test_members_need_a_community(shell: Shell) -> None:
    refused = shell.run("member", "list")
    assert refused.code == 2
    assert "community add SLUG" in refused.err


@pytest.mark.usefixtures("beside")
def test_a_community_is_added_changed_and_listed(shell: Shell) -> None:
    assert "none yet" in shell.run("community", "list").out
    given = ["--name", "Linden Row", "--host", "Help.Example.org", "--time-zone", "Europe/Lisbon"]
    added = shell.run("community", "add", "linden-row", *given, "--json")
    assert added.code == 0
    assert added.json["hosts"] == ["help.example.org"]
    for wrong in (
        ["linden-row", "--name", "Again"],
        ["other", "--name", "Other", "--host", "help.example.org"],
        ["other", "--name", "Other", "--time-zone", "Mars/Olympus"],
        ["other", "--name", " "],
        ["Not A Slug", "--name", "Other"],
    ):
        refused = shell.run("community", "add", *wrong)
        assert refused.code == 1, refused
        assert refused.err.count("\n") == 1
    changed = shell.run("community", "set", "linden-row", "--host", "", "--emergency-line", "112", "--json").json
    assert (changed["hosts"], changed["emergency_line"], changed["name"]) == ([], "112", "Linden Row")
    assert shell.run("community", "set", "linden-row").code == 2
    assert shell.run("community", "set", "nowhere", "--name", "X").code == 2
    assert [c["slug"] for c in shell.run("community", "list", "--json").json["communities"]] == ["linden-row"]


@pytest.mark.usefixtures("beside")
def test_members_are_invited_judged_and_given_roles(shell: Shell) -> None:
    invited = shell.run("member", "invite", "Rosa@Example.org", "--name", "Rosa", "--coordinator", "--json")
    assert invited.code == 0
    assert invited.json["email"] == "rosa@example.org"
    assert len(invited.json["password"]) == 19
    assert shell.run("member", "invite", "rosa@example.org", "--name", "Rosa").code == 1
    assert shell.run("member", "role", "rosa@example.org", "operator").code == 0
    assert shell.run("member", "reject", "rosa@example.org", "--reason", "Moved away.").code == 0
    rejected = shell.run("member", "list", "--status", "rejected", "--json").json["members"]
    assert [(m["is_coordinator"], m["is_operator"]) for m in rejected] == [(True, True)]
    plain = shell.run("member", "role", "rosa@example.org", "member").out
    assert "They are still an operator of the deployment; " in plain
    assert "member role rosa@example.org operator --take takes that away." in plain
    assert shell.run("member", "role", "rosa@example.org", "member", "--take").code == 2
    taken = shell.run("member", "role", "rosa@example.org", "operator", "--take")
    assert (taken.code, taken.out) == (0, "rosa@example.org is no operator any more.\n")
    assert shell.run("member", "approve", "rosa@example.org").code == 0
    assert "rosa@example.org" in shell.run("member", "list").out
    absent = shell.run("member", "approve", "nobody@example.org")
    assert absent.code == 1
    assert "is no member of linden-row" in absent.err


@pytest.mark.usefixtures("beside")
def test_a_forgotten_password_is_replaced_where_no_letters_are_sent(shell: Shell) -> None:
    first, second = (shell.run("member", "password", "rosa@example.org", "--json").json for _ in range(2))
    assert len(first["password"]) == 19
    assert first["password"] != second["password"]
    assert "shown only here: " in shell.run("member", "password", "rosa@example.org").out
    assert shell.run("member", "password", "nobody@example.org").code == 1


@pytest.mark.usefixtures("beside")
def test_what_was_decided_is_shown_as_json(shell: Shell) -> None:
    email = "rosa@example.org"
    user_id = shell.run("member", "list", "--json").json["members"][0]["user_id"]
    rejected = shell.run("member", "reject", email, "--reason", "Moved away.", "--json")
    who = {"user_id": user_id, "email": email, "since": rejected.json["since"], "address_proved": False}
    assert (rejected.code, rejected.json) == (0, {**who, "is_operator": False, "verification_status": "rejected"})
    approved = shell.run("member", "approve", email, "--json")
    assert (approved.code, approved.json) == (0, {**who, "is_operator": False, "verification_status": "approved"})
    operator = shell.run("member", "role", email, "operator", "--json")
    assert (operator.code, operator.json) == (0, {**who, "is_operator": True, "role": "operator"})


@pytest.mark.usefixtures("beside")
def test_with_several_communities_one_has_to_be_named(shell: Shell) -> None:
    assert shell.run("community", "add", "harbour", "--name", "Harbour").code == 0
    refused = shell.run("member", "list")
    assert refused.code == 2
    assert "--community: harbour, linden-row" in refused.err
    known = shell.run("member", "invite", "rosa@example.org", "--name", "Rosa", "--community", "harbour", "--json")
    # Whoever had made the account elsewhere has not proved the address.
    assert (len(known.json["password"]), known.json["had_account"]) == (19, True)
    given = shell.run("member", "role", "rosa@example.org", "coordinator", "--community", "harbour", "--json").json
    assert (given["email"], given["address_proved"], given["since"][:2]) == ("rosa@example.org", False, "20")
    assert shell.run("community", "add", "hill", "--name", "Hill").code == 0
    said = shell.run("member", "invite", "rosa@example.org", "--name", "Rosa", "--community", "hill").out
    assert "They had an account; its password is replaced by " in said
    for verb in (("approve", "rosa@example.org"), ("role", "rosa@example.org", "operator")):
        assert "Nobody has proved the address yet." in shell.run("member", *verb, "--community", "hill").out


async def test_doctor_finds_what_must_not_be(shell: Shell) -> None:
    sound = shell.run("doctor", "--json")
    assert (sound.code, sound.json) == (0, {"violations": []})
    async with running(shell.state / "postgres") as server:
        connection = await asyncpg.connect(server.dsn(database="care"))
        await connection.execute(
            "insert into public.conversation_members "
            "(community_id, conversation_id, user_id, version, last_activity_at) "
            "select community_id, gen_random_uuid(), user_id, 'v2', now() from public.profiles limit 1"
        )
        await connection.close()
    found = shell.run("doctor", "--json")
    assert found.code == 1
    assert [(v["kind"], v["engine"]) for v in found.json["violations"]] == [("member_without_conversation", "v2")]
    told = shell.run("doctor").out
    assert "member_without_conversation  v2" in told
    assert told.count("\nmember_without_conversation: The inbox passes over such a row. No command mends it.") == 1
