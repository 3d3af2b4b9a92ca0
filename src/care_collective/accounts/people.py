"""Joining and signing in with e-mail and password. Approval, restriction and rights are judged in SQL, at each call."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from care_collective import text
from care_collective.accounts import passwords, resets, sessions
from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError, Code
from care_collective.text import Limits

# Deliberately loose, and ASCII: lower-casing differs between Python and the database beyond it.
_EMAIL: Final = re.compile(r"[!-?A-~]{1,64}@[0-9a-z](?:[0-9a-z.-]{0,250}[0-9a-z])?", re.ASCII)
LONGEST_EMAIL: Final = 254


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody writes to join: name and town up to 80 characters, words for the coordinator up to 500."""

    email: Annotated[str, Limits(3, LONGEST_EMAIL).described]
    password: Annotated[str, passwords.LENGTH.described]
    display_name: Annotated[str, text.NAME.described]
    town: Annotated[str | None, text.TOWN.described] = None
    application_words: Annotated[str | None, text.APPLICATION_WORDS.described] = None


class _Credential(msgspec.Struct, frozen=True):
    user_id: UUID
    secret: str
    set_at: datetime


def normal_email(email: str) -> str | None:
    """The form in which an address is kept and looked up, or None for what is no address of ours."""
    trimmed = text.trim(email).lower()
    return trimmed if len(trimmed) <= LONGEST_EMAIL and _EMAIL.fullmatch(trimmed) else None


def check(application: Application) -> None:
    """Errors: CareError `validation_error` that names every field to mend."""
    found = {
        "email": None
        if normal_email(application.email)
        else "Please give an e-mail address, such as name@example.org.",
        "password": passwords.check_new(application.password),
        "display_name": text.check(application.display_name, *text.NAME),
        "town": text.check(application.town, *text.TOWN),
        "application_words": text.check(application.application_words, *text.APPLICATION_WORDS),
    }
    fields = {name: words for name, words in found.items() if words is not None}
    if fields:
        raise CareError.invalid(**fields)


def _refuse_password(password: str) -> None:
    words = passwords.check_new(password)
    if words is not None:
        raise CareError.invalid(password=words)


