"""How long a device waits before it tries its broker again."""

from __future__ import annotations

import threading

import pytest
from conftest import PATIENCE_S

from edge_agent.config import Mqtt
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.testing import free_port


class Share(float):
    """A share of the longest pause, nothing of it, that remembers what it was a share of."""

    def __new__(cls, ceilings_s: list[float], noted: threading.Condition):
        share = super().__new__(cls, 0.0)
        share.ceilings_s, share.noted = ceilings_s, noted
        return share

    def __rmul__(self, ceiling_s: float) -> float:
        with self.noted:
            self.ceilings_s.append(ceiling_s)
            self.noted.notify_all()
        return 0.0


@pytest.fixture
def connect():
    buses = []

    def start(settings: Mqtt) -> tuple[MqttBus, list[float], threading.Condition]:
        ceilings_s, noted = [], threading.Condition()

        def wake() -> None:
            with noted:
                noted.notify_all()

        bus = MqttBus(
            settings, client_id="test-reconnect", password=None, subscriptions=(), wake=wake,
            jitter=lambda: Share(ceilings_s, noted),
        )  # fmt: skip
        buses.append(bus)
        bus.start()
        return bus, ceilings_s, noted

    yield start
    for bus in buses:
        bus.stop()


def test_pauses_double_from_a_second_on_up_to_the_longest(connect):
    _, ceilings_s, noted = connect(Mqtt(port=free_port(), connect_retry_max_s=20))
    with noted:
        assert noted.wait_for(lambda: len(ceilings_s) >= 8, PATIENCE_S)
    assert ceilings_s[:8] == [1, 2, 4, 8, 16, 20, 20, 20]


@pytest.mark.parametrize(("stable_s", "ceiling_s"), [(0.0, 0.5), (3600.0, 1.0)])
def test_a_link_that_broke_at_once_counts_as_a_failure_and_one_that_held_does_not(
    connect, start_mosquitto, monkeypatch, stable_s, ceiling_s
):
    monkeypatch.setattr("edge_agent.delivery.mqtt._STABLE_S", stable_s)
    broker = start_mosquitto("allow_anonymous true")
    bus, ceilings_s, noted = connect(Mqtt(port=broker.port))
    with noted:
        assert noted.wait_for(lambda: bus.connected, PATIENCE_S)
    broker.process.terminate()
    with noted:
        assert noted.wait_for(lambda: ceilings_s, PATIENCE_S)
    assert ceilings_s[0] == ceiling_s
