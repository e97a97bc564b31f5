"""Judges system calls: each must be one that the configured agent has a reason for."""

from __future__ import annotations

import re
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import edge_agent
from edge_agent.config import Config
from edge_agent.tools.privacy.files import is_known, written
from edge_agent.tools.privacy.names import PORT, SERVICES, NameQueries
from edge_agent.tools.privacy.strace import Call, Trace

FILES, ADDRESSES, LISTENERS, OTHERS = "files written", "addresses", "listeners", "other ways out"
_PACKAGE = str(Path(edge_agent.__file__).parent)
_OPENS = {"open", "openat", "openat2", "creat", "open_by_handle_at"}
_SENDS = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "send", "sendmsg", "sendmmsg"}
_NAMING = {"rename", "renameat", "renameat2", "link", "linkat", "mkdir", "mkdirat"}
_OF_STATE = {"fchown", "fchmod", "ftruncate", "fallocate", "fsync", "fdatasync", "utimensat", "flock"}
_IOCTLS = re.compile(r"TCGETS|TIOCGWINSZ|FIONBIO|FIONREAD|FIOCLEX|FIONCLEX|SIOCG\w+|(?:VIDIOC|MEDIA_IOC|DMA_)\w+")
_OUTPUT = re.compile(r"V4L2_BUF_TYPE_\w*OUTPUT")
_INET = re.compile(r'htons\((\d+)\).*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")')
_ENDS = re.compile(r"^(TCP|UDP)(?:v6)?:\[(.+?)(?:->(.+))?\]$")
_PROTOCOLS = {"", "0", "IPPROTO_IP", "IPPROTO_TCP", "IPPROTO_UDP"}
_MAX_CAMERA_BYTES = 64 * 1024
#: They change the process itself, its descriptors and its threads.
_HARMLESS = frozenset(
    """
    close close_range unlink unlinkat getsockname getpeername getsockopt setsockopt shutdown accept accept4
    mremap mbind set_mempolicy prlimit64 setrlimit getrlimit clone clone3 fork vfork socketpair pipe pipe2
    epoll_create1 epoll_create eventfd2 timerfd_create timerfd_settime inotify_init1 inotify_add_watch
    inotify_rm_watch umask chdir sched_setaffinity sched_setscheduler sched_setparam setpriority kill tgkill
    tkill rt_sigtimedwait rt_sigsuspend rt_sigpending setitimer setsid setpgid pause
    """.split()  # noqa: SIM905
)
_MAX_NETLINK_BYTES, _MAX_NAMES = 64, 64


@dataclass
class Allowed:
    """What the agent has a reason for.

    Args:
        config: as the agent has it.
        state_dir, broker, pipe: its folder, the port of its broker on this computer, where its output goes.
        known: long words that are expected in what it writes.
    """

    config: Config
    state_dir: Path
    broker: int
    pipe: str
    known: Iterable[bytes]
    listeners: set[str] = field(default_factory=set)
    devices: re.Pattern[str] = re.compile(r"(?!)")
    camera: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for section in (self.config.web, self.config.metrics):
            if section.enabled:
                self.listeners |= {_joined(ip, section.port) for ip in _addresses(section.host)}
        camera = self.config.camera
        if camera.source == "picamera2":
            self.devices = re.compile(r"/dev/(video\d+|media\d+|v4l-subdev\d+|dma_heap/[\w,-]+)")
        elif camera.source == "opencv" and "://" in camera.device:
            parts = urlsplit(camera.device)
            port = parts.port or {"http": 80, "https": 443, "rtsps": 322, "rtmp": 1935}.get(parts.scheme, 554)
            self.camera = {_joined(ip, port) for ip in _addresses(parts.hostname or "")}
        elif camera.source == "opencv":
            name = f"/dev/video{camera.device}" if camera.device.isdecimal() else str(Path(camera.device).resolve())
            self.devices = re.compile(re.escape(name) if name.startswith("/dev/video") else r"(?!)")
        #: Reached over TCP.
        self.peers = {f"127.0.0.1:{self.broker}", *self.camera}


