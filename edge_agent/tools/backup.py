"""One file with all that a kiosk or a pager's server needs to be itself again: configuration, keys, what it learned.

A plain tar whose first member, `manifest.json`, says what follows, with SHA-256 and size of each file. Databases are
copied by SQLite itself (https://www.sqlite.org/backup.html), so that the service goes on meanwhile. What would be wrong
later is left out: messages and pages that wait to be sent, and how the last run ended. No picture is ever on the disk.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import io
import json
import os
import pwd
import re
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import IO, Any

import edge_agent
from edge_agent.config import Config, files
from edge_agent.delivery.messages import printable, rfc3339
from edge_agent.delivery.sqlite_files import check
from edge_agent.errors import ConfigError, StateError

#: Of the archive; it grows whenever an earlier version could no longer use what is in one.
FORMAT = 1
MANIFEST = "manifest.json"
CONFIG, STATE, PAGER_STATE = "config", "state", "pager-state"
#: What is kept of `outbox.state_dir`; the outbox is not: its messages are of then, and the broker knows what is open.
STATE_FILES = ("scores.sqlite3", "summaries.sqlite3", "ignore_zones.json", "models/active.json")
#: And of `pager.state_dir`; the queue of pages to be sent is not.
PAGER_FILES = (
    "history.sqlite3", "reach.sqlite3", "tls-authority.pem", "tls-server.pem", "vapid.pem", "links.key", "shift.key",
    "notify-client",
)  # fmt: skip
_MODEL = re.compile(
    r"models/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}/(manifest\.json|model\.tflite|golden\.npz|manifest\.sig)"
)
_CONFIG = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]*/){0,3}[A-Za-z0-9_-][A-Za-z0-9_.-]{0,100}")
_MAX_FILES, _MAX_BYTES, _MAX_MANIFEST_BYTES = 500, 2_000_000_000, 1_000_000
_CHUNK_BYTES = 1 << 20
#: What may be restored of a file's mode: nothing runs, nobody else writes.
_MODES = 0o664
_STATED = {"sha256": str, "bytes": int, "mode": int, "user": str, "group": str}


@dataclass(frozen=True, slots=True)
class Summary:
    """What an archive holds, for people.

    Attributes:
        left_out: files that the configuration names and that lie elsewhere, or are not there.
    """

    device: str
    made: str
    version: str
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def back_up(config_file: Path, target: Path) -> Summary:
    """Write an archive that only its owner may read.

    Raises:
        ConfigError: the configuration does not fit, or there is such a file already.
        StateError: something cannot be read or written, or a database is damaged.
    """
    loaded = files.load(config_file, Config)
    if target.exists():
        raise ConfigError(f"{target} is there already; name a new file")
    sources, left_out = _sources(loaded, config_file)
    if not any(name.startswith((STATE, PAGER_STATE)) for name in sources):
        folders = f"{loaded.config.outbox.state_dir} and {loaded.config.pager.state_dir}"
        raise StateError(f"there is nothing to keep in {folders}; is this the service's configuration, read by root?")
    site = loaded.config.site
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
            manifest: dict[str, Any] = {
                "format": FORMAT, "version": edge_agent.__version__, "made": rfc3339(time.time()),
                "device": f"{site.name}/{site.device}", "config": config_file.name, "files": {},
            }  # fmt: skip
            copies = {}
            for number, (name, source) in enumerate(sorted(sources.items())):
                copies[name] = _copied(source, Path(folder) / str(number))
                stated = {"sha256": _sha256(copies[name]), "bytes": copies[name].stat().st_size}
                manifest["files"][name] = {**stated, **_rights(source)}
            whole = Path(folder) / "archive"
            _write(whole, manifest, copies)
            whole.rename(target)
    except StateError:
        raise
    except OSError as error:
        raise StateError(f"cannot write {target}: {error.strerror or error}") from None
    return Summary(manifest["device"], manifest["made"], manifest["version"], tuple(sources), left_out)


def _sources(loaded: files.Loaded[Config], config_file: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return name in the archive → file, and what the configuration names besides."""
    folder = config_file.absolute().parent
    config = loaded.config
    found, left_out = {}, []
    for path in [*loaded.files, *_named(config)]:
        name = os.path.relpath(path, folder)
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()) and _CONFIG.fullmatch(name):
            found[f"{CONFIG}/{name}"] = path
        else:
            left_out.append(str(path))
    for room, state_dir, names in (
        (STATE, config.outbox.state_dir, [*STATE_FILES, *_models(config.outbox.state_dir)]),
        (PAGER_STATE, config.pager.state_dir, PAGER_FILES),
    ):
        found |= {f"{room}/{name}": state_dir / name for name in names if (state_dir / name).is_file()}
    return found, tuple(left_out)


