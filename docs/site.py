"""Makes a site of this folder, for mkdocs: the README of the repository is its page `overview.md`.

Links of the pages are meant for who reads the repository; those that lead out of this folder become text here, for the
site is also read where the repository is not.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)"
)
_SOURCE = re.compile(r'src="([^":]+)"')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README of the repository."""
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    text = _LINK.sub(lambda link: _moved(link, "README.md", "docs/overview.md"), text)
    text = _SOURCE.sub(lambda source: f'src="{_relative(source[1], "README.md", "docs/overview.md")}"', text)
    files.append(File.generated(config, "overview.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links to the README to its page, and make those to other files of the repository text."""
    if page.file.src_uri == "overview.md":
        return markdown
    here = f"docs/{page.file.src_uri}"
    return _LINK.sub(lambda link: _moved(link, here, here), markdown)


def _moved(link: re.Match[str], written_in: str, shown_in: str) -> str:
    target, anchor = link["target"], link["anchor"] or ""
    if not target or "://" in target or target.startswith("mailto:"):
        return link[0]
    found = posixpath.normpath(posixpath.join(posixpath.dirname(written_in), target))
    if found == "README.md":
        found = "docs/overview.md"
    elif not (found.startswith("docs/") and (_ROOT / found).is_file()):
        return link["text"] if link["image"] else f"{link['text']} (`{found}`)"
    return f"{link['image']}[{link['text']}]({posixpath.relpath(found, posixpath.dirname(shown_in))}{anchor})"


def _relative(target: str, written_in: str, shown_in: str) -> str:
    found = posixpath.normpath(posixpath.join(posixpath.dirname(written_in), target))
    return posixpath.relpath(found, posixpath.dirname(shown_in))