class Accounts:
    """Joining and signing in, with the password work off the event loop."""

    def __init__(self, database: Database, hasher: passwords.Passwords) -> None:
        self._database = database
        self._hasher = hasher

    async def sign_up(self, community_id: UUID, application: Application, *, address: str) -> UUID:
        """Makes a pending member and answers the user id.

        Whoever has an account in another community joins with its e-mail address and password. Errors: CareError
        `validation_error` by field, or `rate_limited` as at sign-in, and past as many sign-ups from one address.
        """
        check(application)
        email = normal_email(application.email) or ""
        # New accounts cost nothing to name: counted by account alone, one address could make any number of them.
        await self._take(community_id, f"sign-up:{community_id}", address)
        await self._take(community_id, email, address)
        known = await self._find(email)
        if known is not None:
            verdict = await self._hasher.verify(known.secret, application.password)
            if verdict.ok:
                return await self._join(community_id, known.user_id, application)
            raise CareError.invalid(email="This address cannot be used to join. If it is yours, sign in with it.")
        answer = await self._database.call(
            "care.sign_up",
            p_community_id=community_id,
            p_email=email,
            p_secret=await self._hasher.hash(application.password),
            p_display_name=application.display_name,
            p_town=application.town,
            p_application_words=application.application_words,
        )
        return UUID(answer.data()["user_id"])

    async def _join(self, community_id: UUID, user_id: UUID, application: Application) -> UUID:
        answer = await self._database.call(
            "care.join_community",
            p_community_id=community_id,
            p_user_id=user_id,
            p_display_name=application.display_name,
            p_town=application.town,
            p_application_words=application.application_words,
        )
        return UUID(answer.data()["user_id"])

    async def sign_in(self, community_id: UUID, email: str, password: str, *, address: str) -> UUID:
        """The user id of an e-mail address and its password, given at the door of a community.

        An unknown address takes as long and answers the same as a wrong password. Errors: CareError
        `unauthenticated`, or `rate_limited` past the community's limit per address and account, 10 in 15 minutes.
        """
        normal = normal_email(email)
        await self._take(community_id, normal or email, address)
        known = await self._find(normal) if normal is not None else None
        verdict = await self._hasher.verify(known.secret if known else None, password)
        if known is None or not verdict.ok:
            raise CareError(
                Code.UNAUTHENTICATED, message="The e-mail address or the password is not right. Please check both."
            )
        if verdict.rehash:
            secret = await self._hasher.hash(password)
            await self._database.value("care.store_secret", p_user_id=known.user_id, p_secret=secret)
        return known.user_id

    async def change_password(
        self, caller: Caller, *, email: str, present: str, password: str, session: str | None, address: str
    ) -> None:
        """Replaces the caller's password by a new one and ends their other sessions; `session` is the one to keep.

        `email` is the caller's own. Errors: CareError `validation_error` by field, or `rate_limited`: a wrong present
        password counts as a sign-in does, with which it shares its limit.
        """
        assert caller.community_id is not None
        _refuse_password(password)
        await self._take(caller.community_id, email, address)
        known = await self._find(email)
        verdict = await self._hasher.verify(known.secret if known else None, present)
        if known is None or known.user_id != caller.user_id or not verdict.ok:
            raise CareError.invalid(present="This is not your present password.")
        kept = sessions.digest(session) if session else None
        if not await self._replace(known.user_id, password, known.set_at, kept):
            raise CareError.invalid(present="This is not your present password.")

    async def ask_reset(self, community_id: UUID, email: str, *, address: str) -> Callable[[], Awaitable[None]] | None:
        """Takes the wish for a letter with a link to a new password; what makes it, to be called after the answer.

        None is an address that no account can have. Nothing here looks whether there is one: what is answered, and
        when, says nothing of it. Errors: CareError `rate_limited`, counted as sign-ins are, by address and by both.
        """
        normal = normal_email(email)
        await self._take(community_id, f"reset:{community_id}", address)
        await self._take(community_id, f"reset:{normal or email}", address)
        if normal is None:
            return None

        async def make() -> None:
            await self._database.value("care.ask_password_reset", p_community_id=community_id, p_email=normal)

        return make

    async def has_reset(self, secret_key: str, token: str, *, now: datetime) -> bool:
        """Whether a letter's token still opens a new password."""
        return await self._claimed(secret_key, token, now) is not None

    async def reset_password(
        self, community_id: UUID, secret_key: str, token: str, password: str, *, address: str, now: datetime
    ) -> None:
        """Sets a new password by a letter's token and ends all of its user's sessions.

        Errors: CareError `validation_error` on `password`; `not_found` for a token that is forged, has ended or was
        used; `rate_limited` past as many tries from one address as there may be sign-ins.
        """
        _refuse_password(password)
        await self._take(community_id, f"reset-token:{community_id}", address)
        found = await self._claimed(secret_key, token, now)
        if found is None or not await self._replace(found[0], password, found[1], None):
            raise CareError(Code.NOT_FOUND)

    async def _claimed(self, secret_key: str, token: str, now: datetime) -> tuple[UUID, datetime] | None:
        """Whose token it is and when their present password was set; None where it does not hold."""
        claim = resets.read(token)
        if claim is None:
            return None
        set_at = await self._database.value("care.password_set_at", p_user_id=claim.user_id)
        if set_at is None or not resets.is_signed(secret_key, claim, set_at=set_at, now=now):
            return None
        return claim.user_id, set_at

    async def _replace(self, user_id: UUID, password: str, set_at: datetime, kept: bytes | None) -> bool:
        secret = await self._hasher.hash(password)
        replaced: bool = await self._database.value(
            "care.replace_password", p_user_id=user_id, p_secret=secret, p_set_at=set_at, p_keep_session=kept
        )
        return replaced

    async def prove(self, caller: Caller, password: str, *, address: str) -> None:
        """Asks for the password once more, of whoever sits at a browser that is signed in.

        Errors: CareError `validation_error` for a wrong one; as at sign-in `rate_limited`.
        """
        email = (await self.me(caller)).data()["email"] or ""
        if caller.community_id is not None:
            await self._take(caller.community_id, email, address)
        known = await self._find(email)
        verdict = await self._hasher.verify(known.secret if known else None, password)
        if known is None or not verdict.ok:
            raise CareError.invalid(password="This is not your password. Please check it.")  # noqa: S106  a sentence

    async def me(self, caller: Caller) -> Answer:
        """The caller's own account and status, whatever state it is in."""
        return await self._database.call("care.me", caller)

    async def _take(self, community_id: UUID, counted: str, address: str) -> None:
        # As a hash: what people type by mistake, a password among it, must not lie in a table.
        account = hashlib.sha256(counted.encode("utf-8", "replace")).hexdigest()
        wait = await self._database.value(
            "care.take_sign_in", p_community_id=community_id, p_account=account, p_address=address
        )
        if wait > 0:
            raise CareError(Code.RATE_LIMITED, retry_after=wait)

    async def _find(self, email: str) -> _Credential | None:
        found = await self._database.value("care.find_credential", p_email=email)
        return None if found is None else msgspec.json.decode(found, type=_Credential)
