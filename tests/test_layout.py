"""The rooms of the house: data flows one way, and what ships stands alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

#: Room → rooms it may import from; what lies in `edge_agent` itself, BASE, may be imported by all.
ALLOWED = {
    "camera": {"camera"},
    "vision": {"vision", "camera"},
    "alerting": {"alerting", "vision"},
    "delivery": {"delivery", "alerting"},
    "statistics": {"statistics", "camera", "alerting", "vision", "delivery", "pipeline", "observer"},
    "web": {"web", "statistics", "camera", "vision", "alerting", "delivery", "pipeline", "observer"},
    "pager": {"pager", "delivery", "alerting"},
    "pager_server": {"pager_server", "pager", "delivery", "alerting", "web"},
    "notify": {"notify", "pager_server", "pager", "delivery", "alerting"},
    "agent": {"agent", "camera", "vision", "alerting", "delivery", "statistics", "pipeline", "observer", "web"},
    "demo": {"demo", "camera", "vision", "alerting", "delivery", "pipeline", "agent", "pager"},
    "tools": {"tools", "camera", "vision", "alerting", "delivery", "statistics", "pipeline", "agent", "demo"},
    "setup": {"setup", "tools", "camera", "vision", "delivery", "statistics", "web", "pager_server"},
}
BASE = {"errors", "config", "yaml_loader", "yaml_nodes", "logs", "clock", "languages"}
#: The same of the trainer: what is learned from, the networks, what a model is worth, and training, which asks that.
TRAINER = {
    "data": {"data"},
    "zoo": {"zoo", "data"},
    "evaluation": {"evaluation", "data"},
    "fit": {"fit", "evaluation", "zoo", "data"},
}
TRAINER_BASE = {"errors", "labels", "recipe", "runs"}


def imports(path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def rooms_used(path, package="edge_agent") -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")}


def modules(*rooms: str) -> list[Path]:
    """Return the modules of a room, or of the whole agent; there must be some."""
    found = sorted(REPOSITORY.joinpath("edge_agent", *rooms).rglob("*.py"))
    assert found, rooms
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_from_earlier_ones(room):
    for path in modules(room):
        assert rooms_used(path) <= ALLOWED[room] | BASE, path


def test_the_agent_needs_neither_trainer_nor_converter():
    for path in modules():
        assert not {
            name for name in imports(path) if name.split(".")[0] in ("trainer", "converter", "tensorflow", "keras")
        }


@pytest.mark.parametrize("room", TRAINER)
def test_a_part_of_the_trainer_imports_only_from_those_before_it(room):
    for path in (REPOSITORY / "trainer" / room).rglob("*.py"):
        assert rooms_used(path, "trainer") <= TRAINER[room] | TRAINER_BASE, path


def test_what_all_of_the_trainer_shares_knows_none_of_its_parts():
    top = {path.stem: path for path in (REPOSITORY / "trainer").glob("*.py")}
    assert set(top) == TRAINER_BASE | {"__init__", "__main__"}
    for name in TRAINER_BASE:
        assert rooms_used(top[name], "trainer") <= TRAINER_BASE, name


def test_no_module_of_the_trainer_imports_itself_by_way_of_others():
    """Imports within functions count: they put a circle off, they do not break it."""
    used = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): imports(path)
        for path in (REPOSITORY / "trainer").rglob("*.py")
    }
    # `from module import name` reads as module.name, which is a module itself or something in one.
    left = {
        name: {m for full in names for m in (full, full.rpartition(".")[0])} & set(used) for name, names in used.items()
    }
    while free := {name for name, modules in left.items() if not modules & set(left)}:
        left = {name: modules for name, modules in left.items() if name not in free}
    assert left == {}, "a circle, and what hangs on it"


def test_alerting_is_pure():
    forbidden = {"time", "random", "secrets", "os", "sqlite3", "socket", "threading", "cv2", "pathlib"}
    for path in modules("alerting"):
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path


def test_only_one_module_knows_paho():
    users = {path.name for path in (REPOSITORY / "edge_agent").rglob("*.py") if any("paho" in n for n in imports(path))}
    assert users == {"mqtt.py"}


def tracked(*folders: str) -> list[str]:
    command = ["git", "ls-files", "-z", *folders]
    out = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [name for name in out.split("\0") if name]


def test_the_package_is_the_agent_with_all_its_files_and_nothing_else():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["packages"]["find"]["include"] == ["edge_agent*"]
    packaged = {
        str(path.relative_to(REPOSITORY))
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in (REPOSITORY / package.replace(".", "/")).glob(pattern)
    }
    modules = {name for name in tracked("edge_agent") if name.endswith(".py")}
    assert set(tracked("edge_agent")) <= packaged | modules
    assert not [name for name in modules if not (REPOSITORY / name).with_name("__init__.py").exists()]


def test_the_repository_holds_nothing_it_must_not():
    files = tracked()
    models = {name for name in files if name.endswith((".tflite", ".keras", ".onnx", ".h5"))}
    assert models == {
        "edge_agent/models/blazeface-full-range/model.tflite",
        "edge_agent/models/blazeface-short-range/model.tflite",
        "edge_agent/models/fer-compact-3/model.tflite",
        "trainer/runs/fer-compact-3/model.keras",
    }
    assert not [name for name in files if name.endswith((".csv", ".log", ".sqlite3")) and "history" not in name]


def test_every_room_is_on_the_list():
    rooms = {path.parent.name for path in (REPOSITORY / "edge_agent").glob("*/__init__.py")}
    assert rooms - {"cli", "config"} == set(ALLOWED)
