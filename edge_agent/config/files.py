"""The files of a configuration: the one that is named, drop-ins beside it, and the profile they build on.

Drop-ins of `config.yaml` lie in the folder `config.d` beside it, as systemd.unit(5) has them: `*.yaml`, in the order of
their names, and what comes later goes before what came earlier. Mappings are merged, lists and values replaced.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from edge_agent import yaml_loader, yaml_nodes
from edge_agent.errors import ConfigError
from edge_agent.yaml_nodes import Origin

T = TypeVar("T")
#: Partial configurations for places, named by the key `profile`.
PROFILES = Path(__file__).parent.parent / "profiles"
#: All files of a configuration together.
MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A configuration and where it comes from.

    Attributes:
        files: that were read, in this order, without the profile.
        origins: dotted path → where its value was given, e.g. `mqtt.host`, `rules.0.name`; no defaults.
    """

    config: T
    files: tuple[Path, ...]
    origins: dict[str, Origin]

    def place(self, path: str) -> str:
        """Return file and line of an option, or of what it is part of, for messages."""
        while path not in self.origins:
            path = path.rpartition(".")[0]
        file, line = self.origins[path]
        return f"{file}:{line}"


def load(path: Path, schema: type[T], *, instead: Mapping[Path, bytes] | None = None) -> Loaded[T]:
    """Read a file, its drop-ins, and the profile that its key `profile` names.

    Args:
        instead: file → what to read in place of what it holds, or of what is not there yet.

    Raises:
        ConfigError: one of them cannot be read, is no YAML, or does not fit, or they are larger than MAX_BYTES
            together; the message names the file, the line, the key and what is allowed there.
    """
    given = instead or {}
    names = [path, *sorted({*drop_ins(path), *(name for name in given if name.parent == folder_of(path))})]
    left, nodes, room = MAX_BYTES, [], yaml_nodes.Room()
    for name in names:
        raw = (
            given[name]
            if name in given
            else _read(name, left, "name a file with --config" if name == path else f"remove it from {name.parent}")
        )
        left -= len(raw)
        nodes.append(yaml_nodes.compose(raw, str(name), room))
    beside = folder_of(path) / "10-site.yaml"
    advice = f"{yaml_nodes.KEEP_ONE}, or put what is yours into {beside}, which goes before this file"
    for name, node in zip(names, nodes, strict=True):
        yaml_nodes.items(node, "", twice=advice if name == path else yaml_nodes.KEEP_ONE)
    merged = nodes[0]
    for node in nodes[1:]:
        merged = merge(node, merged, schema)
    config, origins = yaml_loader.convert(_inherited(_on_profile(merged, schema), schema), schema)
    return Loaded(config, tuple(names), origins)


def folder_of(path: Path) -> Path:
    """Return the folder of a file's drop-ins: config.d of config.yaml."""
    return path.parent / f"{path.stem}.d"


def drop_ins(path: Path) -> list[Path]:
    """Return the files of the drop-in folder that are read, sorted by name; none where there is no folder.

    Hidden files, what editors and dpkg leave (`10-site.yaml~`, `10-site.yaml.dpkg-old`) and folders are not.

    Raises:
        ConfigError: the folder cannot be read.
    """
    folder = folder_of(path)
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"cannot read the folder {folder}: {error.strerror}") from None
    return [one for one in found if one.suffix == ".yaml" and not one.name.startswith(".") and one.is_file()]


def not_read(path: Path) -> list[Path]:
    """Return files of the drop-in folder that look as if they were meant to be read: those of other endings."""
    folder = folder_of(path)
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [one for one in found if one.suffix in (".yml", ".conf", "") and one.name[0] != "." and one.is_file()]


def _read(path: Path, limit: int, advice: str) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except PermissionError:
        raise ConfigError(f"cannot read {path}: let the user of this command, and of the service, read it") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; {advice}") from None
    if len(raw) > limit:
        with_others = "" if limit == MAX_BYTES else ", with the files before it,"
        raise ConfigError(f"{path}{with_others} is larger than {MAX_BYTES // 1024} KiB; this cannot be a configuration")
    return raw


def merge(over: yaml.Node, base: yaml.Node, kind: Any, path: str = "") -> yaml.Node:
    """Return a mapping with what its base has and it lacks, and so in the mappings below; anything else as it is.

    Args:
        kind: type of the value, which says where mappings are expected.
        path: dotted, of the value.
    """
    if not isinstance(over, yaml.MappingNode) or not isinstance(base, yaml.MappingNode):
        return over
    if not is_dataclass(kind) and typing.get_origin(kind) is not dict:
        return over
    renamed = getattr(kind, "RENAMED", {})
    hints = typing.get_type_hints(kind) if is_dataclass(kind) else {}
    value = list(over.value)
    given = {renamed.get(key, key): at for at, (key, _, _) in enumerate(yaml_nodes.items(over, path))}
    for key, key_node, node in yaml_nodes.items(base, path):
        name = renamed.get(key, key)
        if name not in given:
            value.append((key_node, node))
        else:
            at = given[name]
            below = f"{path}.{name}" if path else name
            value[at] = value[at][0], merge(value[at][1], node, hints.get(name), below)
    return yaml.MappingNode(over.tag, value, over.start_mark, over.end_mark)


def _inherited(node: yaml.Node, schema: type[Any]) -> yaml.Node:
    """Give each of several cameras what the file says in the sections that are its own, and it leaves out."""
    given = {key: value for key, _, value in yaml_nodes.items(node, "")}
    cameras = given.get("cameras")
    if isinstance(cameras, yaml.SequenceNode) and "cameras" in (one.name for one in fields(schema)):
        hints = typing.get_type_hints(schema)
        for entry in cameras.value:
            for at, (key_node, value) in enumerate(entry.value if isinstance(entry, yaml.MappingNode) else ()):
                if isinstance(key_node, yaml.ScalarNode) and key_node.value in given:
                    base, kind = given[key_node.value], hints.get(key_node.value)
                    entry.value[at] = key_node, merge(value, base, kind, f"cameras.{key_node.value}")
    return node


def _on_profile(node: yaml.Node, schema: type[Any]) -> yaml.Node:
    """Add what the named profile says and the files do not."""
    if "profile" not in (one.name for one in fields(schema)):
        return node
    for key, _, value in yaml_nodes.items(node, ""):
        if key == "profile" and not value.tag.endswith(":null"):
            known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
            if not isinstance(value, yaml.ScalarNode) or value.value not in known:
                raise yaml_nodes.failure(value, key, f"{yaml_nodes.shown(value)} is not one of {', '.join(known)}")
            path = PROFILES / f"{value.value}.yaml"
            return merge(node, yaml_nodes.compose(path.read_bytes(), str(path)), schema)
    return node
