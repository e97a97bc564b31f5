"""Tries everything a configuration needs and says what to do about what fails."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.agent.health import temperature_c
from edge_agent.agent.last_end import bad_end
from edge_agent.agent.sideways import Sideways, shows_upright
from edge_agent.alerting.stillness import StillPlaces
from edge_agent.camera import make_camera
from edge_agent.clock import synchronised
from edge_agent.config import Config
from edge_agent.delivery.bus import FAILURE, Connected, Disconnected, Event, PublishResult, SubscriptionDenied
from edge_agent.delivery.messages import Composer
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.password import read_password
from edge_agent.errors import AgentError, BundleError, CameraError, StateError
from edge_agent.pipeline import Pipeline
from edge_agent.vision.loading import Loader
from edge_agent.vision.models import with_active_model
from edge_agent.vision.zones import IgnoredZones

_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_HOT_C = 80.0
_SLOW_COMMIT_MS = 250.0
#: How long the camera is watched for posters, and how long a face must be without motion to be one.
_WATCH_S, _STILL_S = 8.0, 6.0
#: How long somebody is looked for who stands upright.
_UPRIGHT_WITHIN_S = 4.0
_SWAPS, _CGROUP = Path("/proc/swaps"), Path("/sys/fs/cgroup")
_UNIT = Path("/etc/systemd/system/edge-agent.service")
#: Of one camera, and of each further one.
_NEEDED_MB, _NEEDED_MORE_MB = 120, 30
_ANSWER_WITHIN_S = 20.0
#: The agent was written after this; a clock before it was never set.
_EARLIEST_UNIX_S = 1_767_225_600.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str


def examine(config: Config) -> Iterator[Check]:
    """Try models, of each device camera, what it shows, disk and broker, then clock and computer, in this order."""
    yield _tried("models", _models, config)
    of_a_device = {
        "camera": _camera,
        "rotation": _rotation,
        "posters": _posters,
        "disk": _disk,
        "broker": _broker,
    }
    for device in _with_sound_model(config).devices():
        for name, attempt in of_a_device.items():
            yield _tried(f"{device.site.device}: {name}" if config.cameras else name, attempt, device)
    for name, attempt in (
        ("clock", _clock),
        ("memory", _memory),
        ("last end", _last_end),
        ("swap", _swap),
        ("temperature", _temperature),
        ("throttling", _throttling),
        ("notice", _notice),
    ):
        yield _tried(name, attempt, config)


def _tried(name: str, attempt: Callable[[Config], str], config: Config) -> Check:
    try:
        return Check(name, ok=True, detail=attempt(config))
    except AgentError as error:
        return Check(name, ok=False, detail=str(error))
    except (Exception, SystemExit) as error:  # a driver may raise anything; the other checks are worth having
        first = next(iter(str(error).splitlines()), "")
        return Check(name, ok=False, detail=f"{type(error).__name__}: {first}"[:300])


def _models(config: Config) -> str:
    loader, found = Loader(), dict[str, None]()
    for device in with_active_model(config).devices():
        pipeline = Pipeline(device, new_id=lambda: "0" * 26, loader=loader)
        found |= dict.fromkeys((device.faces.detector, pipeline.vision.classifier.bundle.id))
    return f"{' and '.join(found)} load, golden vectors hold"


def _with_sound_model(config: Config) -> Config:
    """Return the configuration with the model that will run; one that is damaged is told already."""
    try:
        return with_active_model(config)
    except BundleError:
        return config


def _camera(config: Config) -> str:
    camera = make_camera(config.camera)
    camera.open()
    try:
        frame = camera.read()
    finally:
        camera.close()
    if frame is None:
        raise AgentError("the camera opens but gives no frame")
    height, width = frame.image.shape[:2]
    return f"{config.camera.source} gives {width}x{height} pixels, mean brightness {frame.image.mean():.0f} of 255"


def _rotation(config: Config) -> str:
    """Watch the camera for an upright face; where there is none, look for one in turned pictures."""
    pipeline = Pipeline(config, new_id=lambda: "0" * 26, zones=IgnoredZones.of(config))
    sideways = Sideways(config, pipeline.vision, tell=lambda _: None)
    camera = make_camera(config.camera)
    try:
        camera.open()
        until_s = time.monotonic() + _UPRIGHT_WITHIN_S
        while time.monotonic() < until_s and (frame := camera.read()) is not None:
            pipeline.zones.mask(frame.image)
            if shows_upright(pipeline.process(frame)):
                return "faces stand upright"
            if sideways.look(frame.image):
                raise AgentError(sideways.problem)
    except CameraError:
        return "not looked at, there is no picture"
    finally:
        camera.close()
    return f"nobody was in view for {_UPRIGHT_WITHIN_S:.0f} s; stand before the camera to have it tried"


def _posters(config: Config) -> str:
    """Watch the camera for faces that do not move."""
    pipeline = Pipeline(config, new_id=lambda: "0" * 26, zones=IgnoredZones.of(config))
    pipeline.still_places = StillPlaces(_STILL_S)
    camera = make_camera(config.camera)
    try:
        camera.open()
        until_s = time.monotonic() + _WATCH_S
        while time.monotonic() < until_s and (frame := camera.read()) is not None:
            pipeline.zones.mask(frame.image)
            pipeline.process(frame)
            found = pipeline.proposed_zones(frame.time_s)
            if found:
                left, top, right, bottom = (f"{100 * share:.0f} %" for share in found[0])
                raise AgentError(
                    f"a face that does not move, from {left} to {right} of the picture's width and {top} to {bottom} "
                    "of its height: if it is a poster or a screen, draw a zone to ignore there (faces.ignore_zones)"
                )
    except CameraError:
        return "not looked for, there is no picture"
    finally:
        camera.close()
    return f"no face stood still for {_STILL_S:.0f} s"


def _disk(config: Config) -> str:
    folder = config.outbox.state_dir
    try:
        outbox = Outbox(folder, max_bytes=config.outbox.max_bytes, unix=time.time)
    except StateError as error:
        if "in use" in str(error):
            return f"{folder} is in use by a running agent"
        raise
    if outbox.problem:
        raise AgentError(outbox.problem)
    depth, _ = outbox.depth()
    outbox.close()
    took_ms = _commit_ms(folder)
    if took_ms > _SLOW_COMMIT_MS:
        raise AgentError(f"{folder} takes {took_ms:.0f} ms for a small safe write; is the SD card worn out?")
    return f"{folder} can be written, {took_ms:.1f} ms for a small safe write; {depth} messages wait"


def _commit_ms(folder: Path) -> float:
    """Return the median time to write 4 KiB and know them on the disk."""
    took_s = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(9):
            start_s = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            took_s.append(time.perf_counter() - start_s)
    return 1000 * sorted(took_s)[len(took_s) // 2]


def _memory(config: Config) -> str:
    needed_mb = _NEEDED_MB + _NEEDED_MORE_MB * (len(config.devices()) - 1)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free_mb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024
    except (OSError, StopIteration, ValueError):
        return "not known here"
    if free_mb < needed_mb:
        raise AgentError(f"{free_mb:.0f} MB are free and the agent takes up to {needed_mb}; close other programs")
    return f"{free_mb:.0f} MB free"


def _last_end(config: Config) -> str:
    """Read how the service's last run ended; the unit's ExecStopPost writes it."""
    end = bad_end(config.outbox.state_dir)
    if end:
        raise AgentError(end.detail)
    return "nothing known of one that failed"


def _swap(config: Config) -> str:
    """Tell whether frames in memory could be swapped to a disk (systemd.resource-control(5), MemorySwapMax)."""
    del config
    try:
        lines = _SWAPS.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    except OSError:
        return "not known here"
    on_disk = [line.split()[0] for line in lines if not line.startswith("/dev/zram")]
    if not on_disk:
        return "in memory only (zram)" if lines else "off"
    where = f"swap is on ({', '.join(on_disk)})"
    if not _UNIT.exists():
        return f"{where}; edge-agent.service, which keeps frames out of it, is not installed here"
    if "MemorySwapMax=0" not in _UNIT.read_text(encoding="utf-8", errors="replace").splitlines():
        raise AgentError(f"{where}, and {_UNIT} has no MemorySwapMax=0: frames could reach the disk; run make install")
    try:
        held = "memory" in (_CGROUP / "cgroup.controllers").read_text(encoding="ascii").split()
    except OSError:
        held = False
    if not held:
        raise AgentError(
            f"{where}, and the kernel's memory controller, which MemorySwapMax=0 needs, is off: add "
            "cgroup_enable=memory to /boot/firmware/cmdline.txt, or turn swap off"
        )
    return f"{where}; MemorySwapMax=0 keeps the service out of it"


def _throttling(config: Config) -> str:
    """Read the firmware's flags (Raspberry Pi documentation, vcgencmd get_throttled)."""
    del config
    try:
        flags = int(_THROTTLED.read_text(encoding="ascii").strip(), 16)
    except (OSError, ValueError):
        return "not known here"
    for bit, problem in ((0, "too little voltage: use a better power supply"), (2, "slowed down: cool it")):
        if flags & 1 << bit:
            raise AgentError(problem)
    return "none"


