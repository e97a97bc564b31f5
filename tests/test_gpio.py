"""The pager of lamp, buzzer and button: gpiozero's mock pins, a real kiosk and a real broker."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from conftest import PATIENCE_S
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin
from messages import ULID, alert, composer

from edge_agent.config import Config, Mqtt, Privacy, Rule
from edge_agent.delivery.messages import Composer, Snooze
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.demo import CLIPS
from edge_agent.pager.client import TOPICS, Pager
from edge_agent.pager.duty import Duty
from edge_agent.pager.gpio import TICK_S, GpioPager
from edge_agent.testing import FakeBus, FakeClock, free_port

LAMP, BUZZER, BUTTON = 17, 27, 22
PINS = {"lamp": LAMP, "buzzer": BUZZER, "button": BUTTON}
KIOSK = "kiosk/v1/site/kiosk-1"


class WatchedPin(MockPin):
    """A pin that tells when it changes."""

    changed = threading.Condition()

    def __init__(self, *arguments) -> None:
        self.turns: list[tuple[float, bool]] = []
        super().__init__(*arguments)

    def _change_state(self, value) -> bool:
        with self.changed:
            self.turns.append((time.monotonic(), bool(value)))
            self.changed.notify_all()
        return super()._change_state(value)

    def wait_for(self, what, wanted) -> None:
        """Wait until `what` of the levels it had since now, with how long each lasted in seconds, is as wanted."""
        give_up_s = time.monotonic() + PATIENCE_S
        with self.changed:
            self.turns[:] = [(time.monotonic(), self.state)]
            while (seen := what(self.levels())) != wanted:
                if time.monotonic() > give_up_s:
                    pytest.fail(f"{seen} did not become {wanted}: {self.levels()}")
                self.changed.wait(TICK_S)

    def levels(self) -> list[tuple[bool, float]]:
        ends = [*(at for at, _ in self.turns[1:]), time.monotonic()]
        levels = [(on, end - at) for (at, on), end in zip(self.turns, ends, strict=True)]
        # A pin that is set to what it is did not change.
        joined = levels[:1]
        for on, lasted in levels[1:]:
            joined = [*joined[:-1], (on, joined[-1][1] + lasted)] if on == joined[-1][0] else [*joined, (on, lasted)]
        return joined


def rhythm(levels: list[tuple[bool, float]]) -> str:
    """Return what somebody who looks at a lamp would call it."""
    on, lasted = levels[-1]
    if lasted > (1.3 if on else 4):
        return "on" if on else "off"
    whole = levels[1:-1][-4:]
    if len(whole) < 4:
        return "not known yet"
    lit, dark = [s for on, s in whole if on], [s for on, s in whole if not on]
    if max(lit) < 0.35:
        return "double flash" if max(dark) > 1.5 and min(dark) < 0.5 else "fast" if max(dark) < 0.35 else "?"
    return "slow" if min(lit + dark) > 0.35 and max(lit + dark) < 0.8 else "?"


def beeps(levels: list[tuple[bool, float]]) -> bool:
    return any(on for on, _ in levels)


@pytest.fixture
def pins():
    """Name → mock pin."""
    before, Device.pin_factory = Device.pin_factory, MockFactory(pin_class=WatchedPin)
    yield {name: Device.pin_factory.pin(number) for name, number in PINS.items()}
    Device.pin_factory.reset()
    Device.pin_factory = before


EVERYTHING = Duty()


class Desk:
    """A pager whose broker and clock do as told."""

    def __init__(self, duty: Duty = EVERYTHING) -> None:
        self.bus, self.clock = FakeBus(), FakeClock(1000 + TICK_S / 2)
        self.pager = Pager(self.bus, name="kim", duty=duty, unix=self.clock, monotonic=self.clock)
        self.gpio = GpioPager(self.pager, threading.Event(), **PINS, out=io.StringIO(), clock=self.clock)
        self.says = Composer(
            Config(privacy=Privacy(notice_posted=True)), session=ULID, unix=lambda: 1e9, monotonic=self.clock
        )

    def hear(self, message) -> None:
        self.bus.receive(message.topic, message.payload)

    def step(self, number: int = 0, **values) -> str:
        """Let a kiosk say a step of an alert; return the alert's id."""
        one = alert(id=f"{ULID[:-1]}{number}", **values)
        self.hear(composer().alert(one))
        return one.id

    def watch(self, seconds: float, pins) -> tuple[str, str]:
        """Return what lamp and buzzer do, a sign for each tick."""
        lamp = buzzer = ""
        for _ in range(round(seconds / TICK_S)):
            self.gpio.turn()
            lamp += ".#"[pins["lamp"].state]
            buzzer += ".#"[pins["buzzer"].state]
            self.clock.advance(TICK_S)
        return lamp, buzzer

    def answers(self) -> list[tuple[str, str]]:
        bodies = [json.loads(message.payload) for message in self.bus.published if "/ack/" in message.topic]
        return [(body["id"], body["action"]) for body in bodies]


