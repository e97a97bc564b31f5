"""Configuration and state in one file, and back, with the real services before and after."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sqlite3
import stat
import tarfile
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE_S
from test_web_history import fetch, fill

from edge_agent.delivery import outbox
from edge_agent.delivery.messages import Summary
from edge_agent.errors import ConfigError
from edge_agent.notify import queue
from edge_agent.pager_server import authority, certificates, history_file, keys, notifier, subscriptions
from edge_agent.statistics import score_log, summaries
from edge_agent.tools.backup import PAGER_FILES, STATE_FILES, Archive, back_up
from edge_agent.vision import zones


def end(process) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)


def test_what_is_kept_are_the_files_that_there_are():
    kept = {score_log.FILE_NAME, summaries.FILE_NAME, zones.FILE_NAME}
    assert kept | {"models/active.json"} == set(STATE_FILES)
    of_pagers = {history_file.FILE_NAME, subscriptions.FILE_NAME, authority.FILE_NAME, certificates.FILE_NAME}
    assert of_pagers | {keys.VAPID, keys.LINKS, keys.SHIFTS, keys.CLIENT} == set(PAGER_FILES)
    assert not {outbox.FILE_NAME, queue.FILE_NAME, notifier.FILE_NAME} & {*STATE_FILES, *PAGER_FILES}


def test_a_kiosk_is_itself_again_after_its_disk_was_lost(
    edge_agent, run_command, listen, site, write_config, confirmed, keys, tmp_path
):
    etc, state, file = tmp_path / "etc", tmp_path / "state", tmp_path / "kiosk.tar"
    shutil.copytree(confirmed, state)
    etc.mkdir()
    shutil.copy(keys / "ours.pub", etc)
    (etc / "config.d").mkdir()
    (etc / "config.d" / "10-site.yaml").write_text("site: {place: the drawer}\n")
    given = {"camera": {"source": "synthetic"}, "emotion": {"trusted_keys": ["ours.pub"]}}
    Path(write_config(**given)).rename(etc / "config.yaml")
    listener = listen(f"kiosk/v1/{site}/#")

    def runs():
        agent = edge_agent("run", "--config", etc / "config.yaml")
        listener.wait_for_json("/state", state="online")
        listener.wait_for_json("/info", model="next-1")
        listener.messages.clear()
        return agent

    agent = runs()
    summaries.keep(state, Summary(7, {"happy": 1.0}, 1.0), begin_s=0, end_s=900)
    made = run_command("backup", file, "--config", etc / "config.yaml", cwd=tmp_path)
    assert made.code == 0, made.err
    assert "passwords and keys are in it" in made.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        assert not [name for name in tar.getnames() if "outbox" in name]
    refused = run_command("restore", file, "--config", etc / "config.yaml", "--force", cwd=tmp_path)
    assert refused.code == 6
    assert "is in use" in refused.one_line_error()
    end(agent)
    shutil.rmtree(etc)
    shutil.rmtree(state)
    restored = run_command("restore", file, "--config", etc / "config.yaml", cwd=tmp_path)
    assert restored.code == 0, restored.err
    end(runs())
    assert (etc / "config.d" / "10-site.yaml").read_text() == "site: {place: the drawer}\n"
    assert [one.visits for one in summaries.read(state, since_s=0)] == [7]
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    again = run_command("restore", file, "--config", etc / "config.yaml", cwd=tmp_path)
    assert again.code == 2
    assert "--force" in again.one_line_error()


def test_a_pager_server_keeps_its_history_and_the_phones_their_trust(edge_agent, run_command, broker, site, tmp_path):
    state, file, config = tmp_path / "pager", tmp_path / "pager.tar", tmp_path / "etc" / "config.yaml"
    config.parent.mkdir()
    (config.parent / "token").write_text("a-token-of-staff-only")
    (config.parent / "token").chmod(0o600)
    settings = {"host": "127.0.0.1", "port": 0, "state_dir": str(state), "token_file": "token"}
    config.write_text(yaml.safe_dump({"mqtt": {"port": broker.port}, "pager": settings}))
    [alert_id] = fill(state, [(60.0, {})])

    def serve():
        server = edge_agent("pager", "--web", "--config", config, "--site", site)
        return server, next(line for line in server.stdout if "staff pager at" in line).split()[-1]

    def shown(url: str) -> list[str]:
        with fetch(url + "api/history", Authorization="Bearer a-token-of-staff-only") as answer:
            return [row["id"] for row in json.load(answer)["rows"]]

    server, url = serve()
    assert shown(url) == [alert_id]
    secret = (state / "shift.key").read_bytes()
    made = run_command("backup", file, "--config", config, cwd=tmp_path)
    assert made.code == 0, made.err
    refused = run_command("restore", file, "--config", config, "--force", cwd=tmp_path)
    assert (refused.code, "is in use" in refused.one_line_error()) == (6, True)
    end(server)
    fill(state, [(30.0, {})])
    # What a killed server leaves beside its database is of another one.
    (state / "history.sqlite3-wal").write_bytes(b"\0" * 5000)
    shutil.rmtree(config.parent)
    (state / "shift.key").unlink()
    restored = run_command("restore", file, "--config", config, "--force", cwd=tmp_path)
    assert restored.code == 0, restored.err
    server, url = serve()
    assert shown(url) == [alert_id]
    assert (state / "shift.key").read_bytes() == secret
    assert stat.S_IMODE((config.parent / "token").stat().st_mode) == 0o600
    end(server)


@pytest.fixture
def archive(tmp_path) -> Path:
    """A backup of a little configuration, with a database, made by nobody's service."""
    state = tmp_path / "state"
    state.mkdir()
    with sqlite3.connect(state / "scores.sqlite3") as db:
        db.execute("CREATE TABLE visit (hour INTEGER)")
    config = tmp_path / "etc" / "config.yaml"
    config.parent.mkdir()
    config.write_text(yaml.safe_dump({
        "outbox": {"state_dir": str(state)}, "pager": {"state_dir": str(tmp_path / "none")},
        "mqtt": {"password_file": "/etc/hostname"},
    }))  # fmt: skip
    summary = back_up(config, tmp_path / "whole.tar")
    assert summary.names == ("config/config.yaml", "state/scores.sqlite3")
    assert summary.left_out == ("/etc/hostname",)
    return tmp_path / "whole.tar"


