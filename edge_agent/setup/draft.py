"""Answers that are not written yet, checked by the real loader as they come, and written all at once at the end."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_agent.camera.address import shown
from edge_agent.config import Config, Loaded, load_with_origins
from edge_agent.config.files import folder_of
from edge_agent.config.options import SHIPPED, describe, plain_type
from edge_agent.delivery.password import read_password
from edge_agent.errors import ConfigError
from edge_agent.setup.editing import edited

_NEW_FILE_MODE, _SECRET_MODE = 0o640, 0o600
_YES, _NO = ("yes", "y", "true", "on"), ("no", "n", "false", "off")


class Draft:
    """A configuration with answers on top.

    A file that is not there begins as the one that ships. What a drop-in says is changed in the drop-in; all else goes
    into `config.d/10-site.yaml` where that folder is there, as on an installed device, and into the file itself where
    not.

    Raises:
        ConfigError: the files cannot be read, or their folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.is_new = not path.exists()
        #: Files as they were read, and as they are to be.
        self._read: dict[Path, str] = {}
        self._texts: dict[Path, str] = {self.path: SHIPPED.read_text(encoding="utf-8")} if self.is_new else {}
        self._loaded = self._load(self._texts)
        self._begun = self._loaded.config
        #: Whether files were changed.
        self.written = False
        #: To be written into a file of its own; None to leave that as it is.
        self.password: str | None = None
        self._check_writable()

    @property
    def config(self) -> Config:
        """The configuration as it would be."""
        return self._loaded.config

    def get(self, option: str) -> Any:
        """Return the value of an option in plain types."""
        return plain(_at(self.config, option))

    def set(self, values: Mapping[str, Any]) -> None:
        """Take values in plain types; either all of them, or none.

        Raises:
            ConfigError: the loader refuses one.
        """
        texts, loaded = dict(self._texts), self._loaded
        for option, value in values.items():
            if plain(_at(loaded.config, option)) == value:
                continue
            file, steps = self._place(option, loaded), [int(s) if s.isdecimal() else s for s in option.split(".")]
            lists = {str(steps[0]): _written_out(getattr(loaded.config, str(steps[0])))} if len(steps) > 2 else {}
            text = texts[file] if file in texts else self._text(file)
            try:
                texts[file] = edited(text, steps, value, lists=lists)
            except (KeyError, IndexError, TypeError, AttributeError, yaml.YAMLError):
                raise ConfigError(f"{file}: {option} cannot be changed here; edit it by hand") from None
            loaded = self._load(texts)
            if plain(_at(loaded.config, option)) != value:
                raise ConfigError(f"{file}: {option} cannot be changed here; edit it by hand")
        self._texts, self._loaded = texts, loaded

    def changes(self) -> list[tuple[str, str, str]]:
        """Return option, value before and after of each that changed; what may be a secret is left out."""
        changed = _changes(self._begun, self.config, "")
        if self.password is not None:
            changed.append(("the broker's password", "…", "…"))
        return changed

    def broker_password(self) -> str | None:
        """Return the password to try.

        Raises:
            ConfigError: the file that has it cannot be read.
        """
        return self.password if self.password is not None else read_password(self.config.mqtt)

    def write(self) -> list[Path]:
        """Write what changed; each file is replaced in one step, with the mode and owner it had.

        Raises:
            ConfigError: a file cannot be written, or somebody else has changed it since it was read.
        """
        for file in self._texts:
            if (_read_text(file) if file.exists() else None) != self._read.get(file):
                raise ConfigError(f"{file} was changed by somebody else meanwhile; run edge-agent setup again")
        written: list[Path] = []
        self.written = True
        if self.password is not None:
            secret = self.config.mqtt.password_file or self.path.parent / "mqtt-password"
            self.set({"mqtt.password_file": str(secret)})
            _replace(secret, f"{self.password}\n", new_mode=self._secret_mode(), like=self.path, secret=True)
            written.append(secret)
        for file, text in self._texts.items():
            if text != self._read.get(file):
                _replace(file, text, new_mode=_NEW_FILE_MODE, like=self.path)
                written.append(file)
        return written

    def _load(self, texts: Mapping[Path, str]) -> Loaded[Config]:
        return load_with_origins(self.path, instead={file: text.encode() for file, text in texts.items()})

    def _text(self, file: Path) -> str:
        if file not in self._read and file.exists():
            self._read[file] = _read_text(file)
        return self._read.get(file, "")

    def _place(self, option: str, loaded: Loaded[Config]) -> Path:
        """Return the file that an answer goes into."""
        folder = folder_of(self.path)
        said = next((loaded.origins[part] for part in (option, option.split(".")[0]) if part in loaded.origins), None)
        if said is not None and Path(said.file).parent == folder and (option in loaded.origins or ".0." in option):
            return Path(said.file)
        return folder / "10-site.yaml" if folder.is_dir() else self.path

    def _secret_mode(self) -> int:
        """Return the mode of a new file with a secret: its owner's; and the service's, if root made a group for it."""
        if os.geteuid() != 0 or not self.path.exists():
            return _SECRET_MODE
        state = self.path.stat()
        return _SECRET_MODE | (state.st_mode & stat.S_IRGRP if state.st_gid != 0 else 0)

    def _check_writable(self) -> None:
        folder = folder_of(self.path) if folder_of(self.path).is_dir() else self.path.parent
        if not os.access(folder, os.W_OK):
            raise ConfigError(f"cannot write into {folder}; run it as root: sudo edge-agent setup --config {self.path}")


