"""What every write answers. A time always knows its zone."""

from datetime import datetime
from typing import Annotated

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a write. `replayed`: this key had been answered before, and this is that answer again."""

    replayed: bool = False


class Done(Written, frozen=True, kw_only=True):
    """A change that was made; `status` is what it led to."""

    status: str | None = None