@pytest.fixture
def desk(pins):
    desk = Desk()
    desk.bus.start()
    desk.hear(desk.says.state("online"))
    yield desk
    desk.gpio.close()


SLOW, FAST, FLASHES = 3 * "#####.....", 8 * "##..", 2 * ("##..##" + 24 * ".")


class TestSigns:
    def test_the_lamp_is_off_only_while_every_kiosk_watches(self, desk, pins):
        assert desk.watch(6, pins) == (60 * ".", 60 * ".")
        snoozed = [Snooze("", "", 2e9, "lee")]
        for trouble in (
            lambda: desk.bus.lose(),
            lambda: desk.bus.deny("may not hear"),
            lambda: desk.hear(desk.says.state("offline")),
            lambda: desk.hear(desk.says.state("degraded", "camera lost")),
            lambda: desk.hear(desk.says.state("online", snoozes=snoozed)),
        ):
            trouble()
            lamp, buzzer = desk.watch(9, pins)
            assert FLASHES in lamp
            assert "#" not in buzzer
            desk.bus.start()
            desk.hear(desk.says.state("online"))
            assert "#" not in desk.watch(3, pins)[0]
        desk.clock.advance(90)
        assert FLASHES in desk.watch(9, pins)[0], "no signs of life"

    def test_before_it_is_connected_it_does_not_claim_calm(self, pins):
        desk = Desk()
        assert FLASHES in desk.watch(9, pins)[0]
        desk.gpio.close()

    def test_a_page_blinks_and_rings_until_it_is_answered_and_the_lamp_is_on_until_it_is_over(self, desk, pins):
        page = desk.step()
        lamp, buzzer = desk.watch(12, pins)
        assert SLOW in lamp
        assert buzzer == ("##.##" + 95 * ".") + "##.##" + 15 * "."
        desk.step(step="acked", revision=2, by="lee")
        lamp, buzzer = desk.watch(12, pins)
        assert (lamp, buzzer) == (120 * "#", 120 * ".")
        desk.step(step="cleared", revision=3, by="lee", reason="resolve")
        assert desk.watch(6, pins) == (60 * ".", 60 * ".")
        assert page not in desk.pager.open

    def test_the_most_severe_page_is_what_lamp_and_buzzer_tell(self, desk, pins):
        desk.step(1, rule=Rule(name="r", severity="info"))
        assert SLOW in desk.watch(4, pins)[0]
        desk.step(2, rule=Rule(name="r", severity="critical"))
        lamp, buzzer = desk.watch(6, pins)
        assert FAST in lamp
        assert buzzer == "##.##.##" + 42 * "." + "##.##.##.."

    def test_an_answered_page_is_on_but_not_while_somebody_else_may_need_help_unseen(self, desk, pins):
        desk.step(step="acked", revision=2, by="lee")
        desk.hear(replace(desk.says.state("offline"), topic="kiosk/v1/site/kiosk-2/state"))
        assert FLASHES in desk.watch(9, pins)[0]

    def test_another_groups_page_is_none_of_ours(self, pins):
        desk = Desk(Duty(groups=frozenset({"manager"})))
        desk.bus.start()
        desk.hear(desk.says.state("online"))
        desk.step()
        assert desk.watch(3, pins) == (30 * ".", 30 * ".")
        desk.gpio.close()

    def test_when_it_ends_lamp_and_buzzer_are_off(self, pins):
        desk = Desk()
        desk.bus.start()
        desk.step()
        desk.gpio.turn()
        assert (pins["lamp"].state, pins["buzzer"].state) == (True, True)
        desk.gpio.close()
        assert (pins["lamp"].state, pins["buzzer"].state) == (False, False)


