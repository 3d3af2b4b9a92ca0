"""Joining and signing in with e-mail and password. Approval, restriction and rights are judged in SQL, at each call."""

import hashlib
import re
from typing import Annotated, Final
from uuid import UUID

import msgspec

from care_collective import text
from care_collective.accounts import passwords
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