def _named(section: Any) -> Iterator[Path]:
    """Yield the files that a configuration names, but not the folders of its state."""
    for one in fields(section):
        value = getattr(section, one.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Path) and one.name != "state_dir":
                yield item
            elif is_dataclass(item):
                yield from _named(item)


def _models(state_dir: Path) -> list[str]:
    names = [str(path.relative_to(state_dir)) for path in state_dir.glob("models/*/*") if not path.is_symlink()]
    return [name for name in names if _MODEL.fullmatch(name)]


def _copied(source: Path, copy: Path) -> Path:
    """Return a copy that nobody writes to; of a database as of one moment, looked through.

    Raises:
        StateError: the database is damaged.
    """
    if source.suffix != ".sqlite3":
        shutil.copyfile(source, copy)
        return copy
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=10)) as db,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            db.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            check(target)
    except sqlite3.Error as error:
        raise StateError(f"cannot copy {source}: {error}") from None
    return copy


def _rights(source: Path) -> dict[str, Any]:
    user = group = ""
    with contextlib.suppress(KeyError):  # of a number without an account
        user, group = source.owner(), source.group()
    return {"mode": source.stat().st_mode & _MODES, "user": user, "group": group}


def _write(target: Path, manifest: dict[str, Any], copies: dict[str, Path]) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            text = json.dumps(manifest, indent=1).encode()
            _add(tar, MANIFEST, len(text), io.BytesIO(text))
            for name, copy in copies.items():
                with copy.open("rb") as content:
                    _add(tar, name, copy.stat().st_size, content)
        file.flush()
        os.fsync(file.fileno())


