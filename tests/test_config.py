"""A configuration file is either right or refused with its line."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from test_bus import make_certificate

from edge_agent import yaml_loader
from edge_agent.alerting.thresholds import thresholds_for
from edge_agent.config import PROFILES, Config, Mqtt, load_config
from edge_agent.config.options import describe
from edge_agent.delivery.password import read_password
from edge_agent.errors import ConfigError
from edge_agent.vision.manifest import OperatingPoint

SHOP = "hours:\n- {name: shop, days: {mon-fri: ['09:00-18:00']}}"


def hours(*days: str) -> str:
    """Return hours whose days begin on line 4; a line with two spaces before it is beside them."""
    lines = [line if line.startswith("  ") else f"    {line}" for line in days]
    return "\n".join(["hours:", "- name: shop", "  days:", *lines])


def test_the_shipped_file_shows_every_option_with_its_default():
    shown = yaml.safe_load((REPOSITORY / "config.yaml").read_text())

    def check(instance: object, given: dict, path: str) -> None:
        names = {f.name for f in dataclasses.fields(instance)}
        assert set(given) == names, f"{path}: {set(given) ^ names}"
        for name in names:
            value = getattr(instance, name)
            if dataclasses.is_dataclass(value):
                check(value, given[name], f"{path}.{name}")

    config = load_config(REPOSITORY / "config.yaml")
    check(config, shown, "")
    check(config.rules[0], shown["rules"][0], "rules.0")
    assert config == Config()


def test_an_empty_file_is_the_default(tmp_path):
    (tmp_path / "c.yaml").write_text("")
    (tmp_path / "notepad.yaml").write_bytes(b"\xef\xbb\xbfsite:\r\n  name: lobby\r\n")
    assert load_config(tmp_path / "notepad.yaml").site.name == "lobby"
    assert load_config(tmp_path / "c.yaml") == Config()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("camera:\n  widht: 640", 2, "did you mean 'width'"),
        ("gates:\n  min_brightness: 20", 2, "'min_brightness' is no longer an option: dark faces are brightened"),
        ("gates: {min_contrast: 10.0}", 1, "min_relative_contrast"),
        ("\n\nmqqt: {}", 3, "did you mean 'mqtt'"),
        ("zzz: 1", 1, "allowed here: profile, site, camera"),
        ("camera:\n  width: wide", 2, "whole number from 160 to 4096"),
        ("camera:\n  width: 12", 2, "whole number from 160 to 4096"),
        ("camera:\n  width: 640.5", 2, "whole number"),
        ("camera:\n  loop: 3", 2, "true or false"),
        ("camera:\n  rotate: 45", 2, "0, 90, 180, 270"),
        ("mqtt:\n  port: 99999", 2, "from 1 to 65535"),
        ("mqtt:\n  protocol: 4", 2, "one of 5, 3.1.1"),
        ("mqtt:\n  host: null", 2, "text"),
        ("site:\n  name: a/b", 2, "matches"),
        ("site: lobby", 1, "mapping"),
        ("rules: angry", 1, "a list"),
        ("rules:\n- dwell_s: 2", 2, "'name' is missing"),
        ("rules:\n- name: a\n  upper: 0.5\n  lower: 0.9", 4, "must not be above upper (0.5)"),
        ("rules:\n- name: a\n  zones: [till]", 3, "'till' is not a zone"),
        ("rules:\n- name: a\n  role: staff", 3, "need site.jurisdiction"),
        (
            "site: {jurisdiction: DE}\nrules:\n- name: a\n  role: staff",
            4,
            "Article 5(1)(f) of Regulation (EU) 2024/1689",
        ),
        ("site: {jurisdiction: de}", 1, "jurisdiction"),
        (
            "rules:\n- name: a\n  escalation: [{after_s: 9, group: b}, {after_s: 5, group: c}]",
            3,
            "after_s must grow from level to level",
        ),
        ("rules:\n- name: a\n  emotions: [mad]", 3, "angry, happy, neutral, sad, other"),
        ("rules:\n- name: a\n- name: a", 3, "used twice"),
        (f"{SHOP}\nrules:\n- name: a\n  hours: shoop", 5, "there are no hours 'shoop'; there are shop"),
        ("rules:\n- {name: a, hours: shop}", 2, "there are no hours 'shop'; there are none"),
        (f"{SHOP}\ngroups:\n- name: staff\n  hours: shoop", 5, "there are no hours 'shoop'; there are shop"),
        (
            "rules: [{name: a, escalation: [{after_s: 5, group: boss}]}]\ngroups:\n- {name: staff}\n- name: bos",
            4,
            "no rule pages 'bos'; there are boss, staff",
        ),
        ("groups:\n- name: staff\n- name: staff", 3, "used twice"),
        (f"{SHOP}\n- {{name: shop, days: {{sat: ['09:00-12:00']}}}}", 3, "used twice"),
        ("hours:\n- name: shop", 2, "'days' is missing"),
        ("hours:\n- name: shop\n  days: {}", 3, "name at least one day, such as mon-fri"),
        (hours("sun: []"), 4, "or leave the day out"),
        (hours("monday: ['09:00-12:00']"), 4, "'monday' is not a day; days are mon, tue, wed, thu, fri, sat, sun"),
        (hours("mon-: ['09:00-12:00']"), 4, "'mon-' is not a day"),
        (hours("mon: [9-18]"), 4, "'9-18' is not a time range such as \"09:00-18:00\""),
        (hours("mon:", "- 09:00-18:00", "- 19:00-25:00"), 6, "they go from 00:00 to 24:00"),
        (hours("mon: ['09:60-18:00']"), 4, "they go from 00:00 to 24:00"),
        (hours("mon: ['24:00-02:00']"), 4, "they go from 00:00 to 24:00"),
        (hours("mon: ['09:00-09:00']"), 4, "begins as it ends; the whole day is 00:00-24:00"),
        (hours("mon-fri: ['09:00-12:00']", "wed: ['13:00-18:00']"), 5, "wed has its hours already"),
        (hours("mon:", "- 13:00-18:00", "- 09:00-13:01"), 5, "overlaps another time range"),
        (hours("mon: ['18:00-02:00']", "tue: ['01:00-09:00']"), 5, "overlaps another time range"),
        (hours("mon: ['01:00-09:00']", "sun: ['18:00-02:00']"), 4, "overlaps another time range"),
        (hours("mon: ['09:00-18:00']", "  closed: [2026-12-24, 12-32]"), 5, "'12-32' is neither a date, 2026-12-24,"),
        (hours("mon: ['09:00-18:00']", "  closed: [2027-02-29]"), 5, "a day of every year, 12-24"),
        (hours("mon: ['09:00-18:00']", "  closed: [20261224]"), 5, "'20261224' is neither"),
        (hours("mon: ['09:00-18:00']", "  time_zone: Europe/Munich"), 5, "knows no time zone 'Europe/Munich'"),
        (hours("mon: ['09:00-18:00']", "  time_zone: Europe"), 5, "names are like Europe/Berlin"),
        (hours("mon: ['09:00-18:00']", "  holidays: XX"), 5, "no holidays are known of 'XX'"),
        (
            hours("mon: ['09:00-18:00']", "  holidays: DE-ZZ"),
            5,
            "'ZZ' is not a part of DE with holidays; there are",
        ),
        (hours("mon: ['09:00-18:00']", "  holidays: Bavaria"), 5, "is not text that matches"),
        ("emotion:\n  emotions:\n    a: [x]\n    b: [x]", 4, "in 'a' already"),
        ("emotion:\n  emotions: {a: [x]}\n  groups: {a: [x]}", 3, "former name 'groups'"),
        ("faces:\n  ignore_zones: [[[0, 0], [1, 1]]]", 2, "three [x, y] corners"),
        ("faces:\n  ignore_zones:\n  - [[0, 0], [1, 1], [2, 0]]", 3, "'2' is not a number from 0 to 1"),
        ("faces:\n  confidence: .nan", 2, "a number from 0.05 to 0.99"),
        ("site:\n  name: a\n  name: b", 3, "'name' is given in line 2 and again in line 3; keep one"),
        ("camera: [1,\n", 2, "not valid YAML"),
        ("a: &a [*a]", 1, "unknown key"),
        ("? [x]\n: 1", 1, "plain words"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text, line, says):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"c.yaml:{line}:" in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("long", ["9" * 50_000, "9 " * 25_000])
def test_what_is_allowed_is_seen_behind_a_value_of_any_length(long):
    with pytest.raises(ConfigError) as caught:
        yaml_loader.loads(hours(f"mon: ['{long}']"), Config)
    assert len(str(caught.value)) < 1000
    assert "not a time range such as" in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 5000, b"x: " + b"y" * 300_000])
def test_files_that_are_no_configuration_are_refused(tmp_path, content):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_config(path)


def test_emotions_are_read_by_their_former_name_too(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("emotion:\n  groups: {angry: [angry, disgust]}\n")
    assert load_config(path).emotion.emotions == {"angry": ("angry", "disgust")}


def test_the_fingerprint_follows_the_configuration():
    other = yaml_loader.loads("site: {name: lobby}", Config)
    assert other.fingerprint() != Config().fingerprint() == Config().fingerprint()


@pytest.mark.parametrize("name", [path.stem for path in PROFILES.glob("*.yaml")])
def test_every_profile_is_a_configuration_with_a_rule(name, tmp_path):
    (tmp_path / "c.yaml").write_text(f"profile: {name}\n")
    config = load_config(tmp_path / "c.yaml")
    assert config.rules
    point = OperatingPoint(emotions=("angry",), threshold=0.2)
    assert thresholds_for(config.rules, config.emotion.emotions, point)


def test_what_the_file_says_goes_before_its_profile(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("profile: supermarket_aisle\nfaces: {max_faces: 2}\nprivacy: {notice_posted: true}\n")
    config = load_config(path)
    assert (config.faces.max_faces, config.faces.min_face_px) == (2, 32)
    assert (config.privacy.notice_posted, config.privacy.min_group) == (True, 10)
    path.write_text("site: {name: x}\nprofile: airport\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:2: profile: 'airport' is not one of cafe, check_in_kiosk"):
        load_config(path)


def test_the_password_comes_from_a_private_file_or_a_credential(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert read_password(Mqtt()) is None
    secret = tmp_path / "mqtt-password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    assert read_password(Mqtt(password_file=secret)) == "open sesame"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_password(Mqtt()) == "open sesame"
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_password(Mqtt(password_file=secret))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="cannot read"):
        read_password(Mqtt(password_file=Path("/nonexistent")))


def test_check_config_exits_0_or_2(run_command, tmp_path):
    good = run_command("check-config", REPOSITORY / "config.yaml")
    assert (good.code, good.err) == (0, "")
    assert "ok" in good.out
    bad = tmp_path / "bad.yaml"
    bad.write_text("camera:\n  devcie: 1\n")
    result = run_command("check-config", bad)
    assert result.code == 2
    assert "bad.yaml:2: camera: unknown key 'devcie'; did you mean 'device'?" in result.one_line_error()
    missing = run_command("check-config", tmp_path / "none.yaml")
    assert missing.code == 2
    assert "cannot read" in missing.one_line_error()


def test_check_config_says_of_each_hours_whether_they_are_open(run_command, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "hours:\n- {name: always, days: {mon-sun: ['00:00-24:00']}}\n"
        "- {name: past, days: {mon: ['09:00-18:00']}, time_zone: Asia/Tokyo}\n"
        "- {name: never, days: {fri: ['09:00-10:00']}, time_zone: Asia/Tokyo}\n"
        "rules: [{name: a, hours: past}]\ngroups: [{name: staff, hours: never}]\n"
    )
    result = run_command("check-config", path)
    assert result.code == 0, result.err
    assert "hours always: open for a year and more\n" in result.out
    lines = [line for line in result.out.splitlines() if "hours past" in line]
    assert len(lines) == 1
    assert re.search(r"hours past: (open|closed) until Mon \d{4}-\d\d-\d\d (09|18):00 Asia/Tokyo$", lines[0])
    assert "hours of rules and groups never meet: nobody will be paged" in result.out


def test_hours_with_holidays_need_their_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "holidays", None)
    (tmp_path / "c.yaml").write_text(hours("mon: ['09:00-18:00']", "  holidays: DE"))
    with pytest.raises(ConfigError, match=r"c\.yaml:5: .*pip install '\.\[holidays\]'"):
        load_config(tmp_path / "c.yaml")


def test_check_config_tries_the_model_and_the_certificates(run_command, tmp_path):
    file = tmp_path / "c.yaml"
    for text, code, says in (
        ("emotion: {model: nope}", 3, "is the model installed"),
        ("mqtt: {tls: {enabled: true, ca_file: /nowhere}}", 2, "mqtt.tls"),
        ("rules:\n- name: a\n  emotions: [angry, sad]", 2, "give it a number such as upper"),
        (
            "web: {enabled: true, tls_cert: a.pem, tls_key: b.pem}",
            2,
            "a.pem with the key",
        ),
        ("web: {enabled: true, tls_cert: a.pem}", 2, "tls_cert and tls_key belong together"),
        ("web: {enabled: true, host: 0.0.0.0}", 2, "name a file with a token in web.token_file"),
    ):
        file.write_text(text + "\n")
        result = run_command("check-config", file)
        assert result.code == code, text
        assert says in result.one_line_error()


def test_output_that_cannot_be_written_is_no_traceback(edge_agent):
    import subprocess
    import sys

    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "edge_agent", "notice"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == "edge-agent: cannot write the output: No space left on device"


def test_a_terminal_that_knows_ascii_only_gets_an_answer(run_command):
    import os

    result = run_command("notice", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert result.code == 0
    assert "CAMERA JUDGES EXPRESSIONS" in result.out


def test_aliases_of_aliases_are_refused_before_they_become_millions(tmp_path):
    corners, zones = ",".join(["*corner"] * 3000), ",".join(["*zone"] * 3000)
    path = tmp_path / "config.yaml"
    path.write_text(f"faces:\n  ignore_zones: [&zone [&corner [0.1, 0.2],{corners}],{zones}]\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:2: faces\.ignore_zones\..*: there are more than 20000 keys"):
        load_config(path)


def test_what_no_configuration_has_is_refused_at_its_line_before_the_rest_is_read(tmp_path):
    path, folder = tmp_path / "config.yaml", tmp_path / "config.d"
    folder.mkdir()
    for text, line in (
        ("[" + ("[" * 300 + "]" * 300 + ",") * 400 + "\n?? no YAML: [", 1),
        ("site:\n" + "".join(f"{'  ' * depth}a:\n" for depth in range(1, 30)), 20),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=rf"config\.yaml:{line}: nested too deeply$"):
            load_config(path)
    path.write_text("%odd\n" * 30_000)
    with pytest.raises(ConfigError, match=r"config\.yaml:20001: there are more than 20000 keys and values$"):
        load_config(path)
    # Drop-ins share the room: none of these is too many alone.
    corner = "  - [0.1, 0.2]\n"
    path.write_text("faces:\n  ignore_zones: []\n")
    for name in ("10.yaml", "20.yaml"):
        (folder / name).write_text("faces:\n  ignore_zones:\n  -\n" + f"  {corner}" * 4500)
    with pytest.raises(ConfigError, match=r"config\.d/20\.yaml:\d+: there are more than 20000 keys and values$"):
        load_config(path)


def readme_lines(folder: Path) -> str:
    """Return the lines that the README recommends, with their files in a folder of the test's own."""
    text = (REPOSITORY / "README.md").read_text()
    [lines] = re.findall(r"config\.d/10-site\.yaml`.*?```yaml\n(.*?)```", text, re.S)
    make_certificate(folder, "broker.lan")
    (folder / "server.pem").rename(folder / "ca.pem")
    (folder / "mqtt-password").write_text("open sesame\n")
    (folder / "mqtt-password").chmod(0o600)
    lines = "\n".join(line.removeprefix("   ") for line in lines.splitlines()) + "\n"
    return lines.replace("/etc/edge-agent", str(folder))