def parse(option: str, text: str) -> Any:
    """Return what somebody typed as a value in plain types; what does not fit is left to the loader to refuse.

    Args:
        text: empty or `-` for null, where that is allowed.
    """
    kind = describe(option).kind
    inner, text = plain_type(kind), text.strip()
    if text in ("", "-") and type(None) in typing.get_args(kind):
        return None
    if inner is bool:
        return True if text.lower() in _YES else False if text.lower() in _NO else text
    if inner is Path:
        return str(Path(text).expanduser().absolute())
    if inner in (int, float):
        with contextlib.suppress(ValueError):
            return inner(text)
    return text


def plain(value: Any) -> Any:
    """Return a value of the configuration as YAML has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def reason(error: ConfigError, option: str) -> str:
    """Return what the loader says of an option, without file and line, which somebody who types has not seen."""
    return str(error).rpartition(f" {option}: ")[2]


def _at(config: Any, option: str) -> Any:
    for step in option.split("."):
        config = config[int(step)] if step.isdecimal() else getattr(config, step)
    return config


def _written_out(items: Any) -> list[dict[str, Any]]:
    """Return a list of the configuration with what differs from the defaults; names always."""
    if not isinstance(items, tuple):
        return []
    found = []
    for item in items:
        usual = {one.name: one.default for one in fields(item)}
        found.append({key: value for key, value in plain(item).items() if value != plain(usual[key]) or key == "name"})
    return found


def _changes(before: Any, after: Any, path: str) -> list[tuple[str, str, str]]:
    found = []
    for one in fields(after):
        old, new, name = getattr(before, one.name), getattr(after, one.name), f"{path}{one.name}"
        if is_dataclass(new):
            found += _changes(old, new, f"{name}.")
        elif old != new and name == "rules" and len(old) == len(new):
            for index, (rule_before, rule) in enumerate(zip(old, new, strict=True)):
                found += _changes(rule_before, rule, f"{name}.{index}.")
        elif old != new:
            was, now = str(plain(old)), str(plain(new))
            found.append((name, shown(was), shown(now)) if one.metadata.get("secret") else (name, was, now))
    return found


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from None


def _replace(path: Path, text: str, *, new_mode: int, like: Path, secret: bool = False) -> None:
    """Replace a file in one step.

    Args:
        new_mode: of a file that is not there yet.
        like: whose owner a new file gets, where this is root.
        secret: nobody else may read it, whatever its mode was.
    """
    target = path.resolve()
    try:
        state = target.stat() if target.exists() else None
        mode = new_mode if state is None else stat.S_IMODE(state.st_mode)
        owner = state or (like.stat() if like.exists() else target.parent.stat())
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode & ~0o007 if secret else mode)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; is it root's? then: sudo edge-agent setup") from None
