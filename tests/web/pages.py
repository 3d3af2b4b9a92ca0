"""Pages as tests use them: a signed-in browser without scripts, and the forms of a page with what stands in them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

from care_collective.accounts import sessions
from care_collective.web import assets
from care_collective.web.services import Services
from harness import Person
from web_harness import Client, browser

# What stands alone, and what keeps a text that turns its surroundings around to itself.
VOID = {"input", "img", "link", "meta", "br", "hr"}
ISOLATING = {"bdi", "textarea", "title"}


@dataclass(slots=True)
class Form:
    """A form: where it leads, and its fields as a browser would send them untouched."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class Sheet(HTMLParser):
    """What a page says, its forms, and in `loose` the texts with a turn-around that could turn what follows them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.said = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.loose: list[str] = []
        self._within: list[tuple[str, bool]] = []
        self._typing: str | None = None
        self._select: str | None = None
        self.feed(text)
        self.said = " ".join(self.said.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in VOID:
            self._within.append((tag, tag in ISOLATING or "dir" in found))
        name, value = found.get("name") or "", found.get("value") or ""
        if tag == "form":
            self.forms.append(Form(found["action"] or "", found["method"] or ""))
        elif tag == "input" and self.forms:
            self.forms[-1].fields[name] = value
        elif tag == "textarea":
            self._typing = name
            self.forms[-1].fields[name] = ""
        elif tag == "select":
            self._select = name
            self.forms[-1].fields[name] = ""
        elif tag == "option" and self._select and "selected" in found:
            self.forms[-1].fields[self._select] = value

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop()[0] != tag:
            pass
        if tag == "textarea" and self._typing is not None:
            # The first line break after the tag is the source's, not the writer's.
            typed = self.forms[-1].fields[self._typing]
            self.forms[-1].fields[self._typing] = typed.removeprefix("\n")
            self._typing = None

    def handle_data(self, data: str) -> None:
        if "\u202e" in data and not any(isolates for _, isolates in self._within):
            self.loose.append(data)
        if self._typing is not None:
            self.forms[-1].fields[self._typing] += data
        else:
            self.said += data

    def form(self, ending: str) -> Form:
        """The one form whose address ends so."""
        (found,) = [one for one in self.forms if one.action.endswith(ending)]
        return found

    def offers(self, ending: str) -> bool:
        """Whether there is a form whose address ends so."""
        return any(one.action.endswith(ending) for one in self.forms)


def is_foreign(tag: str, attributes: dict[str, str | None]) -> bool:
    """Whether an element is a script that is no file of ours."""
    return tag == "script" and not (attributes.get("src") or "").startswith(assets.ROOT)


async def visitor(services: Services, person: Person, **headers: str) -> Client:
    """A browser in which a member is signed in; the caller closes it."""
    client = browser(services, person.town)
    client.headers.update(headers)
    token = await sessions.start(services.database, user_id=person.user_id, community_id=person.town.community_id)
    client.cookies.set("care_session", token or "")
    return client


async def opened(client: Client, path: str, status: int = 200) -> Sheet:
    """A page that has to answer with this status."""
    answer = await client.get(path)
    assert answer.status_code == status, (path, answer.status_code, Sheet(answer.text).said)
    return Sheet(answer.text)


async def sent(client: Client, form: Form, **typed: str) -> httpx.Response:
    """Sends a form with what was typed into it."""
    return await client.post(form.action, data={**form.fields, **typed})


async def led(client: Client, form: Form, **typed: str) -> str:
    """Sends a form that has to lead on; where to, without the fragment."""
    answer = await sent(client, form, **typed)
    assert answer.status_code == 303, (form.action, answer.status_code, Sheet(answer.text).said)
    return str(answer.headers["location"]).partition("#")[0]


async def refused(client: Client, form: Form, status: int, **typed: str) -> Sheet:
    """Sends a form that has to be refused; the page that says so, with its reference unless it is to be mended."""
    answer = await sent(client, form, **typed)
    assert answer.status_code == status, (form.action, answer.status_code, Sheet(answer.text).said)
    mended = 'class="error-summary"' in answer.text and status < 500 and status != 429
    assert (answer.headers["x-request-id"] in answer.text) != mended
    return Sheet(answer.text)