@pytest.mark.parametrize("way", ["drop-in", "whole file", "in its places", "appended", "at the top"])
def test_the_lines_of_the_readme_work_or_say_what_to_do(run_command, tmp_path, way):
    shipped, lines = (REPOSITORY / "config.yaml").read_text(), readme_lines(tmp_path)
    path = tmp_path / "config.yaml"
    placed = shipped
    for name, section in yaml.safe_load(lines).items():
        placed = re.sub(
            rf"^{name}:.*?(?=^\S)", f"{name}: {section!r}\n".replace("True", "true"), placed, flags=re.S | re.M
        )
    path.write_text({
        "drop-in": shipped, "whole file": lines, "in its places": placed,
        "appended": shipped + lines, "at the top": lines + shipped,
    }[way])  # fmt: skip
    if way == "drop-in":
        (tmp_path / "config.d").mkdir()
        (tmp_path / "config.d" / "10-site.yaml").write_text(lines)
    result = run_command("check-config", path)
    if way in ("appended", "at the top"):
        first, second = sorted(n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith("site:"))
        said = result.one_line_error()
        assert f"config.yaml:{second}: 'site' is given in line {first} and again in line {second}; keep one" in said
        assert f"put what is yours into {tmp_path}/config.d/10-site.yaml" in said
        assert result.code == 2
    else:
        assert (result.code, result.err) == (0, "")
        config = load_config(path)
        assert (config.site.name, config.mqtt.host, config.mqtt.tls.enabled) == ("lobby", "broker.lan", True)


