"""Hashes and checks passwords with argon2id, a bounded number at a time, off the event loop.

Must not know accounts, sessions or limits on attempts, and never logs or returns a password.
"""

import asyncio
import base64
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Final, TypeVar

import argon2
import msgspec
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError

from care_collective.errors import CareError, Code
from care_collective.text import Limits

# OWASP's minimum (Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane), not RFC 9106's low-memory profile
# (64 MiB, 3 passes, 4 lanes): on the two cores shared with PostgreSQL the latter took 126 ms with every core
# busy and gave 11 sign-ins a second, the former 19 ms and 90 a second, so a full queue waits 0.4 s, not 3 s.
# One lane keeps the CPU within the pool's threads. Raising these is safe: `verify` then asks for a rehash.
PARAMETERS: Final = argon2.Parameters(
    type=argon2.Type.ID, version=19, salt_len=16, hash_len=32, time_cost=2, memory_cost=19456, parallelism=1
)
WORKERS: Final = 2
WAITING: Final = 32
SHORTEST: Final = 10
LONGEST: Final = 200
LENGTH: Final = Limits(SHORTEST, LONGEST)
# Before normalisation, which is quadratic in runs of combining marks. One code point of NFC can stem from several.
LONGEST_RAW: Final = 5 * LONGEST
# A stored hash names its own cost. Beyond these it is no hash of ours, and obeying it could exhaust the machine.
STORED_MEMORY_KIB: Final = 128 * 1024
STORED_PASSES: Final = 10
STORED_LANES: Final = 8
# argon2.h: ARGON2_MEMORY_ALLOCATION_ERROR and ARGON2_THREAD_FAIL, which argon2-cffi passes on as words alone.
_SHORTAGES: Final = frozenset(map(argon2.low_level.error_to_str, (-22, -33)))

T = TypeVar("T")


class Verdict(msgspec.Struct, frozen=True):
    """What `Passwords.verify` found: whether the password fits, and whether to store a fresh hash of it."""

    ok: bool
    rehash: bool = False


_NO: Final = Verdict(ok=False)


def check_new(password: str) -> str | None:
    """What to mend in a password that somebody chooses, or None if it will do.

    10 to 200 code points after NFC normalisation, not one character repeated, without NUL and lone surrogates.
    """
    if len(password) > LONGEST_RAW:
        return f"Use at most {LONGEST} characters."
    text = unicodedata.normalize("NFC", password)
    if "\0" in text or _encoded(text) is None:
        return "Leave out the characters that cannot be stored."
    if len(text) < SHORTEST:
        return f"Use at least {SHORTEST} characters."
    if len(text) > LONGEST:
        return f"Use at most {LONGEST} characters."
    if len(set(text)) == 1:
        return "Use more than one character."
    return None


class Passwords:
    """argon2id behind a pool of two threads. Make one for the process; `close` it after the last request.

    Arguments: `parameters` is the cost of new hashes; `workers` hash at once; `waiting` more calls may queue.
    """

    def __init__(
        self, *, parameters: argon2.Parameters = PARAMETERS, workers: int = WORKERS, waiting: int = WAITING
    ) -> None:
        self._hasher = argon2.PasswordHasher.from_parameters(parameters)
        self._dummy = _dummy(parameters)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="password")
        self._places = BoundedSemaphore(workers + waiting)

    def close(self) -> None:
        """Finish what is queued (half a second at most) and end the threads. Later calls are `unavailable`."""
        self._pool.shutdown(wait=True)

    async def hash(self, password: str) -> str:
        """The encoded hash to store for a password, normalised to NFC. Ask `check_new` first for a new one.

        Errors: `validation_error` if the text cannot be encoded or is far too long; `unavailable` with
        `retry_after` 1 if too many calls wait or memory is short.
        """
        secret = _secret(password)
        if secret is None:
            raise CareError.invalid(password="Choose another password.")  # noqa: S106  words, not a secret
        return await self._run(lambda: self._hash(secret))

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Whether a password fits a stored hash.

        Arguments: `stored` is None for an unknown account, which takes as long as a wrong password does; so does
        a hash that is malformed, not argon2id or dearer than any of ours, and a password that cannot be encoded.
        Result: a verdict; `rehash` is set only beside `ok`, when the cost has changed since the hash was made.
        Errors: `unavailable` with `retry_after` 1 if too many calls wait or memory is short.
        """
        secret = _secret(password)
        if stored is None or secret is None or not _affordable(stored):
            return await self._run(lambda: self._refuse(secret or b""))
        return await self._run(lambda: self._verify(stored, secret))

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise CareError(Code.UNAVAILABLE, retry_after=1)
        try:
            future: Future[T] = self._pool.submit(work)
        except RuntimeError:  # closed
            self._places.release()
            raise CareError(Code.UNAVAILABLE, retry_after=1) from None
        # By the thread's end, not by the caller's: somebody who hangs up does not stop a hash that has begun.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _hash(self, secret: bytes) -> str:
        try:
            return self._hasher.hash(secret)
        except HashingError:
            raise CareError(Code.UNAVAILABLE, retry_after=1) from None

    def _verify(self, stored: str, secret: bytes) -> Verdict:
        try:
            self._hasher.verify(stored, secret)
        except VerifyMismatchError:
            return _NO
        except VerificationError as error:
            # A shortage must not read as a wrong password; the rest is a hash that cannot be decoded.
            if str(error) in _SHORTAGES:
                raise CareError(Code.UNAVAILABLE, retry_after=1) from None
            return _NO if stored is self._dummy else self._refuse(secret)
        return Verdict(ok=True, rehash=self._hasher.check_needs_rehash(stored))

    def _refuse(self, secret: bytes) -> Verdict:
        self._verify(self._dummy, secret)
        return _NO


def _encoded(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _secret(password: str) -> bytes | None:
    """The bytes that are hashed; None for what no stored password can be."""
    return None if len(password) > LONGEST_RAW else _encoded(unicodedata.normalize("NFC", password))


def _affordable(stored: str) -> bool:
    """Whether a stored hash looks like argon2id at a cost that we would pay."""
    if not stored.isascii():
        return False
    try:
        cost = argon2.extract_parameters(stored)
    except InvalidHashError:
        return False
    return (
        cost.type is argon2.Type.ID
        and cost.memory_cost <= STORED_MEMORY_KIB
        and cost.time_cost <= STORED_PASSES
        and cost.parallelism <= STORED_LANES
    )


def _dummy(cost: argon2.Parameters) -> str:
    """A well-formed hash at this cost that no known password has: its digest is all zeros."""
    salt, digest = (base64.b64encode(bytes(size)).decode().rstrip("=") for size in (cost.salt_len, cost.hash_len))
    return f"$argon2id$v={cost.version}$m={cost.memory_cost},t={cost.time_cost},p={cost.parallelism}${salt}${digest}"
