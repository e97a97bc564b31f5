"""What files say: the configuration, models that somebody hands over, labels, addresses, and notes on a worn card."""

from __future__ import annotations

import hashlib
import io
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st

from edge_agent import yaml_loader
from edge_agent.alerting import stillness
from edge_agent.camera.address import shown
from edge_agent.config import Config, files
from edge_agent.delivery import verdicts
from edge_agent.delivery.episodes import Episodes, Now, from_text, to_text
from edge_agent.errors import BundleError, ConfigError
from edge_agent.pager_server import notifier
from edge_agent.statistics import drift, summaries
from edge_agent.tools.backup import Archive, back_up
from edge_agent.tools.evaluation.truth import label_clips
from edge_agent.vision.bundle import MODELS_DIR, Bundle, load_golden
from edge_agent.vision.manifest import ClassifierManifest, Manifest
from edge_agent.vision.models import _Active
from fuzz.inputs import damaged, payloads, plain_changed, texts
from fuzz.mqtt import _OPEN, _RULES, UNIX_S
from fuzz.table import Target, refused

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
_SHIPPED = (Path(__file__).parents[2] / "config.yaml").read_text(encoding="utf-8")
_STATED: dict[str, Any] = yaml.safe_load(_SHIPPED)
#: Part by part: most of the time would go by over parts that nothing was changed in.
_SECTIONS = [
    *({key: value} for key, value in _STATED.items()),
    {"hours": [{"name": "shop", "days": {"mon-fri": ["09:00-18:00"]}, "closed": ["12-24"]}]},
    {"zones": [{"name": "till", "polygon": [[0, 0], [1, 0], [1, 1]]}]},
    {"profile": "cafe", "pager": {"staff": [{"name": "Kim"}], "shifts": [{"name": "a", "groups": ["staff"]}]}},
    {"mqtt": {"host": "broker.lan", "tls": {"enabled": True, "cert_file": "a", "key_file": "b"}}},
]


def config(raw: bytes) -> str:
    if len(raw) > files.MAX_BYTES:
        return "refused: too large"  # before it is read, by `load`
    try:
        read = yaml_loader.loads(raw, Config, name="config.yaml")
    except ConfigError as error:
        return refused(error)
    assert len(read.fingerprint()) == 16
    for text in (str(read.outbox.state_dir), read.site.place, read.mqtt.username or "", read.camera.device):
        assert "\0" not in text
        text.encode()
    return "read"


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=False, sort_keys=False).encode()


def manifest(raw: bytes) -> str:
    try:
        read = Manifest.decode(raw)
    except BundleError as error:
        return refused(error)
    assert Manifest.decode(read.to_json().encode()) == read
    return "read"


_BUNDLE = MODELS_DIR / "fer-compact-3"
_MANIFESTS = [json.loads(path.read_text()) for path in sorted(MODELS_DIR.glob("*/manifest.json"))]
_GOLDEN = (_BUNDLE / "golden.npz").read_bytes()


def golden(raw: bytes) -> str:
    (_FOLDER / "golden.npz").write_bytes(raw)
    shipped = ClassifierManifest.read(_BUNDLE)
    stated = replace(shipped, golden=replace(shipped.golden, sha256=hashlib.sha256(raw).hexdigest()))
    try:
        inputs, outputs, _ = load_golden(Bundle(_FOLDER, b"", stated))
    except BundleError as error:
        # What numpy and zipfile say of it holds anything.
        return "refused" if "\n" not in str(error) else refused(error)
    assert len(inputs) == len(outputs) > 0
    return "read"


def _small_golden() -> bytes:
    shipped = ClassifierManifest.read(_BUNDLE)
    out = io.BytesIO()
    np.savez_compressed(
        out,
        inputs=np.zeros((2, *shipped.input.shape[1:]), np.int8),
        outputs=np.zeros((2, *shipped.output.shape[1:]), np.int8),
    )
    return out.getvalue()


def active_model(raw: bytes) -> str:
    try:
        _Active.decode(raw)
    except (ValueError, RecursionError) as error:
        return f"refused: {type(error).__name__}"
    return "read"


def truth(raw: bytes) -> str:
    path, clip = _FOLDER / "truth.csv", _FOLDER / "a.mp4"
    path.write_bytes(raw)
    try:
        [labelled] = label_clips([clip], path)
    except ConfigError as error:
        return refused(error)
    assert all(0 <= span.start_s < span.end_s for span in labelled.spans)
    return "read"


def address(given: tuple[str, str, str]) -> str:
    secret = "s3cr3t-pass"
    scheme, user, rest = given
    told = shown(f"{scheme}://{user}:{secret}@{rest}")
    assert secret not in told, told
    shown(rest)
    return "hidden" if "…" in told and told.endswith("://…") else "shown"


