#!/usr/bin/env python3
"""Builds the wheel and the Debian packages into dist/; see docs/packages.md.

    python packaging/build.py [--suite bookworm] [--arch arm64] [--out dist]

Nothing is compiled: a package is a virtual environment as `make install` makes it, filled with the wheels of that
suite's Python and that architecture. uv fetches those for any platform, dpkg-deb packs them; argparse-manpage makes the
manual pages. Needs git, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "packaging" / "debian"
#: Versions and hashes of what is brought, see `Package.lock`.
LOCKS = ROOT / "requirements"
#: Who answers for a package is who builds it: DEBFULLNAME and DEBEMAIL say so, as to Debian's own tools.
MAINTAINER = "{} <{}>".format(
    os.environ.get("DEBFULLNAME", "The edge-agent maintainers"),
    os.environ.get("DEBEMAIL", "maintainers@edge-agent.invalid"),
)
#: Of the manual pages, in man's macros.
FILES = r"""
.I /etc/edge\-agent/config.yaml
and
.I /etc/edge\-pager/config.yaml
are the services' configurations; files in
.I config.d
beside them go before them. Every option is explained in
.I config.yaml
of /usr/share/doc/edge\-agent or /usr/share/doc/edge\-agent\-pager.
"""
#: Wheels for Bookworm's C library, and older.
PLATFORMS = {"amd64": "x86_64-manylinux_2_36", "arm64": "aarch64-manylinux_2_36"}


@dataclasses.dataclass(frozen=True)
class Suite:
    """A release of Debian, and of Raspberry Pi OS, which are the same in what matters here.

    Attributes:
        python: minor version of its python3.
        numpy_1: its packages, picamera2's simplejpeg among them, are built for numpy 1 and cannot be loaded with 2.
        restart_steps: its systemd knows RestartSteps (254).
    """

    number: int
    python: int
    numpy_1: bool
    restart_steps: bool


SUITES = {
    "bookworm": Suite(number=12, python=11, numpy_1=True, restart_steps=False),
    "trixie": Suite(number=13, python=13, numpy_1=False, restart_steps=True),
}


@dataclasses.dataclass(frozen=True)
class Package:
    """A package. Both bring the program, in folders of their own, so that one computer can have both.

    Attributes:
        name: of the program's folder in /opt, the configuration's in /etc, the state's in /var/lib, and of the user.
        lock: file in `LOCKS`, <lock>.txt; <lock>-numpy1.txt where numpy must be 1.
        enabled: units that start with the computer.
        units: others.
        priority: of its program as the command `edge-agent`, where both are installed.
    """

    name: str
    lock: str
    enabled: tuple[str, ...]
    units: tuple[str, ...]
    priority: int


PACKAGES = {
    "edge-agent": Package(
        "edge-agent", "kiosk", ("edge-agent.service",), (), priority=20
    ),
    "edge-agent-pager": Package(
        "edge-pager", "pager", ("edge-pager.service",),
        ("edge-notify.service", "edge-pager-gpio.service"), priority=10,
    ),
}  # fmt: skip


def run(*command: object, **options: object) -> str:
    """Return what a command prints; its failure ends the build with its own words."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"packaging: {' '.join(map(str, command[:4]))} … failed ({done.returncode})")
    return str(done.stdout)