def _add(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    tar.addfile(member, content)


class Archive:
    """An archive that was read to its end and found whole.

    Raises:
        ConfigError: it is none, is damaged, was made by a later version, or holds what no backup does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ConfigError(f"{path} is too large to be a backup")
            # Without compression nothing in it is larger than itself.
            with tarfile.open(path, "r:") as tar:
                self._manifest = self._read_manifest(tar)
                self._check(tar)
        except ConfigError:
            raise
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
        # Of odd headers tarfile raises more than its own.
        except (tarfile.TarError, EOFError, ValueError, LookupError, OverflowError, RecursionError):
            raise ConfigError(f"{path} is damaged, or no backup") from None

    @property
    def summary(self) -> Summary:
        """What it holds."""
        stated = self._manifest
        device, made, version = (printable(stated[key]) for key in ("device", "made", "version"))
        return Summary(device, made, version, tuple(stated["files"]))

    def _read_manifest(self, tar: tarfile.TarFile) -> dict[str, Any]:
        first = tar.next()
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > _MAX_MANIFEST_BYTES:
            raise ConfigError(f"{self._path} is damaged, or no backup")
        try:
            stated = json.loads(_content(tar, first).read())
            if stated["format"] > FORMAT:
                raise ConfigError(
                    f"{self._path} was made by edge-agent {printable(stated['version'])}; update this one first"
                )
            fit = all(isinstance(stated[key], str) for key in ("version", "made", "device", "config")) and all(
                _may_be(name) and all(type(one[key]) is kind for key, kind in _STATED.items())
                for name, one in stated["files"].items()
            )
            if stated["format"] != FORMAT or not fit or f"{CONFIG}/{stated['config']}" not in stated["files"]:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self._path}: {MANIFEST} is not what a backup says of itself") from None
        manifest: dict[str, Any] = stated
        return manifest

    def _check(self, tar: tarfile.TarFile) -> None:
        wanted = dict(self._manifest["files"])
        if len(wanted) > _MAX_FILES:
            raise ConfigError(f"{self._path} holds more than {_MAX_FILES} files")
        while (member := tar.next()) is not None:
            stated = wanted.pop(member.name, None)
            # No links, devices, holes, and nothing twice.
            if stated is None or not member.isreg() or member.issparse():
                raise ConfigError(f"{self._path} holds {member.name[:100]!r}, which no backup does")
            hashed = hashlib.file_digest(_content(tar, member), "sha256").hexdigest()  # type: ignore[arg-type]
            if member.size != stated["bytes"] or hashed != stated["sha256"]:
                raise ConfigError(f"{self._path} is damaged: {member.name} is not what was put into it")
        if wanted:
            raise ConfigError(f"{self._path} is damaged: {next(iter(wanted))} is missing")

    def restore(self, config_file: Path, *, replace: bool) -> Config:
        """Put everything in place; return the configuration, which says where the state belongs.

        Args:
            config_file: where it goes; what belongs to it goes beside it.
            replace: what is there already is replaced.

        Raises:
            ConfigError: its configuration does not fit, or something is there already.
            StateError: a service is using the state, or something cannot be written.
        """
        folder = config_file.absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".restore-") as temporary:
                unpacked = Path(temporary)
                self._unpack(unpacked)
                config = files.load(unpacked / CONFIG / self._manifest["config"], Config).config
                targets = self._targets(config_file, config)
                there = [path for path in targets.values() if path.exists()]
                if there and not replace:
                    more = f", and {len(there) - 1} more" if there[1:] else ""
                    raise ConfigError(f"{there[0]} is there already{more}; --force replaces what is there")
                for path in targets.values():
                    if path.suffix == ".sqlite3":
                        _refuse_if_used(path)
                _refuse_if_used(config.outbox.state_dir / "outbox.sqlite3")
                # The configuration last: without it no service starts with half of the rest.
                for name in sorted(targets, key=lambda name: (name.startswith(CONFIG), name)):
                    self._place(unpacked / name, targets[name], self._manifest["files"][name])
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"cannot restore {self._path}: {error.filename or ''} {error.strerror}") from None
        return config

    def _unpack(self, folder: Path) -> None:
        with tarfile.open(self._path, "r:") as tar:
            for name, stated in self._manifest["files"].items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    shutil.copyfileobj(_content(tar, tar.getmember(name)), file, _CHUNK_BYTES)
                if _sha256(target) != stated["sha256"]:
                    raise ConfigError(f"{self._path} changed while it was read")

    def _targets(self, config_file: Path, config: Config) -> dict[str, Path]:
        """Return name in the archive → where it belongs."""
        main, below = self._manifest["config"], files.folder_of(Path(self._manifest["config"])).name
        rooms = {STATE: config.outbox.state_dir, PAGER_STATE: config.pager.state_dir}
        targets = {}
        for name in self._manifest["files"]:
            room, _, rest = name.partition("/")
            if room in rooms:
                targets[name] = rooms[room] / rest
            elif rest == main:
                targets[name] = config_file
            elif rest.startswith(f"{below}/"):
                targets[name] = files.folder_of(config_file) / rest.removeprefix(f"{below}/")
            else:
                targets[name] = config_file.parent / rest
        return targets

    def _place(self, source: Path, target: Path, stated: dict[str, Any]) -> None:
        owner = _owner(stated)
        for folder in (target.parent.parent, target.parent):
            # The service may write into its state, and must not lead root elsewhere.
            if folder.is_symlink() and os.geteuid() == 0 and folder.name == "models":
                raise StateError(f"{folder} is a link; remove it")
            if not folder.exists():
                folder.mkdir(mode=0o750 if source.parts[-2] == CONFIG else 0o700, parents=True)
                os.chown(folder, *owner)
        # A log of the database that was there is none of this one.
        for suffix in ("-wal", "-shm", "-journal"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        temporary = target.with_name(f".{target.name}.restoring")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with source.open("rb") as content, os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(content, file, _CHUNK_BYTES)
            file.flush()
            os.fchown(descriptor, *owner)
            os.fchmod(descriptor, stated["mode"] & _MODES)
            os.fsync(descriptor)
        temporary.replace(target)


def _owner(stated: dict[str, Any]) -> tuple[int, int]:
    """Return whom root gives a file: whose it was, as far as there is such a user and group; -1 for no change."""
    user = group = -1
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(stated["user"]).pw_uid
            group = grp.getgrnam(stated["group"]).gr_gid
    return user, group


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.TarError
    return content


def _may_be(name: str) -> bool:
    """Tell whether a backup may hold a file of this name; none leads out of its folder."""
    room, _, rest = name.partition("/")
    return {
        CONFIG: _CONFIG.fullmatch(rest) is not None,
        STATE: rest in STATE_FILES or _MODEL.fullmatch(rest) is not None,
        PAGER_STATE: rest in PAGER_FILES,
    }.get(room, False)


def _refuse_if_used(path: Path) -> None:
    """Refuse to replace a database that somebody has open: leaving the write-ahead log takes being alone.

    Raises:
        StateError: somebody has.
    """
    if not path.is_file():
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=0.5)) as db:
        try:
            if db.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == "delete":
                return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                return  # it cannot be read: nothing to lose
        raise StateError(
            f"{path} is in use; stop edge-agent, edge-pager and edge-notify first, with sudo systemctl stop"
        )