def notes(text: str) -> str:
    """Each note of an earlier run is read, or begun anew."""
    now = Now(1000.0, UNIX_S, "boot", 50.0)
    episodes, over = from_text(text, _RULES, now=now)
    to_text(episodes, now=now)
    said = verdicts._from_text(text)
    places = stillness.from_text(text, now_s=5.0, unix_s=UNIX_S)
    assert all(math.isfinite(one.until_s) for one in places)
    kept = drift._parse(text, {"score": (0.0, 1.0)})
    return f"read {bool(episodes.alerts or over)} {bool(said)} {bool(places)} {bool(kept)}"


_NOTES = [
    json.loads(to_text(Episodes(_OPEN, {("r", "view"): 2000.0}, (), {}), now=Now(1000.0, UNIX_S - 9, "boot", 41.0))),
    {"01M7Y8H3KR49JEKEK9MMJWTPA7": ["r", "resolve"]},
    [{"box": [0.1, 0.1, 0.4, 0.4], "until_unix_s": UNIX_S + 60}],
    {"score": [1.0] * 10},
]


def summary_row(body: str) -> str:
    read = summaries.as_interval(0, 900, body)
    if read is None:
        return "refused"
    summaries.as_csv([read], ["happy"])
    summaries.joined([read])
    return "read"


def notifier_file(raw: bytes) -> str:
    (_FOLDER / notifier.FILE_NAME).write_bytes(raw)
    found = notifier.read_condition(_FOLDER, unix_s=UNIX_S, started_unix_s=0.0)
    for one in found.failing:
        assert one.name.isprintable()
        assert math.isfinite(one.since_unix_s)
    return f"read: {len(found.failing)} failing"


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _lone(value: Any) -> bool:
    """Tell whether a value holds what PyYAML cannot write."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
        yaml.safe_dump(value)
    except (ValueError, RecursionError, yaml.YAMLError):
        return True
    return False


_CSV = b"file,person,start_s,end_s,expression\na.mp4,one,0,4.5,angry\na.mp4,one,5,,calm\n"
_URL = st.sampled_from(
    ["cam.lan/stream", "[::1]:554/a/b?c=d", "10.0.0.2:99999/", "/x", "a@b/c", "é/\u202e", "[", "x?y@z"]
)


def _backup() -> bytes:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "config.yaml").write_text(f"outbox: {{state_dir: {folder}}}\npager: {{state_dir: {folder}}}\n")
    (folder / "ignore_zones.json").write_text("[]")
    back_up(folder / "config.yaml", folder / "kiosk.tar")
    return (folder / "kiosk.tar").read_bytes()


def backup(raw: bytes) -> str:
    path = _FOLDER / "kiosk.tar"
    path.write_bytes(raw)
    try:
        held = Archive(path).summary
    except ConfigError as error:
        return refused(error)
    assert (held.device + held.made + held.version).isprintable()
    return "read"


TARGETS = [
    Target(
        "configuration",
        st.one_of(
            plain_changed(_SECTIONS).map(lambda value: json.dumps(value).encode()),
            plain_changed(_SECTIONS).filter(lambda value: not _lone(value)).map(_yaml),
            damaged([_yaml(one) for one in _SECTIONS]),
            st.binary(max_size=200),
        ),
        config,
    ),
    Target("configuration, whole", damaged([_SHIPPED.encode()]), config, share=0.02),
    Target("backup", damaged([_backup()]), backup),
    Target("model: manifest", payloads(_MANIFESTS), manifest),
    Target("model: golden vectors", damaged([_small_golden(), _GOLDEN]), golden),
    Target(
        "model: which is active",
        payloads([{"id": "a", "previous": "b", "confirmed": False, "starts": 1}]),
        active_model,
    ),
    Target("labels of clips", damaged([_CSV, _CSV.replace(b",", b";")]), truth),
    Target(
        "camera's address",
        st.tuples(
            st.sampled_from(["rtsp", "http", "é", ""]), texts(["kim", "admin"]), st.one_of(_URL, texts(["cam.lan/a"]))
        ),
        address,
    ),
    Target("notes of an earlier run", payloads(_NOTES).map(_decoded), notes),
    Target(
        "kept summary", payloads([{"visits": 5, "shares": {"happy": 0.5}, "satisfied": 0.5}]).map(_decoded), summary_row
    ),
    Target(
        "notifier.json",
        payloads([{"away_since_unix_s": None, "failing": [{"name": "Kim", "since_unix_s": 1.0, "problem": "x"}]}]),
        notifier_file,
    ),
]