def test_drop_ins_go_before_the_file_in_the_order_of_their_names(tmp_path):
    path, folder = tmp_path / "config.yaml", tmp_path / "config.d"
    path.write_text("mqtt: {host: one, port: 1, username: kim}\nrules: [{name: a}, {name: b}]\n")
    before = load_config(path).fingerprint()
    (folder / "30-folder.yaml").mkdir(parents=True)
    (folder / "20.yaml").write_text("mqtt: {host: three}\nprofile: cafe\nfaces: {max_faces: 2}\n")
    (folder / "10.yaml").write_text("mqtt: {host: two, port: 2, password_file: secret}\nrules: [{name: c}]\n")
    for name in (".30.yaml", "30.yaml~", ".30.yaml.swp", "30.yaml.dpkg-old", "#30.yaml#", "30.yml"):
        (folder / name).write_text("mqtt: {host: wrong}\n")
    config = load_config(path)
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.username) == ("three", 2, "kim")
    assert config.mqtt.password_file == folder / "secret"
    assert [rule.name for rule in config.rules] == ["c"]
    assert (config.faces.max_faces, config.faces.min_face_px) == (2, 40)
    assert config.fingerprint() != before
    (folder / "20.yaml").write_text("\nmqtt:\n  hots: three\n")
    with pytest.raises(ConfigError, match=r"config\.d/20\.yaml:3: mqtt: unknown key 'hots'; did you mean 'host'"):
        load_config(path)
    (folder / "20.yaml").write_text("#" * 300_000)
    with pytest.raises(ConfigError, match=r"20\.yaml, with the files before it, is larger than 256 KiB"):
        load_config(path)