def _joined(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _addresses(host: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}


class Judge:
    """Looks at all calls of a trace.

    Attributes:
        findings: name of a check → what was found, in order.
    """

    def __init__(self, trace: Trace, allowed: Allowed) -> None:
        self._allowed, self._names = allowed, NameQueries(allowed.config)
        self.findings: dict[str, list[str]] = defaultdict(list)
        self._own = {target for call in trace.calls if call.name in ("socketpair", "pipe", "pipe2") and not call.failed
                     for target in call.descriptors()}  # fmt: skip
        self._momentary = set(_momentary(trace.calls))
        self._services: set[str] = set()
        self._connected: set[str] = set()
        self._titles: set[bytes] = set()
        self._programs = 0
        self._camera_bytes: Counter[str] = Counter()
        judges: dict[str, Callable[[Call], None]] = {
            "socket": self._socket, "connect": self._connect, "listen": self._listen, "bind": self._bind,
            "mmap": self._mmap, "execve": self._execve, "ioctl": self._ioctl, "prctl": self._prctl,
            "sendfile": self._sendfile, "memfd_create": self._memfd, "clock_adjtime": self._clock,
            "fcntl": self._copy, "dup": self._copy, "dup2": self._copy, "dup3": self._copy,
            **dict.fromkeys(_OPENS, self._open), **dict.fromkeys(_SENDS, self._send),
            **dict.fromkeys(_NAMING, self._name), **dict.fromkeys(_OF_STATE, self._state),
        }  # fmt: skip
        for call in trace.calls:
            if call.name in judges:
                judges[call.name](call)
            elif call.name not in _HARMLESS:
                self._found(OTHERS, f"{call.name}()")
        for line in trace.strange:
            self._found(OTHERS, f"not understood: {line[:80]}")

    def _found(self, check: str, what: str) -> None:
        if what not in self.findings[check]:
            self.findings[check].append(what)

    # Files, devices and memory

    def _open(self, call: Call) -> None:
        writing = call.name == "creat" or re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE", call.arguments)
        path = call.opened()
        if call.failed or not writing or path == "/dev/null" or self._allowed.devices.fullmatch(path):
            return
        if not is_known(path, self._allowed.state_dir):
            self._found(FILES, path or call.arguments[:80])

    def _name(self, call: Call) -> None:
        path = (call.strings() or [b""])[-1].decode("utf-8", "replace")
        state_dir = self._allowed.state_dir
        folder = call.name.startswith("mkdir") and state_dir.is_relative_to(path)
        if not (call.failed or folder or is_known(path, state_dir)):
            self._found(FILES, path[:200])

    def _state(self, call: Call) -> None:
        path = (call.descriptors() or ["?"])[0]
        if not is_known(path, self._allowed.state_dir) and path != str(self._allowed.state_dir):
            self._found(FILES, f"{call.name}() of {path[:200]}")

    def _mmap(self, call: Call) -> None:
        target = (call.descriptors() or [""])[0]
        if "MAP_SHARED" not in call.arguments or self._allowed.devices.fullmatch(target):
            return
        if self._allowed.config.camera.source == "picamera2" and re.search(r"dmabuf|memfd:", target):
            return
        on_disk = target.startswith("/") and "(deleted)" not in target
        if "PROT_WRITE" in call.arguments or not on_disk or target.startswith(str(self._allowed.state_dir)):
            self._found(OTHERS, f"shared memory: {target or 'without a name'}")

    def _memfd(self, call: Call) -> None:
        if self._allowed.config.camera.source != "picamera2":  # libcamera's own
            self._found(OTHERS, f"shared memory: memfd {call.arguments[:60]}")

    def _ioctl(self, call: Call) -> None:
        rest = call.arguments.partition(">, ")[2] or call.arguments
        if not _IOCTLS.match(rest) or (_OUTPUT.search(rest) and self._allowed.config.camera.source == "opencv"):
            self._found(OTHERS, f"ioctl() {rest[:60]}")

    # Processes

    def _execve(self, call: Call) -> None:
        if not call.failed:
            self._programs += 1
        if self._programs > 1:
            self._found(OTHERS, f"program {(call.strings() or [b'?'])[0].decode('utf-8', 'replace')[:200]}")

    def _prctl(self, call: Call) -> None:
        self._titles.update(call.strings())
        if len(self._titles) > _MAX_NAMES:
            self._found(OTHERS, "names of threads that change all the time")

    def _clock(self, call: Call) -> None:
        if "modes=0" not in call.arguments:
            self._found(OTHERS, "clock_adjtime()")

    def _copy(self, call: Call) -> None:
        duplicated = call.name != "fcntl" or "F_DUPFD" in call.arguments
        target = (call.descriptors() or [""])[0]
        if duplicated and (found := _ENDS.match(target)) and not found[3] and found[2] not in self._allowed.listeners:
            self._found(LISTENERS, f"a copy of {target}")

    # Sockets

    def _socket(self, call: Call) -> None:
        domain, kind, protocol = (*call.arguments.split(", "), "", "")[:3]
        plain = domain in ("AF_INET", "AF_INET6", "AF_UNIX") and re.match(r"SOCK_(STREAM|DGRAM)\b", kind)
        if domain != "AF_NETLINK" and not (plain and protocol in _PROTOCOLS):
            self._found(OTHERS, f"socket({call.arguments})")

    def _connect(self, call: Call) -> None:
        target = (call.descriptors() or [""])[0]
        if "AF_UNIX" in call.arguments:
            path = _unix_path(call.arguments)
            if path in SERVICES:
                self._services.add(_inode(target))
            else:
                self._found(ADDRESSES, f"unix socket {path}")
        elif not target.startswith("UDP") and (address := _address(call.arguments)):
            # strace goes on to call the socket what it was before it was connected.
            self._connected.add(target)
            if address not in self._allowed.peers | self._momentary:
                self._found(ADDRESSES, address)

    def _bind(self, call: Call) -> None:
        if "AF_UNIX" in call.arguments and "sun_path" in call.arguments:
            self._found(LISTENERS, f"unix socket {_unix_path(call.arguments)}")

    def _listen(self, call: Call) -> None:
        target = (call.descriptors() or ["?"])[0]
        found = _ENDS.match(target)
        if found is None or found[2] not in self._allowed.listeners | self._momentary:
            self._found(LISTENERS, found[2] if found else target)

    def _sendfile(self, call: Call) -> None:
        target, source = (*call.descriptors(), "", "")[:2]
        if not (self._is_visitor(target) and source.startswith(_PACKAGE)):
            self._found(OTHERS, f"sendfile() of {source} to {target}")

    def _is_visitor(self, target: str) -> bool:
        found = _ENDS.match(target)
        if found is None or not found[3]:
            return False
        host, _, port = found[2].rpartition(":")
        anywhere = {f"0.0.0.0:{port}", f"[::]:{port}"}
        return bool({f"{host}:{port}", *anywhere} & self._allowed.listeners)

    def _send(self, call: Call) -> None:
        targets = call.descriptors()
        target = targets[0] if targets else ""
        if target.startswith("/"):
            self._write(call, target)
        elif target in self._own or target in (self._allowed.pipe, "anon_inode:[eventfd]", "anon_inode:[timerfd]"):
            return
        elif target.startswith("TCP"):
            self._send_tcp(call, target)
        elif target.startswith("UDP"):
            self._send_udp(call, target)
        elif target.startswith("NETLINK"):
            if sum(map(len, call.strings())) > _MAX_NETLINK_BYTES:
                self._found(OTHERS, "netlink")
        elif target.startswith("UNIX"):
            data = b"".join(call.strings())
            if not (_inode(target) in self._services and self._names.asks_service(data)):
                self._found(ADDRESSES, f"unix socket {_unix_path(call.arguments) or target}")
        elif "EBADF" not in call.result:
            self._found(OTHERS, f"{call.name}() to {target or call.arguments[:40]}")

    def _write(self, call: Call, path: str) -> None:
        if path == "/dev/null":
            return
        if not is_known(path, self._allowed.state_dir):
            self._found(FILES, path)
            return
        size = int(call.result.split()[0]) if call.result.split()[0].isdecimal() else 0
        if problem := written(call.strings(), size, known=tuple(self._allowed.known)):
            self._found(FILES, f"{path}: {problem}")

    def _send_tcp(self, call: Call, target: str) -> None:
        found = _ENDS.match(target)
        local, remote = (found[2], found[3]) if found else ("", "")
        remote = remote or _address(call.arguments) or ""
        if "MSG_OOB" in call.arguments:
            self._found(ADDRESSES, f"urgent data to {remote}")
        if {local, remote} & self._momentary:
            if sum(map(len, call.strings())) > 1:
                self._found(ADDRESSES, f"more than a sign to itself at {local}")
        elif remote in self._allowed.camera:
            self._camera_bytes[remote] += sum(map(len, call.strings()))
            if self._camera_bytes[remote] > _MAX_CAMERA_BYTES:
                self._found(ADDRESSES, f"more than {_MAX_CAMERA_BYTES} bytes to the camera {remote}")
        elif target in self._connected:
            return  # to whom was judged then
        elif remote not in self._allowed.peers and not self._is_visitor(target):
            self._found(ADDRESSES, remote or target)

    def _send_udp(self, call: Call, target: str) -> None:
        found = _ENDS.match(target)
        address = _address(call.arguments) or (found[3] if found else None) or target
        host, _, port = address.rpartition(":")
        if port != str(PORT):
            self._found(ADDRESSES, address)
            return
        for data in call.strings():
            if data.decode("latin-1") not in (host, host.strip("[]")) and (
                problem := self._names.problem(host.strip("[]"), data)
            ):
                self._found(ADDRESSES, problem)


def _momentary(calls: Iterable[Call]) -> Iterable[str]:
    """Yield addresses of listeners that took one connection, from the process itself, and were closed at once.

    The MQTT client wakes its own thread so.
    """
    made, taken, closed, connected = set(), Counter[str](), set(), Counter[str]()
    for call in calls:
        found = _ENDS.match((call.descriptors() or [""])[0])
        if call.name == "connect" and (not call.failed or "EINPROGRESS" in call.result):
            connected[_address(call.arguments) or ""] += 1
        if found is None or found[3] or not found[2].startswith("127.0.0.1:"):
            continue
        if call.name == "listen" and call.arguments.endswith(", 1"):
            made.add(found[2])
        elif call.name.startswith("accept"):
            taken[found[2]] += 1
        elif call.name == "close":
            closed.add(found[2])
    return [one for one in made & closed if taken[one] == connected[one] == 1]


def _address(arguments: str) -> str | None:
    found = _INET.search(arguments)
    return None if found is None else _joined(found[2] or found[3], int(found[1]))


def _unix_path(arguments: str) -> str:
    found = re.search(r'sun_path=(@?"[^"]*")', arguments)
    return found[1].replace('"', "") if found else ""


def _inode(target: str) -> str:
    found = re.search(r"\[(\d+)", target)
    return found[1] if found else target
