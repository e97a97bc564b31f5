"""What the documentation promises: generated pages are fresh, links lead somewhere, named commands and keys exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from edge_agent.vision.manifest import JSON_SCHEMA

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]

#: Longer lines cannot be read beside each other, as in a review. A dashboard is not read but imported.
MAX_LINE = 199
NOT_READ = {"docs/grafana/edge-agent.json"}


def generator():
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["configuration.md", "topics.md"])
def test_the_reference_is_what_the_code_says(name):
    text = generator().pages()[name]
    assert (REPOSITORY / "docs" / "reference" / name).read_text() == text, "run: python docs/generate.py"


def test_the_manifests_schema_is_what_the_code_says():
    assert JSON_SCHEMA.read_text() == generator().manifest_schema(), "run: python docs/generate.py"


def test_every_option_is_explained():
    unexplained = re.findall(r"^\| `([a-z_.]+)` \|  \|", generator().configuration(), re.M)
    # These explain themselves, beside a neighbour that is explained.
    assert set(unexplained) <= {
        "enabled", "height", "host", "keepalive_s", "message", "name", "polygon", "port",
        "tls.enabled", "tls.key_file", "topic_root", "username",
    }  # fmt: skip


def test_the_site_builds_and_every_link_in_it_leads_somewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?://', text), (
            f"{page.name} fetches from elsewhere"
        )


def test_each_file_that_is_kept_is_named_with_how_long():
    named = (REPOSITORY / "docs" / "data.md").read_text()
    sources = sorted((REPOSITORY / "edge_agent").rglob("*.py"))
    names = {name for source in sources for name in re.findall(r'^FILE_NAME = "(.+)"', source.read_text(), re.M)}
    assert len(names) > 5
    assert [name for name in names if f"`{name}`" not in named] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()) + re.findall(r'src="([^"]+)"', page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_line_is_too_long_to_read():
    command = ["git", "ls-files", "-z"]
    out = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    long = []
    for name in set(filter(None, out.split("\0"))) - NOT_READ:
        data = (REPOSITORY / name).read_bytes() if (REPOSITORY / name).is_file() else b""
        if b"\0" not in data:
            lines = enumerate(data.decode().splitlines(), 1)
            long += [f"{name}:{number}: {len(line)}" for number, line in lines if len(line) > MAX_LINE]
    assert long == []