def test_a_former_name_is_replaced_by_a_drop_ins_new_one(tmp_path):
    (tmp_path / "config.yaml").write_text("emotion: {groups: {angry: [angry]}}\n")
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "a.yaml").write_text("emotion: {emotions: {angry: [angry, disgust]}}\n")
    assert load_config(tmp_path / "config.yaml").emotion.emotions == {"angry": ("angry", "disgust")}


@pytest.mark.parametrize(
    ("mqtt", "code", "says"),
    [
        ("{port: 8883}", 2, "mqtt.port: brokers speak TLS on port 8883; write `tls: {enabled: true}`"),
        ("{tls: {enabled: true}}", 0, "warning: {file}:1: mqtt.port: brokers speak no TLS on port 1883"),
        ("{username: kim}", 2, "c.yaml:1: mqtt.username: there is no password"),
        ("{username: kim, password_file: gone}", 2, "{folder}/gone: it is not there"),
        ("{password_file: secret}", 0, "warning: {file}:1: mqtt.password_file: not used"),
        ("{tls: {ca_file: secret}}", 0, "warning: {file}:1: mqtt.tls.ca_file: not used"),
        ("{port: 8883, tls: {enabled: true, ca_file: secret}}", 2, "secret is no certificate in PEM form"),
        ("{port: 8883, tls: {enabled: true, ca_file: old.pem}}", 2, "old.pem expired on 2001-02-01"),
    ],
)
def test_check_config_tells_what_cannot_work_from_what_is_odd(run_command, tmp_path, mqtt, code, says):
    (tmp_path / "secret").write_text("open sesame\n")
    (tmp_path / "secret").chmod(0o600)
    if "old.pem" in mqtt:
        make_expired(tmp_path / "old.pem")
    file = tmp_path / "c.yaml"
    file.write_text(f"mqtt: {mqtt}\n")
    result = run_command("check-config", file)
    assert result.code == code, result.err
    says = says.replace("{file}", str(file)).replace("{folder}", str(tmp_path))
    assert says in (result.one_line_error() if code else result.out)
    assert f"read: {file}\n" in result.out
    assert ("ok in shadow mode" in result.out) == (code == 0)


