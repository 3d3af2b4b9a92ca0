"""The typed client for other people's programs: `CareClient`, what its calls answer, what they raise.

Needs httpx and msgspec alone, and of this project only the codes.
"""

from care_collective.client.client import CareClient
from care_collective.client.errors import (
    CareClientError,
    Conflict,
    ConnectionFailed,
    ConversationExists,
    Failed,
    HelpRequestUnavailable,
    IdempotencyMismatch,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    RateLimited,
    Refused,
    RpcError,
    ServerError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnreadableAnswer,
    UnsupportedMediaType,
    ValidationFailed,
)
from care_collective.client.session import Credentials

__all__ = [
    "CareClient",
    "CareClientError",
    "Conflict",
    "ConnectionFailed",
    "ConversationExists",
    "Credentials",
    "Failed",
    "HelpRequestUnavailable",
    "IdempotencyMismatch",
    "MethodNotAllowed",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "Refused",
    "RpcError",
    "ServerError",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnreadableAnswer",
    "UnsupportedMediaType",
    "ValidationFailed",
]
