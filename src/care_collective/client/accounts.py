"""Joining, signing in and out, one's own account."""

from care_collective.client.calls import Calls
from care_collective.client.models import Done, Export, Left, Me
from care_collective.client.session import Credentials, Session


class Accounts:
    """`client.accounts`. What signs in or out takes no key and is tried once: its answers carry secrets."""

    def __init__(self, calls: Calls, session: Session) -> None:
        self._calls = calls
        self._session = session

    async def sign_up(
        self,
        email: str,
        password: str,
        display_name: str,
        *,
        town: str | None = None,
        application_words: str | None = None,
    ) -> Me:
        """Joins the community of the server's host name and is signed in; a coordinator approves new members.

        `display_name` and `town` up to 80 characters, `application_words`, for the coordinator, up to 500. Errors:
        ValidationFailed by field, NotFound where there is no community, RateLimited, ConnectionFailed.
        """
        body = {
            "email": email,
            "password": password,
            "display_name": display_name,
            "town": town,
            "application_words": application_words,
        }
        return await self._session.open("/api/auth/sign-up", body, Credentials(email, password))

    async def sign_in(self, email: str, password: str) -> Me:
        """Signs in; the client keeps both and signs in again when its token has ended.

        Errors: Unauthenticated, RateLimited after 10 tries in 15 minutes, ConnectionFailed.
        """
        body = {"email": email, "password": password}
        return await self._session.open("/api/auth/sign-in", body, Credentials(email, password))

    async def sign_out(self) -> Done:
        """Ends the session and its token. The client is nobody's from then on, even where this raises."""
        return await self._session.close()

    async def me(self) -> Me:
        """One's own account and status, whatever state it is in."""
        return await self._calls.read("/api/auth/me", Me)

    async def export(self) -> Export:
        """Everything of one's own, also for a member who is banned. All at once in memory: 10,000 messages are 4 MB."""
        return await self._calls.read("/api/me/export", Export)

    async def delete(self) -> Left:
        """Deletes the account in this community for good, and is tried once. The client is nobody's from then on.

        Errors: Conflict for the last coordinator or operator, ValidationError for a password that does not hold,
        Unauthenticated where the answer of an earlier try was lost: the account is gone.
        """
        return await self._session.leave()