def uv() -> str:
    """Return the path of uv: this environment's, or the one in PATH."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    return found or sys.exit("packaging: uv is missing; run: pip install uv")


def build_wheel(out: Path, scratch: Path) -> Path:
    """Build the wheel from the files that git knows, so that nothing of an earlier build gets in."""
    source = scratch / "source"
    for name in run("git", "-C", ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    run(uv(), "build", "--quiet", "--no-config", "--wheel", "--out-dir", scratch / "wheel", source)
    [wheel] = (scratch / "wheel").glob("*.whl")
    return Path(shutil.copy2(wheel, out))


def environment(package: Package, suite: Suite, arch: str, wheel: Path, tree: Path) -> None:
    """Make the virtual environment: what `python3 -m venv --system-site-packages` and pip would make there."""
    home = tree / "opt" / package.name
    site = home / "lib" / f"python3.{suite.python}" / "site-packages"
    install: list[object] = [
        uv(), "pip", "install", "--quiet", "--no-config", "--link-mode", "copy", "--target", site,
        "--python-version", f"3.{suite.python}",
        "--python-platform", PLATFORMS[arch],
    ]  # fmt: skip
    lock = LOCKS / f"{package.lock}{'-numpy1' if suite.numpy_1 else ''}.txt"
    run(*install, "--require-hashes", "-r", lock)
    run(*install, "--no-deps", wheel)
    shutil.rmtree(site / "bin")
    (site / ".lock").unlink(missing_ok=True)
    for cache in [*site.rglob("__pycache__")]:
        shutil.rmtree(cache)
    for noise in [*site.glob("*.dist-info/direct_url.json"), *site.glob("*.dist-info/uv_*.json")]:
        noise.unlink()  # they name this computer's folders
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.{suite.python}\n"
    )
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to("/usr/bin/python3")
    (home / "bin" / "python").symlink_to("python3")
    command = home / "bin" / "edge-agent"
    command.write_text(
        f"#!/opt/{package.name}/bin/python\nimport sys\n\nfrom edge_agent.cli import main\n\nsys.exit(main())\n"
    )
    command.chmod(0o755)


def put(text: str, target: Path) -> None:
    """Write a file, with the folders it is in."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def configuration(package: Package) -> str:
    """Return the configuration that is installed: for a kiosk, what `make install` makes of config.yaml."""
    if package.name == "edge-pager":
        return (ROOT / "systemd" / "edge-pager.yaml").read_text()
    return run("sed", "-f", ROOT / "systemd" / "installed-paths.sed", ROOT / "config.yaml")


def system_files(package: Package, suite: Suite, tree: Path) -> None:
    """Write units, users, folders and configuration."""
    name, units = package.name, tree / "usr" / "lib" / "systemd" / "system"
    for unit in (*package.enabled, *package.units):
        put((ROOT / "systemd" / unit).read_text().replace("/opt/edge-agent/", f"/opt/{name}/"), units / unit)
    if suite.restart_steps and name == "edge-agent":
        drop_in = f"{name}.service.d/10-restart-steps.conf"
        put((ROOT / "systemd" / drop_in).read_text(), units / drop_in)
    for kind in ("sysusers", "tmpfiles"):
        put((ROOT / "systemd" / f"{name}.{kind}").read_text(), tree / "usr" / "lib" / f"{kind}.d" / f"{name}.conf")
    put(configuration(package), tree / "etc" / name / "config.yaml")
    put(filled("config.d.README", {"NAME": name}), tree / "etc" / name / "config.d" / "README")


def man_page(sub_command: str = "") -> bytes:
    """Return the manual page of `edge-agent`, or of one of its commands, compressed."""
    sys.path.insert(0, str(ROOT))
    from argparse_manpage.manpage import Manpage

    from edge_agent.cli import parser

    os.environ["COLUMNS"] = "100"  # usage lines are as long whatever the terminal is
    made, about = parser(), "notices an upset customer and pages staff over MQTT"
    if sub_command:
        [commands] = [action for action in made._actions if isinstance(action, argparse._SubParsersAction)]
        [about] = [action.help for action in commands._choices_actions if action.dest == sub_command]
        made = commands.choices[sub_command]
    page = Manpage(made, {"project_name": "edge-agent", "manual_title": "edge-agent", "description": about})
    page.prog = made.prog.replace(" ", "-")
    page.add_section("files", ">", FILES)
    return gzip.compress(str(page).encode(), mtime=0)


def documents(package_name: str, version: str, date: str, tree: Path) -> None:
    """Write what /usr/share/doc holds, the broker's example too, and manual pages.

    That of `edge-agent` lies beside the program: postinst shows the one of the program that is the command.
    """
    pages = tree / "opt" / PACKAGES[package_name].name / "share" / "man" / "man1"
    pages.mkdir(parents=True)
    (pages / "edge-agent.1.gz").write_bytes(man_page())
    if package_name == "edge-agent-pager":
        shown = tree / "usr" / "share" / "man" / "man1"
        shown.mkdir(parents=True)
        (shown / "edge-agent-pager.1.gz").write_bytes(man_page("pager"))
    folder = tree / "usr" / "share" / "doc" / package_name
    put((TEMPLATES / "copyright").read_text() + "\n" + (ROOT / "NOTICE").read_text(), folder / "copyright")
    entry = (
        f"{package_name} ({version}) stable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- {MAINTAINER}  {date}\n"
    )
    for text, name in ((entry, "changelog.gz"), ((ROOT / "CHANGELOG.md").read_text(), "CHANGELOG.md.gz")):
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    put((ROOT / "config.yaml").read_text(), folder / "config.yaml")
    shutil.copytree(ROOT / "systemd" / "mosquitto", folder / "examples" / "mosquitto")


