"""Which language a page speaks, and its sentences: English is the source, every other one a catalogue in ../locale.

Must not know pages, members or requests beyond the names of languages that they ask for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

CATALOGUES: Final = Path(__file__).parent.parent / "locale"


def mark(sentence: str) -> str:
    """Marks a sentence for the catalogues, imported as `_`; it is said in a reader's language later."""
    return sentence


_ = mark

# Sentences with a number or a code in them that are made elsewhere or by an SQL twin.
NUMBERED: Final = (
    _("Please write at least %(count)s characters."),
    _("Please keep this to %(limit)s characters; it has %(count)s."),
    _("Use at least %(count)s characters."),
    _("Use at most %(count)s characters."),
    _("That was a lot in a short time. Please wait until %(count)s minutes have passed, then try again."),
    _("That was a lot in a short time. Please wait until %(count)s hours have passed, then try again."),
    # rollout/criteria.py
    _("No data yet: more than %(goal)s%% of the offers in V2 must succeed."),
    _("%(successes)s of %(attempts)s offers in V2 succeeded (%(rate)s%%); more than %(goal)s%% must."),
    _("No data yet: 95 of 100 offers must take less than %(limit)s ms."),
    _("95 of 100 offers in V2 took up to %(time)s ms; it must be less than %(limit)s ms."),
    _("No data yet: no kind of failure may come in 1%% of the attempts."),
    _("The failure %(code)s came %(count)s times in %(attempts)s attempts (%(rate)s%%); it must be less than 1%%."),
    _("Rows of V2 in a state that must never be: %(count)s. Run doctor to see which."),
    _("%(attempts)s attempts in V2 since the stage began; %(least)s are needed."),
    _(
        "Only %(attempts)s attempts in V2 in %(days)s days; %(least)s are needed. As %(enough)s days have passed, a "
        "written reason will do."
    ),
    _(
        "Only %(attempts)s attempts in V2 in %(days)s days; %(least)s are needed. After %(enough)s days a written "
        "reason will do."
    ),
    _("V1 has opened no conversation for %(days)s days; %(needed)s are needed."),
    _("V1 has opened no conversation for %(days)s days; after %(needed)s it may be retired."),
    _("V1 conversations without a message: %(count)s; legacy repair mends them."),
)
# Sentences made outside the pages that are not among the words of errors.py.
FIXED: Final = (
    _("Please write something here."),
    _("This has a character that cannot be stored. Please remove it."),
    _("That was a lot in a short time. Please wait until a minute has passed, then try again."),
    _("Choose one of the categories."),
    _("Choose normal, urgent or critical."),
    _("Please search for 100 characters at most."),
    _("This is not a cursor of ours. Start again without one."),
    _("Please give an e-mail address, such as name@example.org."),
    _("This address cannot be used to join. If it is yours, sign in with it."),
    _("The e-mail address or the password is not right. Please check both."),
    _("This is not your password. Please check it."),
    _("Please type your password."),
    _("This account is not a member of this community. Join it first."),
    _("There is no community at this address."),
    _("Leave out the characters that cannot be stored."),
    _("Use more than one character."),
    _("Choose another password."),
    _("This is not your present password."),
    _("Choose each, daily or off."),
    _("Give a time of day, such as 21:00."),
    _("Choose yes or no."),
    _("Choose one of the languages."),
    _("Choose a time zone by its place, such as Europe/Lisbon."),
    _("This is for operators. Ask whoever runs this site."),
    _("No offer in V2 failed."),
    _("No data: nobody has looked at the rows of V2 for a minute. Is a node running?"),
    _("No row of V2 is in a state that must never be."),
    _("V1 has no conversation without a message."),
)


def _pattern(sentence: str) -> re.Pattern[str]:
    named = re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>[\\w.]+)", re.escape(sentence))
    return re.compile(named.replace("%%", "%"))


_PATTERNS: Final = tuple((_pattern(sentence), sentence) for sentence in NUMBERED)


@dataclass(frozen=True, slots=True)
class Language:
    """One language: `code` for the page, `locale` for times and numbers, `catalogue` for sentences."""

    code: str
    locale: Locale
    catalogue: NullTranslations

    def say(self, sentence: str) -> str:
        """A sentence that was made in English elsewhere, in this language; one that nobody translated as it is."""
        said = self.catalogue.gettext(sentence)
        if said != sentence:
            return said
        for pattern, source in _PATTERNS:
            found = pattern.fullmatch(sentence)
            if found is not None:
                return self.catalogue.gettext(source) % found.groupdict()
        return sentence


def _catalogue(code: str) -> NullTranslations:
    # Compiled at start, a few milliseconds: a compiled file beside its source could tell something else.
    with (CATALOGUES / code / "LC_MESSAGES" / "messages.po").open("rb") as source:
        compiled = BytesIO()
        write_mo(compiled, read_po(source, locale=code))
    compiled.seek(0)
    return Translations(compiled)


ENGLISH: Final = Language("en", Locale("en", "GB"), NullTranslations())
LANGUAGES: Final = {"en": ENGLISH, "es": Language("es", Locale("es"), _catalogue("es"))}


def choose(*wishes: str | None) -> Language:
    """The first language of ours among wishes such as es, es-MX or es_MX; English where there is none."""
    for wish in wishes:
        code = (wish or "").replace("_", "-").partition("-")[0].strip().lower()
        if code in LANGUAGES:
            return LANGUAGES[code]
    return ENGLISH


def accepted(header: str) -> Iterable[str]:
    """What a header Accept-Language asks for, most wanted first. What cannot be read is passed over."""
    wishes: list[tuple[float, str]] = []
    for part in header.split(",")[:20]:
        name, _semicolon, weight = part.partition(";")
        quality = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", weight)
        wishes.append((float(quality[1]) if quality else 1.0, name.strip()))
    return [name for quality, name in sorted(wishes, key=lambda wish: -wish[0]) if quality > 0]
