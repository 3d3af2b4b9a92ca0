"""The switch in operators' hands: one call for whatever they ask. Who may, and what is wrong, SQL says, and audits."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from care_collective.db.call import Answer, Caller, Database
from care_collective.rollout.policy import Stage, is_for_all


async def operate(database: Database, caller: Caller, action: str, arguments: Mapping[str, str | None]) -> Answer:
    """What an operator does as themselves: see, set, kill, resume, cohort_add or cohort_remove.

    `arguments` are flag, stage, why, email and reason, those that the action takes; absent ones may be None.
    """
    return await database.call("care.operate_rollout", caller, p_action=action, p_arguments=_json(arguments))


async def command(
    owner: Database, action: str, arguments: Mapping[str, str | None], *, by: str | None, login: str
) -> Answer:
    """The same from the command line, with the owner's database: by an operator's address or a login of the machine."""
    return await owner.call(
        "care.command_rollout", p_action=action, p_arguments=_json(arguments), p_as=by, p_login=login
    )


def _json(arguments: Mapping[str, str | None]) -> str:
    given = {name: value for name, value in arguments.items() if value is not None}
    return msgspec.json.encode(given).decode()


class Reach(msgspec.Struct, frozen=True):
    """A live node after a change: after how many seconds it had it in force, None while it has not said so."""

    node_id: UUID
    name: str
    seconds: float | None
    stage: str
    source: str


class _Node(msgspec.Struct, frozen=True):
    node_id: UUID
    name: str
    generation: int
    reached_at: datetime
    stage: str
    source: str


async def reach(
    owner: Database, *, generation: int, since: datetime, wait_seconds: float = 5.0, look_seconds: float = 0.02
) -> list[Reach]:
    """Every live node, once all have reported `generation` or `wait_seconds` have passed.

    `since` is the change's own time. The seconds are the database's: both ends are by its clock.
    """
    ends = time.monotonic() + wait_seconds
    while True:
        nodes = msgspec.json.decode(await owner.value("care.rollout_nodes_json"), type=list[_Node])
        if all(node.generation >= generation for node in nodes) or time.monotonic() > ends:
            return [_reach(node, generation, since) for node in nodes]
        await asyncio.sleep(look_seconds)


def _reach(node: _Node, generation: int, since: datetime) -> Reach:
    there = node.generation >= generation
    seconds = max(0.0, (node.reached_at - since).total_seconds()) if there else None
    return Reach(node.node_id, node.name, seconds, node.stage, node.source)


def features(nodes: Iterable[Reach]) -> bool | None:
    """What /api/features answers for nobody, by what the nodes say is in force; None where no node is there."""
    stages = [Stage.parse(node.stage) for node in nodes]
    return any(is_for_all(stage) for stage in stages) if stages else None


async def look(owner: Database, flag: str, *, changes: int = 20) -> dict[str, Any]:
    """A flag whole, with its newest changes. Errors: CareError `validation_error` for one that there is not."""
    found: dict[str, Any] = (await owner.call("care.rollout_json", p_flag=flag, p_changes=changes)).data()
    return found
