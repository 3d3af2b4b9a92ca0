"""The templates of pages and letters, once for each language. Must not know pages, members or requests."""

from typing import Final

import jinja2

from care_collective.web import assets
from care_collective.web.pages.language import LANGUAGES, Language


def _environment(language: Language) -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("care_collective.web"),
        autoescape=jinja2.select_autoescape(default=True, disabled_extensions=("txt",)),  # the plain text of letters
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_gettext_translations(language.catalogue, newstyle=True)  # type: ignore[attr-defined]
    made.globals.update(say=language.say, lang=language.code, static=assets.ROOT)
    return made


ENVIRONMENTS: Final = {code: _environment(language) for code, language in LANGUAGES.items()}