def filled(template: str, values: dict[str, str]) -> str:
    """Return a file of packaging/debian with its @words@ replaced."""
    text = (TEMPLATES / template).read_text()
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], text)


def control_files(package_name: str, values: dict[str, str], tree: Path) -> None:
    """Write DEBIAN/: what dpkg is told, and the scripts it runs."""
    control = tree / "DEBIAN"
    size = sum(file.stat().st_size for file in files(tree)) // 1024
    put(filled(f"{package_name}.control", values | {"INSTALLED_SIZE": str(size)}), control / "control")
    put("".join(f"/{file.relative_to(tree)}\n" for file in files(tree / "etc")), control / "conffiles")
    sums = (f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(tree)}\n" for file in files(tree))
    put("".join(sums), control / "md5sums")
    for script in ("preinst", "postinst", "prerm", "postrm"):
        put(filled(script, values), control / script)
        (control / script).chmod(0o755)


def files(folder: Path) -> Iterator[Path]:
    """Go through the files of a package, its control files aside."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.relative_to(folder).parts[0] != "DEBIAN":
            yield path


def deb_name(package_name: str, suite_name: str, arch: str) -> str:
    """Return the name of a package's file."""
    return f"{package_name}_{deb_version(suite_name)}_{arch}.deb"


def deb_version(suite_name: str) -> str:
    """Return the version of a package: the program's, and the release that it fits."""
    [version] = re.findall(r'^__version__ = "(.+)"', (ROOT / "edge_agent" / "__init__.py").read_text(), re.M)
    return f"{version}+deb{SUITES[suite_name].number}"


def build_deb(package_name: str, suite_name: str, arch: str, wheel: Path, out: Path, scratch: Path) -> Path:
    """Build one package; return its file."""
    package, suite = PACKAGES[package_name], SUITES[suite_name]
    version = deb_version(suite_name)
    tree = scratch / f"{package_name}-{suite_name}-{arch}"
    environment(package, suite, arch, wheel, tree)
    system_files(package, suite, tree)
    documents(package_name, version, run("date", "-u", "-R", "-d", f"@{os.environ['SOURCE_DATE_EPOCH']}").strip(), tree)
    put(filled("lintian-overrides", {"PACKAGE": package_name}), tree / "usr/share/lintian/overrides" / package_name)
    values = {
        "VERSION": version, "ARCH": arch, "NAME": package.name, "PYTHON": f"3.{suite.python}",
        "NEXT_PYTHON": f"3.{suite.python + 1}", "MAINTAINER": MAINTAINER, "ENABLED": " ".join(package.enabled),
        "UNITS": " ".join((*package.enabled, *package.units)), "PRIORITY": str(package.priority),
    }  # fmt: skip
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or (path.name == "edge-agent" and path.parent.name == "bin") else 0o644)
    (tree / "etc" / package.name / "config.yaml").chmod(0o640)
    control_files(package_name, values, tree)
    deb = out / deb_name(package_name, suite_name, arch)
    run("dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree, deb)
    shutil.rmtree(tree)
    return deb


def main() -> None:
    """Build what the command line names, or everything; print sizes and hashes."""
    parser = argparse.ArgumentParser(description="Builds the wheel and the Debian packages.")
    parser.add_argument("--suite", choices=SUITES, action="append", help="of Debian; default: all")
    parser.add_argument("--arch", choices=PLATFORMS, action="append", help="default: all")
    parser.add_argument("--package", choices=PACKAGES, action="append", help="default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the results; default: dist")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    # The same sources give the same packages, whatever the day.
    os.environ.setdefault("SOURCE_DATE_EPOCH", run("git", "-C", ROOT, "log", "-1", "--format=%ct").strip())
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="edge-agent-packages-", dir="/var/tmp") as folder:
        scratch = Path(folder)
        built = [build_wheel(options.out, scratch)]
        for suite in options.suite or SUITES:
            for arch in options.arch or PLATFORMS:
                for package in options.package or PACKAGES:
                    print(f"building {package} for {suite} on {arch} ...", file=sys.stderr)
                    built.append(build_deb(package, suite, arch, built[0], options.out, scratch))
    for file in built:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        print(f"{file.stat().st_size / 1e6:7.1f} MB  {digest}  {file.name}")


if __name__ == "__main__":
    main()
