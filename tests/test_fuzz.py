"""A share of `make fuzz`: odd inputs are read or refused in a line, by every parser of what strangers send."""

from __future__ import annotations

import pytest
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings

from edge_agent.config import load_config
from edge_agent.errors import ConfigError


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_it_is_read_or_refused(target):
    few = settings(
        max_examples=max(3, round(50 * target.share)), derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    few(given(target.inputs)(lambda value: target.check(value) and None))()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("base: &b {port: 1}\nmqtt:\n  <<: *b\n", "unknown key"),
        ("mqtt:\n  <<: {port: 1}\n", "2: mqtt: merge keys are not read"),
        (f"mqtt: {{port: {'9' * 5000}}}", "a whole number from 1 to 65535"),
        (f"mqtt: {{port: {'x' * 200_000}}}", "a whole number from 1 to 65535"),
        (f"{{? {'x' * 200_000} : 1}}", "unknown key"),
        ("profile: [cafe]", "a sequence is not one of"),
        ('outbox: {state_dir: "a\\0b"}', "no text may hold"),
        ('mqtt: {username: "\\ud800"}', "no text may hold"),
        ('emotion: {emotions: {"a\\0": [sad]}}', "no text may hold"),
    ],
)
def test_a_configuration_is_refused_in_a_short_line(tmp_path, text, says):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "c.yaml")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert str(refused.value).isprintable()