def _broker(config: Config) -> str:
    return try_broker(config, password=read_password(config.mqtt))


def try_broker(config: Config, *, password: str | None) -> str:
    """Connect and publish an event; return what the broker said, in words.

    Raises:
        AgentError: it cannot be reached, or refuses something; the message says what to do.
    """
    composer = Composer(config, session="0" * 26, unix=time.time, monotonic=time.monotonic)
    broker, topic = config.mqtt.address, composer.topic("event")
    bus = MqttBus(
        config.mqtt,
        client_id=f"{config.site.name}/{config.site.device}/doctor-{secrets.token_hex(4)}",
        password=password,
        subscriptions=composer.topic.answers,
        subscriptions_qos0=composer.topic.commands,
        keep_session=False,
    )

    def is_answer(event: Event) -> bool:
        """Publish a test once connected; return whether this is the broker's answer to it."""
        if isinstance(event, Disconnected | SubscriptionDenied):
            raise AgentError(event.problem)
        if isinstance(event, Connected):
            bus.publish(composer.event("doctor", "a test of the connection"))
        if isinstance(event, PublishResult) and event.reason >= FAILURE:
            raise AgentError(event.problem)
        return isinstance(event, PublishResult)

    bus.start()
    try:
        if not bus.wait_for(is_answer, _ANSWER_WITHIN_S):
            raise AgentError(f"{broker} did not answer within {_ANSWER_WITHIN_S:g} s")
    finally:
        bus.stop()
    return f"{broker} takes messages on {topic}"


def _clock(config: Config) -> str:
    del config
    if time.time() < _EARLIEST_UNIX_S:
        raise AgentError(
            "the clock was never set; messages will carry wrong times until it is (NTP, or a clock battery)"
        )
    known = "synchronised" if synchronised() else "set, whether by a time server is not known"
    return f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}, {known}"


def _temperature(config: Config) -> str:
    del config
    now_c = temperature_c()
    if now_c is not None and now_c >= _HOT_C:
        raise AgentError(
            f"{now_c:.0f} °C; the processor slows down from {_HOT_C:.0f} °C on: give it air or a heat sink"
        )
    return "not known here" if now_c is None else f"{now_c:.0f} °C"


def _notice(config: Config) -> str:
    if config.privacy.notice_posted:
        return "a sign is said to be up; alerts page staff"
    return "shadow mode: nobody is paged until privacy.notice_posted is true"
