"""Commands as the documentation has them: in fenced blocks, and named in the text."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import converter.__main__
import trainer.__main__
from edge_agent import cli

REPOSITORY = Path(__file__).resolve().parent.parent
PARSERS = {"edge-agent": cli.parser, "trainer": trainer.__main__.parser, "converter": converter.__main__.parser}
#: Whatever begins a command in the text, such as `sudo -u edge-agent edge-agent doctor`.
_BEFORE = r"(?:sudo (?:-u \S+ )?)?(?:\.venv/bin/)?"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, which may be empty, its text without the indentation, and where that begins."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page.

    Raises:
        ValueError: one is not closed.
    """
    found, lines, opened = [], [], None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if fence := re.match(r"( *)```(.*)$", line):
            if opened is None:
                opened, lines = (fence[1], fence[2].strip(), number + 1), []
            else:
                found.append(Block(opened[1], "".join(lines), opened[2]))
                opened = None
        elif opened is not None:
            lines.append(line.removeprefix(opened[0]) + "\n")
    if opened is not None:
        raise ValueError(f"{page}: the block at line {opened[2]} is not closed")
    return found


def named(page: Path) -> list[list[str]]:
    """Return the words of each command of ours that the text names, a line of a table with the options beside it."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.M | re.S)
    pattern = rf"`{_BEFORE}((?:edge-agent|python -m (?:trainer|converter)|make) [^`]+)`"
    spans = re.findall(pattern, text) + [
        f"python -m trainer {one}" for one in re.findall(r"`((?:fit|tune) [^`]+)`", text)
    ]
    commands = [words for span in spans for words in _alternatives(shlex.split(span))]
    for row in re.findall(r"^\|.*\|$", text, re.M):
        if first := re.match(rf"\| *`{_BEFORE}(edge-agent [a-z-]+|python -m (?:trainer|converter) [a-z-]+)", row):
            commands += [shlex.split(f"{first[1]} {option}") for option in re.findall(r"`(--[a-z-]+)", row)]
    return commands


def _alternatives(words: list[str]) -> list[list[str]]:
    """Return a command once for each of its alternatives, such as `model stage/list`."""
    several = next((n for n, word in enumerate(words) if re.fullmatch(r"[a-z]+(/[a-z]+)+", word)), None)
    if several is None:
        return [words]
    return [[*words[:several], word, *words[several + 1 :]] for word in words[several].split("/")]


def targets() -> set[str]:
    """Return what can be made."""
    lines = re.findall(r"^\.PHONY:(.*)$", (REPOSITORY / "Makefile").read_text(), re.M)
    return {name for line in lines for name in line.split()}


def check_make(words: list[str]) -> None:
    """Fail unless every target exists."""
    unknown = [word for word in words if "=" not in word and not word.startswith("-") and word not in targets()]
    assert not unknown, f"the Makefile has no {unknown}"


def check_options(words: list[str]) -> None:
    """Fail unless a command that a text names, its arguments perhaps left out, has its sub-command and its options."""
    program, *arguments = words[2:] if words[:2] == ["python", "-m"] else words
    parser = PARSERS[program]()
    for word in arguments:
        choices = next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        if choices is not None and not word.startswith(("-", "…")):
            assert word in choices, f"{program} has no command {word}"
            parser = choices[word]
        elif word.startswith("--"):
            assert word.split("=")[0] in parser._option_string_actions, f"{parser.prog} has no {word}"


def check_arguments(words: list[str], capsys) -> None:
    """Fail unless a command would begin: the parser that it has takes its arguments, all of them there."""
    program, *arguments = words[2:] if words[:2] == ["python", "-m"] else words
    try:
        PARSERS[program]().parse_args(arguments)
    except SystemExit:
        raise AssertionError(capsys.readouterr().err) from None


def tracked(folder: str) -> bool:
    """Tell whether the repository has a file or a folder."""
    listed = subprocess.run(["git", "ls-files", folder], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return bool(listed.stdout)
