"""Prometheus, with a real broker and what its own parser says."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from conftest import PATIENCE_S, REPOSITORY
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.testing import free_port


def test_prometheus_reads_what_the_agent_counts(edge_agent, listen, site, write_config):
    port, listener = free_port(), listen(f"kiosk/v1/{site}/#")
    edge_agent("run", "--config", write_config(metrics={"enabled": True, "port": port}))
    listener.wait_for_json("/alert/0", step="raised")
    listener.wait_for_json("/health")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    assert families["edge_agent_frames"].samples[0].value > 10
    [raised] = [s for s in families["edge_agent_alert_steps"].samples if s.name.endswith("_total")]
    assert (raised.labels, raised.value) == ({"rule": "angry-customer", "step": "raised"}, 1)
    states = {s.labels["state"]: s.value for s in families["edge_agent_state"].samples}
    assert states == {"online": 1, "degraded": 0}


def test_the_dashboard_shows_figures_that_exist():
    dashboard = json.loads((REPOSITORY / "docs" / "grafana" / "edge-agent.json").read_text())
    source = (REPOSITORY / "edge_agent" / "agent" / "metrics.py").read_text()
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) >= 8
    for expression in expressions:
        names = [word for word in _words(expression) if word.startswith("edge_agent_")]
        assert names
        for name in names:
            base = name.removesuffix("_total").removesuffix("_bucket").removesuffix("_count").removesuffix("_info")
            assert f'"{base}"' in source, name


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


def test_without_the_extra_the_option_is_refused(write_config):
    script = (
        "import sys; sys.modules['prometheus_client'] = sys.modules['aiohttp'] = None\n"
        "from edge_agent.cli import main; sys.exit(main())"
    )
    for section in ("web", "metrics"):
        config = write_config(**{section: {"enabled": True}, "outbox": {"state_dir": str(Path("/tmp"))}})
        result = subprocess.run(
            [sys.executable, "-c", script, "run", "--config", config], capture_output=True, text=True, check=False
        )
        assert result.returncode == 2
        assert f"pip install '.[{section}]'" in result.stderr
