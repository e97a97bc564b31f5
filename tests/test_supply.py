"""What is installed: pinned by hash, agreed licences, known vulnerabilities, a bill of materials."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from datetime import date
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tomllib
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from edge_agent.testing import free_port
from requirements import audit, licences
from requirements.lockfile import FOLDER, read

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCKS = sorted(path.stem for path in FOLDER.glob("*.txt") if path != audit.IGNORED)
#: What each file promises: the extras whose requirements it holds, beside those of the agent itself.
EXTRAS = {
    "demo": ("demo",),
    "kiosk": ("signing", "web", "metrics", "holidays"),
    "pager": ("web", "notify", "pins", "holidays", "gpio"),
    "test": ("test",),
    "tflite-runtime": ("tflite-runtime",),
}
#: apt has it, and for some Pythons nobody else.
FROM_APT = "lgpio"


def declared(extras) -> list[Requirement]:
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            if requirement.name == PROJECT["name"]:
                found += declared(requirement.extras)
            else:
                found.append(requirement)
    return found


class TestLocks:
    @pytest.mark.parametrize("name", LOCKS)
    def test_every_distribution_has_one_version_and_its_hashes(self, name):
        pins = read(name)
        assert pins
        for pin in pins:
            assert pin.hashes, pin.name
            assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in pin.hashes), pin.name

    @pytest.mark.parametrize("name", LOCKS)
    def test_it_names_neither_an_index_nor_a_path(self, name):
        for line in (FOLDER / f"{name}.txt").read_text().splitlines():
            assert re.match(r"#|    #|    --hash=|[a-z0-9.-]+==|$", line), line

    @pytest.mark.parametrize("name", EXTRAS)
    def test_it_holds_what_the_project_declares(self, name):
        pins = {}
        for pin in read(name):
            pins.setdefault(pin.name, []).append(Version(pin.version))
        for requirement in declared(EXTRAS[name]):
            if requirement.name == FROM_APT:
                continue
            versions = pins.get(canonicalize_name(requirement.name))
            assert versions, f"{requirement} is not in {name}.txt; run: make lock"
            assert all(requirement.specifier.contains(one) for one in versions), f"{requirement}; run: make lock"

    def test_the_build_tool_is_what_the_project_asks_for(self):
        build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
        [pin], [requirement] = read("build"), map(Requirement, build)
        assert (pin.name, requirement.specifier.contains(pin.version)) == (requirement.name, True)

    @pytest.mark.parametrize("name", ["build", "demo", "kiosk", "pager"])
    def test_people_get_what_the_tests_ran_with(self, name):
        tested = {pin.name: pin.version for pin in read("test")}
        assert {pin.name: pin.version for pin in read(name)}.items() <= tested.items()

    def test_the_oldest_python_is_the_one_locked_for(self):
        oldest = PROJECT["requires-python"].removeprefix(">=")
        assert f"--python-version {oldest} " in (REPOSITORY / "Makefile").read_text()

    def test_pip_refuses_a_file_that_is_not_the_locked_one(self, tmp_path):
        """A wheel of the right name and version, with other contents."""
        [pin] = read("build")
        wheel = tmp_path / f"setuptools-{pin.version}-py3-none-any.whl"
        shutil.make_archive(str(wheel), "zip", FOLDER)
        wheel.with_name(f"{wheel.name}.zip").rename(wheel)
        command = [sys.executable, "-m", "pip", "download", "--isolated", "--no-index", f"--find-links={tmp_path}"]
        command += ["--require-hashes", "-r", FOLDER / "build.txt", "--no-deps", "-d", tmp_path / "got"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode != 0
        assert "DO NOT MATCH THE HASHES" in result.stderr


class TestLicences:
    @pytest.mark.parametrize(
        ("expression", "allowed"),
        [
            ("MIT", True), ("Apache-2.0 AND MIT", True), ("EPL-2.0 OR BSD-3-Clause", True), ("GPL-3.0-only", False),
            ("MIT AND GPL-3.0-only", False), ("GPL-2.0-only OR GPL-3.0-only", False), ("", False), ("UNKNOWN", False),
        ],
    )  # fmt: skip
    def test_one_alternative_must_be_agreed_to_in_every_part(self, expression, allowed):
        assert licences.allowed(expression) is allowed

    def test_one_that_nobody_agreed_to_is_named(self, monkeypatch, capsys):
        monkeypatch.setattr(licences, "ALLOWED", licences.ALLOWED - {"MPL-2.0"})
        assert licences.main() == 1
        assert "py-vapid is under 'MPL-2.0'" in capsys.readouterr().err

    def test_the_notice_names_every_model_that_is_shipped(self):
        named = re.findall(r"edge_agent/models/([\w*-]+)", (REPOSITORY / "NOTICE").read_text())
        for manifest in (REPOSITORY / "edge_agent" / "models").glob("*/manifest.json"):
            assert any(fnmatch(manifest.parent.name, one) for one in named), manifest.parent.name


#: What the service of https://osv.dev would say.
FLAW = {
    "id": "PYSEC-2026-1",
    "modified": "2026-11-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "idna", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


class TestAudit:
    """pip-audit itself, asking a service on this computer."""

    @pytest.fixture
    def service(self):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                known = {"vulns": [FLAW]} if asked["package"]["name"] == "idna" else {}
                body = json.dumps(known).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield ["--vulnerability-service=osv", f"--osv-url=http://127.0.0.1:{server.server_port}/"]
        server.shutdown()
        thread.join()
        server.server_close()

    def test_what_is_known_is_named_and_may_be_ignored_for_a_time(self, service, tmp_path, monkeypatch, capsys):
        assert audit.main(service) == 1
        said = capsys.readouterr().err
        assert re.search(r"idna \S+ has PYSEC-2026-1, fixed in 99\.1", said)
        assert "make lock" in said
        monkeypatch.setattr(audit, "IGNORED", tmp_path / "ignored.txt")
        (tmp_path / "ignored.txt").write_text("# why\n\nPYSEC-2026-1 2999-12-31 never decoded here\n")
        assert audit.main(service) == 0
        assert "1 ignored" in capsys.readouterr().out

    def test_a_service_that_does_not_answer_holds_nobody_up(self, capsys):
        options = ["--vulnerability-service=osv", f"--osv-url=http://127.0.0.1:{free_port()}/"]
        assert audit.main(options) == 0
        assert "nothing was checked" in capsys.readouterr().err

    def test_what_was_ignored_counts_again_after_its_day(self, tmp_path):
        path = tmp_path / "ignored.txt"
        path.write_text("A-1 2026-11-30 not reached\n")
        assert audit.ignored(path, date(2026, 11, 30)) == ["A-1"]
        assert audit.ignored(path, date(2026, 12, 1)) == []

    @pytest.mark.parametrize("line", ["A-1", "A-1 2026-11-30", "A-1 soon because"])
    def test_what_is_ignored_needs_a_day_and_a_reason(self, tmp_path, monkeypatch, capsys, line):
        monkeypatch.setattr(audit, "IGNORED", tmp_path / "ignored.txt")
        (tmp_path / "ignored.txt").write_text(f"{line}\n")
        assert audit.main([]) == 1
        assert "YYYY-MM-DD reason" in capsys.readouterr().err


def test_the_bill_names_each_distribution_and_model_with_hash_and_licence(tmp_path):
    command = [sys.executable, "-m", "requirements.sbom", tmp_path]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for role in ("kiosk", "pager"):
        components = json.loads((tmp_path / f"{role}.cdx.json").read_text())["components"]
        names = {one["name"] for one in components}
        assert {pin.name for pin in read(role) if pin.applies} <= names
        assert {"fer-compact-3", "blazeface-short-range", "setuptools"} <= names
        for one in components:
            hashes = one.get("hashes") or [hash_ for file in one["externalReferences"] for hash_ in file["hashes"]]
            assert hashes, one["name"]
            assert one["licenses"], one["name"]
