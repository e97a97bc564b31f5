"""The Debian packages: what they hold is what `make install` makes, and their scripts are scripts."""

from __future__ import annotations

import gzip
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from edge_agent.config import load_config

SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_packages", REPOSITORY / "packaging" / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_packages"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["build_packages"]


@pytest.fixture
def tree(build, tmp_path):
    """Return the folder of both packages, without the wheels."""
    for name, package in build.PACKAGES.items():
        build.system_files(package, build.SUITES["trixie"], tmp_path / name)
        site = tmp_path / name / "opt" / package.name
        site.mkdir(parents=True)
    return tmp_path


def test_the_kiosks_units_users_and_folders_are_those_of_make_install(tree):
    system = tree / "edge-agent" / "usr" / "lib"
    source = REPOSITORY / "systemd"
    assert (system / "systemd/system/edge-agent.service").read_text() == (source / "edge-agent.service").read_text()
    for kind in ("sysusers", "tmpfiles"):
        assert (system / f"{kind}.d/edge-agent.conf").read_text() == (source / f"edge-agent.{kind}").read_text()


def test_the_kiosks_configuration_is_that_of_make_install(tree):
    [command] = re.findall(r"^ +(sed .*config\.yaml) \|", (REPOSITORY / "systemd" / "install.sh").read_text(), re.M)
    made = subprocess.run(["sh", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    packed = tree / "edge-agent" / "etc" / "edge-agent" / "config.yaml"
    assert packed.read_text() == made
    assert str(load_config(packed).outbox.state_dir) == "/var/lib/edge-agent"


def test_the_pagers_units_run_the_pagers_program(build, tree):
    package = build.PACKAGES["edge-agent-pager"]
    for unit in (*package.enabled, *package.units):
        text = (tree / "edge-agent-pager" / "usr/lib/systemd/system" / unit).read_text()
        assert "ExecStart=/opt/edge-pager/bin/edge-agent " in text
        assert "/opt/edge-agent/" not in text
    packed = tree / "edge-agent-pager" / "etc" / "edge-pager" / "config.yaml"
    assert str(load_config(packed).pager.state_dir) == "/var/lib/edge-pager"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg here")
@pytest.mark.parametrize("name", ["edge-agent", "edge-agent-pager"])
def test_dpkg_takes_the_control_files(build, tree, name):
    package = build.PACKAGES[name]
    values = {
        "VERSION": "1.0+deb13", "ARCH": "all", "NAME": package.name, "PYTHON": "3.13", "NEXT_PYTHON": "3.14",
        "MAINTAINER": build.MAINTAINER, "ENABLED": " ".join(package.enabled),
        "UNITS": " ".join((*package.enabled, *package.units)), "PRIORITY": str(package.priority),
    }  # fmt: skip
    build.control_files(name, values, tree / name)
    for script in SCRIPTS:
        file = tree / name / "DEBIAN" / script
        assert subprocess.run(["sh", "-n", file], check=False).returncode == 0
        assert "@" not in file.read_text()
    deb = tree / "package.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree / name, deb], check=True)
    asked = subprocess.run(["dpkg-deb", "-f", deb, "Package", "Depends"], capture_output=True, text=True, check=True)
    assert f"Package: {name}\n" in asked.stdout
    assert "python3 (>= 3.13~), python3 (<< 3.14~)" in asked.stdout
    conffiles = subprocess.run(["dpkg-deb", "-I", deb, "conffiles"], capture_output=True, text=True, check=True)
    assert conffiles.stdout == f"/etc/{package.name}/config.d/README\n/etc/{package.name}/config.yaml\n"


@pytest.mark.parametrize(("sub_command", "told"), [("", "edge-agent notify"), ("pager", "--join")])
def test_a_manual_page_tells_what_help_tells(build, monkeypatch, sub_command, told):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setattr(sys, "path", list(sys.path))
    page = gzip.decompress(build.man_page(sub_command)).decode().replace("\\-", "-")
    assert page.startswith(f'.TH EDGE-AGENT{"-PAGER" if sub_command else ""} "1" "2023-11-14"')
    assert told in page
    assert "/etc/edge-pager/config.yaml" in page


def test_make_install_pager_and_the_package_have_one_configuration(build):
    text = (REPOSITORY / "systemd" / "install-pager.sh").read_text()
    [source] = re.findall(r"install -m 640 (\S+) /etc/edge-pager/config\.yaml", text)
    assert build.configuration(build.PACKAGES["edge-agent-pager"]) == (REPOSITORY / source).read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_compose_mounts_is_made_and_understood(tmp_path):
    script, site = REPOSITORY / "packaging" / "compose-files.sh", tmp_path / "site"
    environment = os.environ | {"EDGE_AGENT_SITE": str(site), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    secrets = []
    for _ in range(2):  # what is there is kept
        made = subprocess.run(["sh", script, "pager.lan"], env=environment, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        secrets.append(
            [(site / name).read_text() for name in ("pager/token", "kiosk/mqtt-password", "authority/ca.key")]
        )
    assert secrets[0] == secrets[1]
    assert (site / "authority").stat().st_uid == 0
    services = yaml.safe_load((REPOSITORY / "packaging" / "compose.yaml").read_text())["services"]
    for name in ("kiosk", "pager"):
        [mount] = [one for one in services[name]["volumes"] if "EDGE_AGENT_SITE" in one]
        source, target, _read_only = mount.replace("${EDGE_AGENT_SITE:-/srv/edge-agent}", str(site)).split(":")
        config = Path(source) / "config.yaml"
        config.write_text(config.read_text().replace(target, source))
        assert load_config(config).mqtt.host == "broker"
        assert (site / name / "ca.pem").read_text() == (site / "broker" / "certs" / "ca.pem").read_text()
        stage = f"AS {services[name]['image'].removeprefix('localhost/')}\n"
        assert stage in (REPOSITORY / "packaging" / "Containerfile").read_text()
