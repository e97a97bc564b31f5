"""Keeps edge_agent/locale up to date with what the code says: `python docs/translations.py`.

Collects every text that people read, adds it to each language's .po file, and compiles those: to .mo for Python, to
JSON for the pages' scripts. What is missing in a language is listed, and a test fails.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from babel.messages import mofile, pofile
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file

from edge_agent.config import PROFILES, Rule, Site
from edge_agent.languages import DOMAIN, LANGUAGES, LOCALE
from edge_agent.web.pages import STATIC, TEXT, TRANSLATED

PACKAGE = Path(__file__).parent.parent / "edge_agent"
KEYWORDS = {"_": None, "_text": None, "gettext": None, "ngettext": (1, 2)}
_OPTIONS = {"parse_template_string": True}
#: What a file says of itself; dates and versions would make every run a change.
_HEADER = ("Language", "Plural-Forms", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")


def main() -> int:
    """Write all catalogues; exit code 1 when a translation is missing."""
    template, scripts = collect()
    incomplete = False
    for language in LANGUAGES.keys() - {"en"}:
        catalog = updated(language, template)
        for path, data in compiled(language, catalog, scripts).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        lacking = missing(catalog)
        incomplete |= bool(lacking)
        print(f"{language}: {len(catalog) - len(lacking)} of {len(catalog)} texts")
    return int(incomplete)


def collect() -> tuple[Catalog, set[str]]:
    """Return all texts with the files they stand in, and those that the pages' scripts say."""
    template, scripts = Catalog(), set()
    for path in sorted(PACKAGE.rglob("*")):
        name = str(path.relative_to(PACKAGE.parent))
        for text in _texts(path):
            template.add(text, locations=[(name, 0)])
            # What is configured, such as the place, is said by scripts as well.
            if path.suffix == ".js" or path.parent == PROFILES:
                scripts.add(text[0] if isinstance(text, tuple) else text)
    return template, scripts


def _texts(path: Path) -> Iterator[str | tuple[str, str]]:
    if path.suffix in (".py", ".js"):
        method = {".py": "python", ".js": "javascript"}[path.suffix]
        for _, text, _, _ in extract_from_file(method, path, keywords=KEYWORDS, options=_OPTIONS):
            yield text[:2] if isinstance(text, tuple) else text
    elif path.suffix in TRANSLATED and path.parent == STATIC:
        texts = (" ".join(found.split()) for found in TEXT.findall(path.read_text(encoding="utf-8")))
        yield from (text for text in texts if text not in ("language", "direction"))
    elif path.parent == PROFILES:
        # What a page says is configured; what ships is translated.
        yield from (Rule(name="any").message, Site().place)
        rules = yaml.safe_load(path.read_text(encoding="utf-8")).get("rules", [])
        yield from (rule["message"] for rule in rules if "message" in rule)


def po_file(language: str) -> Path:
    """Return where a language's translations are written down."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def updated(language: str, template: Catalog) -> Catalog:
    """Return a language's catalogue with exactly the texts of `template`; near matches are not guessed."""
    path = po_file(language)
    catalog = pofile.read_po(io.BytesIO(path.read_bytes()) if path.exists() else io.BytesIO(), locale=language)
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.header_comment, catalog.fuzzy = f"# {LANGUAGES[language]}", False
    return catalog


def compiled(language: str, catalog: Catalog, scripts: set[str]) -> dict[Path, bytes]:
    """Return path → content of what is made of a catalogue."""
    po, mo = io.BytesIO(), io.BytesIO()
    pofile.write_po(po, catalog, omit_header=False, include_lineno=False, sort_output=True, width=110)
    po_text = re.sub(rb'(?m)^"(?!' + "|".join(_HEADER).encode() + rb")[A-Z][A-Za-z-]+: .*\n", b"", po.getvalue())
    header = "".join(f"{key}: {value}\n" for key, value in catalog.mime_headers if key in _HEADER)
    mofile.write_mo(mo, _Plain(catalog, header))
    told = {_first(message): forms(message) for message in catalog if message.id}
    messages = {text: told[text] for text in sorted(scripts) if all(told[text])}
    return {
        po_file(language): po_text,
        po_file(language).with_suffix(".mo"): mo.getvalue(),
        STATIC / "text" / f"{language}.json": (json.dumps(messages, ensure_ascii=False, indent=0) + "\n").encode(),
    }


class _Plain(list):
    """A catalogue for `write_mo`, with a header of our own."""

    def __init__(self, catalog: Catalog, header: str) -> None:
        super().__init__([Message("", string=header), *(message for message in catalog if message.id)])
        self.charset, self.num_plurals = catalog.charset, catalog.num_plurals


def forms(message: Message) -> list[str]:
    """Return the translation, in as many forms as the language has for numbers."""
    return list(message.string) if isinstance(message.string, list | tuple) else [message.string or ""]


def _first(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def missing(catalog: Catalog) -> list[str]:
    """Return the texts that are not translated."""
    return [_first(message) for message in catalog if message.id and (message.fuzzy or not all(forms(message)))]


if __name__ == "__main__":
    sys.exit(main())
