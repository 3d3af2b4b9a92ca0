"""Makes the API's answers from the functions' own."""

import msgspec
from litestar import Response

from care_collective.db.call import Answer

REPLAYED = "Idempotency-Replayed"


def passed_on(answer: Answer, *, status: int = 200) -> Response[bytes]:
    """A function's JSON as it came. Errors: its refusal as CareError."""
    replayed = REPLAYED in answer.headers
    return reply(answer.success().encode(), status=status, replayed=replayed)


def made(value: object, *, status: int = 200, replayed: bool = False) -> Response[bytes]:
    """An answer made here."""
    return reply(msgspec.json.encode(value), status=status, replayed=replayed)


def reply(content: bytes, *, status: int, replayed: bool) -> Response[bytes]:
    """JSON with its status, marked when it is an earlier call's answer."""
    headers = {REPLAYED: "true"} if replayed else {}
    return Response(content, status_code=status, headers=headers, media_type="application/json")
