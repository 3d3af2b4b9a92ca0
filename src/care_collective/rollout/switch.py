"""The switch in operators' hands: one call for whatever they ask. Who may, and what is wrong, SQL says, and audits."""

from collections.abc import Mapping

import msgspec

from care_collective.db.call import Answer, Caller, Database


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
