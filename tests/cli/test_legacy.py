"""The commands for V1, one after another as an operator takes them, beside a server of one's own."""

from pathlib import Path
from uuid import uuid4

from cli.process import Outcome, Shell
from engines.stage import V1, half_open
from harness import Care


async def test_the_end_of_v1_in_the_order_of_its_commands(scratch: Care, state_folder: Path) -> None:
    town = await scratch.town()
    owner, helper = await town.member("Olga"), await town.member("Hal")
    conversation, short = [await V1.opened(helper, await town.request(owner)) for _ in range(2)]
    await scratch.owner.execute(
        "update public.messages set content = 'Hello' where conversation_id = $1 and seq = 0", short
    )
    orphan = await half_open(helper, await town.request(owner))
    await scratch.owner.execute(
        "update public.conversations set updated_at = now() - interval '2 hours' where last_seq < 0"
    )
    shell = Shell(state_folder / "legacy")

    def run(*arguments: str) -> Outcome:
        return shell.run("legacy", *arguments, DATABASE_URL=scratch.server.dsn(database=scratch.name))

    shown = run("status")
    assert shown.code == 0
    assert "Conversations in V1: 2 active; moved to V2: 0" in shown.out
    assert str(orphan) in shown.out
    assert "V1 may not retire: V2 is at off" in shown.out

    tried = run("repair", "--dry-run", "--json")
    assert [(one["kind"], one["done"]) for one in tried.json["repaired"]] == [("orphan", False)]
    assert "mended" in run("repair").out
    assert await scratch.violations() == []

    moved = run("migrate", "--all")
    assert moved.code == 1
    assert "Moved: 1; stay in V1: 1" in moved.out
    assert "fewer than 10 characters" in moved.out
    again = run("migrate", str(conversation), "--json")
    assert (again.code, again.json["moved"], again.json["already"]) == (0, 0, 1)
    assert run("migrate").code == 2
    unknown = run("migrate", str(uuid4()))
    assert (unknown.code, unknown.out) == (1, "")

    assert run("verify").out.endswith("All of them are as they were moved.\n")
    await scratch.owner.execute("update public.conversations_v2 set initial_message = 'Quite other words'")
    harmed = run("verify", "--json")
    assert (harmed.code, [one["wrong"] for one in harmed.json["found"]]) == (1, ["content"])

    refused = run("retire", "--why", "It is time")
    assert refused.code == 1
    assert "V1 may not retire yet" in refused.err
    assert run("retire", "--why", "It has to be", "--force").out.startswith("V1 is retired")
    assert run("status", "--json").json["retire"]["retired_at"] is not None
    assert run("retire", "--undo", "--why", "Not yet").out.startswith("V1 is back")