def rewritten(archive: Path, change) -> Path:
    """Return the archive with its members as `change` leaves them: name → TarInfo and content."""
    with tarfile.open(archive) as tar:
        members = {one.name: (one, tar.extractfile(one).read()) for one in tar}
    change(members)
    target = archive.with_name("changed.tar")
    with tarfile.open(target, "w") as tar:
        for member, content in members.values():
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target


def restate(members, **changes) -> None:
    member, content = members["manifest.json"]
    members["manifest.json"] = member, json.dumps({**json.loads(content), **changes}).encode()


def alter(members) -> None:
    member, content = members["state/scores.sqlite3"]
    members["state/scores.sqlite3"] = member, content[:-1] + b"x"


def lead_out(members) -> None:
    stated = json.loads(members["manifest.json"][1])["files"]
    entry = stated["state/scores.sqlite3"]
    restate(members, files={**stated, "config/../../evil": entry})
    members["evil"] = tarfile.TarInfo("config/../../evil"), members["state/scores.sqlite3"][1]


def link(members) -> None:
    member, _ = members["state/scores.sqlite3"]
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members["state/scores.sqlite3"] = member, b""


def add_one(members) -> None:
    members["more"] = tarfile.TarInfo("state/outbox.sqlite3"), b"old messages"


def lose_one(members) -> None:
    del members["state/scores.sqlite3"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (alter, "is not what was put into it"), (lead_out, "not what a backup says"), (link, "which no backup does"),
        (add_one, "which no backup does"), (lose_one, "is missing"),
        (lambda members: restate(members, format=2, version="9.0"), "was made by edge-agent 9.0; update this one"),
        (lambda members: restate(members, files=[]), "not what a backup says"),
        (lambda members: members.pop("manifest.json"), "no backup"),
    ],
)  # fmt: skip
def test_an_archive_that_is_not_whole_or_holds_more_is_refused(archive, change, problem):
    with pytest.raises(ConfigError, match=problem):
        Archive(rewritten(archive, change))


def test_what_is_no_archive_is_refused(archive, tmp_path):
    whole = archive.read_bytes()
    for number, content in enumerate((b"", b"x" * 2000, whole[: len(whole) // 2], whole[:1500])):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="damaged"):
            Archive(path)
    odd = tmp_path / "odd"
    with tarfile.open(odd, "w", format=tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.map": "x"}) as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"))
    with pytest.raises(ConfigError, match="damaged"):
        Archive(odd)
    packed = tmp_path / "packed"
    shutil.make_archive(str(packed), "gztar", archive.parent, "etc")
    with pytest.raises(ConfigError, match="damaged"):
        Archive(tmp_path / "packed.tar.gz")


def test_nothing_is_written_over_and_nothing_half_written_is_left(archive, run_command, tmp_path):
    config = tmp_path / "etc" / "config.yaml"
    assert run_command("backup", archive, "--config", config).code == 2
    assert run_command("backup", tmp_path / "no" / "where.tar", "--config", config).code == 6
    (tmp_path / "state" / "scores.sqlite3").unlink()
    empty = run_command("backup", tmp_path / "new.tar", "--config", config, cwd=tmp_path)
    assert (empty.code, "nothing to keep" in empty.one_line_error()) == (6, True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".backup", "new"))]
