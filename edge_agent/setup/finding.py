"""Looks for what can be chosen: cameras of this computer, and brokers here and in the local network.

Cameras by the V4L2 API (linux/videodev2.h, VIDIOC_QUERYCAP) and by picamera2; brokers by DNS-SD (RFC 6763) over mDNS
(RFC 6762), service types _mqtt._tcp and _secure-mqtt._tcp, which avahi-daemon announces.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_QUERYCAP, _CAPABILITY_BYTES, _DEVICE_CAPS_AT = 0x80685600, 104, 88
_VIDEO_CAPTURE = 0x1
#: Nodes of a Raspberry Pi's own processing, which deliver nothing that OpenCV reads.
_NO_CAMERAS = ("bcm2835-", "unicam", "rp1-cfe", "pispbe", "rpivid", "rpi-")
_SERVICES = {"_mqtt._tcp.local.": False, "_secure-mqtt._tcp.local.": True}
_PLAIN_PORT, _TLS_PORT = 1883, 8883
_CONNECT_S, _BROWSE_S = 0.5, 2.0
#: What to say where brokers of the network cannot be looked for.
NO_MDNS = "brokers in the network are found with python3-zeroconf: sudo apt install python3-zeroconf"


@dataclass(frozen=True, slots=True)
class Found:
    """Something to choose.

    Attributes:
        label: for people.
        values: options that choosing it sets.
    """

    label: str
    values: Mapping[str, Any]


def cameras(dev: Path = Path("/dev"), sys_class: Path = Path("/sys/class/video4linux")) -> list[Found]:
    """Return the cameras of this computer; USB cameras under the name that stays, where they have one."""
    found = list(_pi_cameras())
    seen: set[Path] = set()
    by_id = sorted((dev / "v4l" / "by-id").glob("*-video-index0"))
    for path in [*by_id, *sorted(dev.glob("video*"))]:
        node = path.resolve()
        if node in seen or not _delivers_video(node):
            continue
        seen.add(node)
        name = _name(sys_class / node.name)
        if not name.startswith(_NO_CAMERAS):
            found.append(Found(f"{name or 'USB camera'} ({path})", _camera("opencv", str(path))))
    return found


def _camera(source: str, device: str) -> dict[str, Any]:
    return {"camera.source": source, "camera.device": device}


def _pi_cameras() -> Iterator[Found]:
    try:
        from picamera2 import Picamera2

        listed = Picamera2.global_camera_info()
    except (Exception, SystemExit):  # not there, or broken: doctor says why where it is chosen by hand
        return
    for camera in listed:
        if "usb" not in str(camera.get("Id", "")).lower():
            number = camera.get("Num", 0)
            label = f"Raspberry Pi camera {number}, {camera.get('Model', 'unknown')}"
            yield Found(label, _camera("picamera2", str(number)))


def _delivers_video(node: Path) -> bool:
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        answer = bytearray(_CAPABILITY_BYTES)
        fcntl.ioctl(descriptor, _QUERYCAP, answer)
        return bool(int.from_bytes(answer[_DEVICE_CAPS_AT : _DEVICE_CAPS_AT + 4], "little") & _VIDEO_CAPTURE)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _name(folder: Path) -> str:
    try:
        return (folder / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def brokers(*, browse_s: float = _BROWSE_S) -> list[Found]:
    """Return the brokers of this computer, and those that announce themselves in the network."""
    found = [
        Found(f"this computer, port {port}", _broker("127.0.0.1", port, tls=port == _TLS_PORT))
        for port in (_PLAIN_PORT, _TLS_PORT)
        if _listens(port)
    ]
    return found + [one for one in announced(browse_s=browse_s) if one.values not in [here.values for here in found]]


def _broker(host: str, port: int, *, tls: bool) -> dict[str, Any]:
    return {"mqtt.host": host, "mqtt.port": port, "mqtt.tls.enabled": tls}


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), _CONNECT_S):
        return True
    return False


def can_browse() -> bool:
    """Tell whether brokers of the network can be looked for."""
    try:
        import zeroconf  # noqa: F401
    except ImportError:
        return False
    return True


def announced(*, browse_s: float = _BROWSE_S) -> list[Found]:
    """Return the brokers that announce themselves by mDNS within so many seconds; none without zeroconf."""
    try:
        from zeroconf import ServiceBrowser, ServiceStateChange, Zeroconf
    except ImportError:
        return []
    names: set[tuple[str, str]] = set()

    def changed(zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        del zeroconf
        if state_change is ServiceStateChange.Added:
            names.add((service_type, name))

    found = []
    try:
        browsing = Zeroconf()
    except OSError:  # no network at all
        return []
    try:
        browser = ServiceBrowser(browsing, list(_SERVICES), handlers=[changed])
        threading.Event().wait(browse_s)
        for service, name in sorted(names):
            info = browsing.get_service_info(service, name, 1000)
            if info is not None and info.port and (addresses := info.parsed_addresses()):
                host = (info.server or addresses[0]).rstrip(".") if _SERVICES[service] else addresses[0]
                label = f"{name.removesuffix(f'.{service}')}, {host} port {info.port}{', TLS' * _SERVICES[service]}"
                found.append(Found(label, _broker(host, info.port, tls=_SERVICES[service])))
        browser.cancel()
    finally:
        browsing.close()
    return found