class TestButton:
    def press(self, desk, pins, *, held: bool = False) -> None:
        def answered() -> bool:
            return not desk.gpio._keys.empty()

        pins["button"].drive_low()
        if held:
            until_s = time.monotonic() + PATIENCE_S
            while not answered() and time.monotonic() < until_s:
                desk.gpio._wake.wait(TICK_S)
        pins["button"].drive_high()
        assert answered()
        desk.gpio.turn()

    def test_a_press_acknowledges_the_most_urgent_page_and_the_next_one_the_next(self, desk, pins):
        first, urgent = desk.step(1), desk.step(2, rule=Rule(name="r", severity="critical"))
        desk.gpio.turn()
        for expected in ([(urgent, "ack")], [(urgent, "ack"), (first, "ack")]):
            self.press(desk, pins)
            assert desk.answers() == expected
        lamp, buzzer = desk.watch(12, pins)
        assert "#" not in buzzer
        assert FAST in lamp, "no kiosk has said yet that it heard"
        self.press(desk, pins)
        assert len(desk.answers()) == 2
        desk.step(1, step="escalated", revision=2)
        assert "#" in desk.watch(1, pins)[1]

    def test_a_long_press_resolves_what_somebody_has_taken_before_what_nobody_has_seen(self, desk, pins):
        taken = desk.step(1, step="acked", revision=2, by="kim")
        new = desk.step(2, rule=Rule(name="r", severity="critical"))
        desk.gpio.turn()
        self.press(desk, pins, held=True)
        assert desk.answers() == [(taken, "resolve")]
        desk.step(1, step="cleared", revision=3, by="kim", reason="resolve")
        desk.gpio.turn()
        self.press(desk, pins, held=True)
        assert desk.answers()[1:] == [(new, "resolve")]

    def test_the_lamp_is_on_while_the_button_is_down(self, desk, pins):
        pins["button"].drive_low()
        assert desk.watch(1, pins)[0] == 10 * "#"
        pins["button"].drive_high()
        assert desk.watch(1, pins)[0] == 10 * "."
        assert desk.answers() == []

    def test_an_answer_that_the_broker_refuses_lets_it_ring_again(self, desk, pins):
        desk.step()
        desk.gpio.turn()
        desk.bus.reason = 135
        self.press(desk, pins)
        assert "#" in desk.watch(11, pins)[1]


