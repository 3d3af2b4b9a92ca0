"""What tests over HTTP stand on: the settings of a node, its services, and the type of what makes clients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from care_collective.settings import Settings
from care_collective.web.services import Services, make_services
from harness import Care, Person

SETTINGS = Settings(
    data_dir=Path("unused"),
    base_url="http://care.example",
    secret_key="a secret key for tests, of 32 bytes",
    jwt_secret="a token secret for tests, 32 bytes or so",
)

Client = httpx.AsyncClient
MakeClient = Callable[[Person | None], Client]


def services_for(care: Care, **changes: Any) -> Services:  # noqa: ANN401
    """The services of one node on a database, with settings changed."""
    return make_services(msgspec.structs.replace(SETTINGS, **changes), care.database)
