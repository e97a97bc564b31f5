"""Puts a device's channel together: outbox, connection, relay, alerts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from edge_agent.alerting.alert import Alert
from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.tracker import Track
from edge_agent.clock import synchronised
from edge_agent.config import Config
from edge_agent.delivery.alerts import AlertPublisher, Answered
from edge_agent.delivery.bus import Bus
from edge_agent.delivery.channel import Channel
from edge_agent.delivery.commands import Upkeep
from edge_agent.delivery.messages import Composer, boot_id, new_ulid
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.password import read_password
from edge_agent.delivery.relay import OutboxRelay
from edge_agent.delivery.retained import ask as ask_broker


def _ignore(rule: str, *, false_alarm: bool, people: tuple[Track, ...], again: bool) -> None:
    """Care for nobody's answer."""


def open_channel(
    config: Config,
    *,
    rules: RuleEngine,
    info: dict[str, str],
    alert_time_s: Callable[[], float],
    stepped: Callable[[Alert], None],
    answered: Answered = _ignore,
    upkeep: Upkeep | None = None,
    outbox: Outbox | None = None,
    bus: Bus | None = None,
    ask: Callable[[], bytes | None] | None = None,
    wake: Callable[[], None] = lambda: None,
    opens_s: Callable[[], float | None] = lambda: None,
    unix: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Channel:
    """Return a channel that owns outbox and bus; the bus is not started, and the notes of an earlier run can be read.

    Args:
        rules: whose alerts are published, and that staff's answers change.
        info: body of the `info` message.
        alert_time_s: now on the alerting clock.
        stepped: told of every step of an alert, in shadow mode too.
        answered: told when staff resolved a page or called it a false alarm, also after it was over.
        upkeep: does what commands ask of the agent; None where there is nothing to keep up.
        outbox: open already; None for that of the configured state folder. Closed if this fails.
        bus: None for a connection to the configured broker. Stopped if this fails.
        ask: returns the list of open alerts that the broker keeps of this device; None for asking the configured
            broker, or nobody where there is a `bus`.
        wake: called from the network thread after each event.
        opens_s: returns when somebody can be paged next, seconds since 1970; None where nobody knows.

    Raises:
        StateError: the state folder cannot be used, or another agent uses it.
        ConfigError: the broker's password or TLS files cannot be used.
    """
    with contextlib.ExitStack() as opened:
        if outbox is None:
            outbox = Outbox(config.outbox.state_dir, max_bytes=config.outbox.max_bytes, unix=unix)
        opened.callback(outbox.close)
        composer = Composer(config, session=new_ulid(), unix=unix, monotonic=monotonic)
        if ask is None:
            ask = (lambda: None) if bus is not None else (lambda: ask_broker(config))
        if bus is None:
            bus = MqttBus(
                config.mqtt,
                client_id=f"{config.site.name}/{config.site.device}",
                password=read_password(config.mqtt),
                subscriptions=composer.topic.answers,
                subscriptions_qos0=composer.topic.commands,
                will=composer.state("offline"),
                wake=wake,
                keep_session=config.mqtt.keep_session,
            )
        opened.callback(bus.stop)
        relay = OutboxRelay(
            outbox, bus, unix=unix, monotonic=monotonic, boot=boot_id(), clock_known=synchronised
        )  # fmt: skip
        alerts = AlertPublisher(
            config, composer=composer, bus=bus, relay=relay, rules=rules, alert_time_s=alert_time_s, stepped=stepped,
            answered=answered, ask=ask, unix=unix, monotonic=monotonic,
        )  # fmt: skip
        channel = Channel(
            config, composer=composer, bus=bus, relay=relay, alerts=alerts, info=info, upkeep=upkeep, opens_s=opens_s
        )  # fmt: skip
        opened.pop_all()
    return channel