def make_expired(path: Path) -> None:
    from datetime import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2001, 1, 1)).not_valid_after(datetime(2001, 2, 1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def test_config_prints_what_is_in_force_and_from_where_without_secrets(run_command, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("site: {name: lobby}\nprofile: cafe\nmqtt:\n  host: one\n  port: 1884\n")
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "10-site.yaml").write_text("zones:\n- {name: a, polygon: [[0, 0], [1, 0], [1, 1]]}\n\n"
                                                        "mqtt: {host: two}\n")  # fmt: skip
    for options in ((), ("--changed",)):
        printed = run_command("config", "--config", path, *options)
        assert printed.code == 0, printed.err
        (tmp_path / "again.yaml").write_text(printed.out)
        assert load_config(tmp_path / "again.yaml") == load_config(path)
    lines = {line.split("#")[0].strip(): line.partition("# from ")[2] for line in printed.out.splitlines()}
    assert lines["host: two"] == "config.d/10-site.yaml:4"
    assert lines["port: 1884"] == "config.yaml:5"
    assert lines["min_face_px: 40"] == "profile cafe"
    assert "keepalive_s" not in printed.out
    assert run_command("config", "mqtt.host", "--config", path).out == "two\n"
    found = run_command("config", "--config", path, "--json", "--port", "1885").out
    assert json.loads(found)["mqtt.port"] == {"value": 1885, "from": "the command line, --port"}
    assert json.loads(found)["mqtt.keepalive_s"] == {"value": 6, "from": "default"}
    assert "did you mean 'mqtt.host'" in run_command("config", "mqtt.hots", "--config", path).one_line_error()
    pin_hash = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g"
    path.write_text(
        "camera: {device: 'rtsp://kim:sesame@cam/live?pw=sesame'}\n"
        f"pager: {{staff: [{{name: Kim, pin_hash: '{pin_hash}'}}]}}\n"
    )
    shown = run_command("config", "--config", path)
    assert shown.code == 0
    assert "rtsp://cam/live/" in shown.out
    for secret in ("sesame", "argon2id$"):
        assert secret not in shown.out + run_command("config", "--config", path, "--json").out


def test_what_is_known_of_an_option():
    known = describe("rules.0.dwell_s")
    assert (known.name, known.default, known.wants) == ("rules.dwell_s", 1.5, "a number from 0 to 600")
    assert known.comment == "how long the score must stay over `upper`"
    with pytest.raises(ConfigError, match=r"did you mean 'rules\.dwell_s'"):
        describe("rules.dwel_s")