class TestAtASite:
    @pytest.fixture
    def start(self, pins, broker, site):
        stop, threads = threading.Event(), []

        def begin(port: int | None = None) -> None:
            wake = threading.Event()
            topics = [f"kiosk/v1/{site}/+/{topic}" for topic in TOPICS]
            mqtt = Mqtt(port=port or broker.port, connect_retry_max_s=1.0)
            bus = MqttBus(mqtt, client_id=site, password=None, subscriptions=topics, wake=wake.set, keep_session=False)
            gpio = GpioPager(Pager(bus, name="kim"), wake, **PINS, out=sys.stdout)

            def serve() -> None:
                bus.start()
                gpio.run(stop)
                bus.stop()

            threads.append(threading.Thread(target=serve))
            threads[0].start()

        yield begin
        stop.set()
        for thread in threads:
            thread.join()
        assert not pins["lamp"].state
        assert not pins["buzzer"].state

    @pytest.fixture
    def kiosk(self, edge_agent, write_config):
        def start(**rule):
            rules = [{"name": "angry-customer", "off_delay_s": 60, "cooldown_s": 600, **rule}]
            return edge_agent(
                "run", "--config", write_config(camera={"device": str(CLIPS["one"]), "loop": True}, rules=rules)
            )

        return start

    def test_a_page_is_seen_heard_and_answered(self, start, kiosk, pins, listen, site):
        listener = listen(f"kiosk/v1/{site}/#")
        start()
        kiosk()
        pins["buzzer"].wait_for(beeps, wanted=True)
        pins["lamp"].wait_for(rhythm, "slow")
        pins["button"].drive_low()
        pins["button"].drive_high()
        assert listener.wait_for_json("/alert/0", step="acked")["by"] == "kim"
        pins["lamp"].wait_for(rhythm, "on")
        pins["button"].drive_low()
        cleared = listener.wait_for_json("/alert/0", step="cleared")
        pins["button"].drive_high()
        assert (cleared["by"], cleared["reason"]) == ("kim", "resolve")
        pins["lamp"].wait_for(rhythm, "off")

    def test_an_escalated_page_rings_again_and_blinks_faster(self, start, kiosk, pins, listen, site):
        listener = listen(f"kiosk/v1/{site}/#")
        start()
        kiosk(escalation=[{"after_s": 2.0, "group": "manager", "severity": "critical"}])
        pins["buzzer"].wait_for(beeps, wanted=True)
        listener.wait_for_json("/alert/0", step="escalated")
        pins["buzzer"].wait_for(beeps, wanted=True)
        pins["lamp"].wait_for(rhythm, "fast")

    def test_a_cut_cable_and_a_dead_kiosk_are_seen(self, start, pins, edge_agent, write_config, plug_in):
        port = free_port()
        cable = plug_in(port)
        start(port)
        agent = edge_agent("run", "--config", write_config(camera={"source": "synthetic"}))
        pins["lamp"].wait_for(rhythm, "off")
        cable.unplug()
        pins["lamp"].wait_for(rhythm, "double flash")
        plug_in(port)
        pins["lamp"].wait_for(rhythm, "off")
        agent.kill()
        pins["lamp"].wait_for(rhythm, "double flash")


class TestCommand:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--lamp", "99"], "99 is not a valid pin name"),
            (["--lamp", "27"], "GPIO27 is already in use"),
            (["--web"], "--web and --gpio are two pagers"),
        ],
    )
    def test_pins_that_cannot_be_used_are_named_in_one_line(self, run_command, monkeypatch, options, says):
        monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
        result = run_command("pager", "--gpio", *options)
        assert result.code == 2
        assert says in result.one_line_error()

    def test_a_computer_without_pins_says_so_in_one_line(self, run_command, monkeypatch):
        monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "none-such")
        result = run_command("pager", "--gpio")
        assert result.code == 2
        assert "is this a Raspberry Pi" in result.one_line_error()

    def test_without_gpiozero_it_says_what_to_install(self):
        script = "import sys; sys.modules['gpiozero'] = None; from edge_agent.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", script, "pager", "--gpio"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert "pip install '.[gpio]'" in result.stderr

    def test_it_says_in_lines_what_it_does_and_ends_in_order(self, edge_agent, monkeypatch, broker, site):
        monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
        pager = edge_agent("pager", "--gpio", "--port", broker.port, "--site", site)
        assert "waiting for pages" in pager.stdout.readline()
        pager.send_signal(signal.SIGTERM)
        assert pager.wait(PATIENCE_S) == 0
        assert pager.stderr.read() == ""
