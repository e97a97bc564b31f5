"""A phone joins: a certificate that it can trust, a code to scan, a page that explains; at last in a real browser."""

from __future__ import annotations

import hashlib
import os
import plistlib
import re
import socket
import ssl
import stat
import subprocess
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import cv2
import numpy as np
import pytest
from aiohttp import web
from browser import PHONE, accessible, screenshot
from conftest import PATIENCE_S, find_chromium
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from playwright.sync_api import Error, expect, sync_playwright

from edge_agent.errors import ConfigError, StateError
from edge_agent.languages import translation
from edge_agent.pager_server.authority import Authority
from edge_agent.pager_server.certificates import Own
from edge_agent.pager_server.network import addresses
from edge_agent.testing import free_port
from edge_agent.web.access import CODE_S, login_code, make_application
from edge_agent.web.certificates import Given
from edge_agent.web.serving import Server

TOKEN = "a-token-of-twenty-chars"
ANDROID = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1"
BLOCKS = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


def read(picture: np.ndarray) -> str:
    """The code in a grey picture; OpenCV overlooks one in two hundred at any one size."""
    sizes = (cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_NEAREST) for by in (1, 4, 7, 8))
    return next(filter(None, (cv2.QRCodeDetector().detectAndDecode(one)[0] for one in sizes)), "")


def scanned(lines: list[str]) -> list[str]:
    """What a camera reads in the codes that stand between other lines."""
    found, rows = [], []
    for line in [*lines, ""]:
        if len(line) > 20 and set(line) <= set(BLOCKS):
            upper_and_lower = zip(*(BLOCKS[character] for character in line), strict=True)
            rows += [list(row) for row in upper_and_lower]
        elif rows:
            found.append(read(np.array(rows, np.uint8) * 255))
            rows = []
    return found


def fetch(url: str, *, authority: bytes | None = None, agent: str = "", method: str = "GET", language: str = "en"):
    """Status, headers and body of one answer; redirections are not followed."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    context = None
    if authority is not None:
        context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(authority))
    opener = urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, method=method, headers={"User-Agent": agent, "Accept-Language": language})
    try:
        with opener.open(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read()


def presented(port: int, authority: bytes) -> x509.Certificate:
    """The server's certificate, once it was verified for 127.0.0.1."""
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(authority))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as link,
        context.wrap_socket(link, server_hostname="127.0.0.1") as secured,
    ):
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))


def known_as(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


class Running:
    """A server for phones, and what it printed until it was ready."""

    def __init__(self, process, port: int, join_port: int) -> None:
        self.process, self.port, self.join_port = process, port, join_port
        self.lines = []
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            if "Web Push" in line:  # what is said last before the broker is tried
                break
        self.door = f"http://127.0.0.1:{join_port}/"

    def authority(self) -> bytes:
        return fetch(f"{self.door}ca.crt")[2]


@pytest.fixture
def start(edge_agent, broker, site, tmp_path, token_file):
    def run(*options: str) -> Running:
        port, join_port = free_port(), free_port()
        process = edge_agent(
            "pager", "--web", "--listen", f"0.0.0.0:{port}", "--join-port", join_port, "--token-file", token_file,
            "--port", broker.port, "--site", site, *options, cwd=tmp_path,
        )  # fmt: skip
        return Running(process, port, join_port)

    return run


def test_the_terminal_shows_where_phones_begin_and_no_secret(start):
    server = start()
    host = next((str(one) for one in addresses() if one.version == 4), None)
    first = f"http://{host}:{server.join_port}/" if host else next(line for line in server.lines if ".local" in line)
    printed = "\n".join(server.lines)
    assert "0.0.0.0" not in printed
    assert TOKEN not in printed
    assert scanned(server.lines) == [first]
    assert f"phones begin at {first}" in printed
    fingerprint = re.search(r"fingerprint of its certificate authority: ([0-9A-F:]{95})", printed)[1]
    assert fingerprint.replace(":", "").lower() == hashlib.sha256(server.authority()).hexdigest()


def test_phones_begin_at_the_name_that_the_page_is_said_to_have(start, tmp_path):
    (tmp_path / "staff.yaml").write_text("pager: {url: 'https://pager.lan:8090'}\n")  # a container knows another
    server = start("--config", "staff.yaml")
    assert scanned(server.lines) == [f"http://pager.lan:{server.join_port}/"]
    assert "pager.lan" in known_as(presented(server.port, server.authority()))


def test_its_certificate_is_one_that_phones_accept_and_its_keys_are_its_own(start, tmp_path):
    server = start()
    certificate = presented(server.port, server.authority())
    assert {"127.0.0.1", "localhost", *map(str, addresses())} <= known_as(certificate)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=397)
    assert certificate.signature_hash_algorithm.name == "sha256"
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    for name in ("tls-authority.pem", "tls-server.pem"):
        assert stat.S_IMODE((tmp_path / "pager-state" / name).stat().st_mode) == 0o600, name
    before = server.authority()
    server.process.terminate()
    server.process.wait(PATIENCE_S)
    assert start().authority() == before, "a restart makes no phone trust anew"


def test_over_plain_http_there_is_the_certificate_and_how_to_install_it_and_nothing_else(start):
    server = start()
    authority = server.authority()
    assert x509.load_der_x509_certificate(authority).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    status, headers, profile = fetch(f"{server.door}edge-agent.mobileconfig")
    assert (status, headers["Content-Type"]) == (200, "application/x-apple-aspen-config")
    [payload] = plistlib.loads(profile)["PayloadContent"]
    assert (payload["PayloadType"], payload["PayloadContent"]) == ("com.apple.security.root", authority)
    for path in ("api/shift", "manager", "phones", "login", "static/pager.js", "ws", "manifest.webmanifest", "x//y"):
        status, headers, _ = fetch(server.door + path)
        assert (status, headers["Location"]) == (302, f"https://127.0.0.1:{server.port}/{path}")
        assert fetch(server.door + path, method="POST")[0] == 405
    for agent, first in ((ANDROID, "Android"), (IPHONE, "iPhone, iPad")):
        page = fetch(server.door, agent=agent)[2].decode()
        assert re.findall(r"<details( open)?><summary>([^<]+)", page)[0] == (" open", first)
        assert "iPhone" in page
        assert "Android" in page
    page = fetch(server.door, language="ja")[2].decode()
    assert translation("ja").gettext("Trust the pager") in page
    # Over TLS there is the same, without the word of warning; the rest asks for the token.
    warning = "somebody in the network could have put another certificate here"
    secure = f"https://127.0.0.1:{server.port}/"
    assert warning in fetch(server.door)[2].decode()
    assert warning not in fetch(f"{secure}join", authority=authority)[2].decode()
    assert fetch(f"{secure}phones", authority=authority)[0] == 401


@pytest.fixture
def serve():
    servers = []

    def run(files) -> Server:
        application = make_application(token=None, title="test")
        servers.append(Server(application, host="127.0.0.1", port=0, tls=files))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


def test_other_addresses_and_a_near_end_make_another_certificate_without_a_restart(tmp_path, serve):
    here, now = [ip_address("192.168.1.20")], [datetime.now(timezone.utc) - timedelta(days=300)]
    own = Own(tmp_path, addresses=lambda: tuple(here), now=lambda: now[0])
    server, authority = serve(own.files), own.authority.der
    first = presented(server.port, authority)
    assert own.renew() is False
    here[:] = [ip_address("10.0.0.7"), ip_address("fd00::7")]
    assert own.renew() is True
    server.renew()
    second = presented(server.port, authority)
    assert {"10.0.0.7", "fd00::7"} <= known_as(second)
    assert "192.168.1.20" in known_as(first) - known_as(second)
    now[0] += timedelta(days=300)
    assert own.renew() is True
    server.renew()
    assert presented(server.port, authority).not_valid_after_utc > second.not_valid_after_utc
    assert Authority(tmp_path, host="other").der == authority


def test_a_given_certificate_that_was_replaced_is_used_and_one_that_cannot_be_is_not(tmp_path, serve):
    authority = Authority(tmp_path, host="test")
    made = [authority.issue(["localhost"], [ip_address("127.0.0.1")], now=datetime.now(timezone.utc)) for _ in range(2)]
    certificate, draft = tmp_path / "pager.pem", tmp_path / "draft"
    certificate.write_bytes(made[0][0])
    given = Given(certificate, certificate)
    server = serve(given.files)
    first = presented(server.port, authority.der).serial_number
    draft.write_bytes(b"half of it")
    draft.replace(certificate)
    assert given.renew() is True
    with pytest.raises(ConfigError, match="cannot use the certificate"):
        server.renew()
    assert presented(server.port, authority.der).serial_number == first
    draft.write_bytes(made[1][0])
    draft.replace(certificate)
    assert given.renew() is True
    server.renew()
    assert presented(server.port, authority.der).serial_number != first


@pytest.mark.parametrize("version", [b"\x12", b"\xff"])
def test_an_authority_that_is_damaged_says_what_to_do(tmp_path, version):
    authority = Authority(tmp_path, host="test")
    path = tmp_path / "tls-authority.pem"
    # The third version is written as 2, in a field that begins with these bytes.
    der = authority.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + version, 1)
    path.write_bytes(path.read_bytes().split(b"-----BEGIN CERT")[0] + ssl.DER_cert_to_PEM_cert(der).encode())
    with pytest.raises(StateError, match="remove it, and every phone trusts it anew"):
        Authority(tmp_path, host="test")


def test_its_authority_can_stand_in_for_nothing_on_the_internet(tmp_path):
    authority = Authority(tmp_path, host="test")
    pems = {}
    for name in ("pager.local", "bank.example"):
        pems[name], _ = authority.issue([name], [], now=datetime.now(timezone.utc))
    pems["8.8.8.8"], _ = authority.issue([], [ip_address("8.8.8.8")], now=datetime.now(timezone.utc))
    (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(authority.der))
    said = {}
    for name, pem in pems.items():
        (tmp_path / "one.pem").write_bytes(pem)
        command = ["openssl", "verify", "-x509_strict", "-CAfile", tmp_path / "ca.pem", tmp_path / "one.pem"]
        said[name] = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said["pager.local"].returncode == 0, said["pager.local"].stderr
    for name in ("bank.example", "8.8.8.8"):
        assert "permitted subtree violation" in said[name].stderr
    with pytest.raises(StateError, match="has ended; remove it"):
        authority.issue([], [], now=datetime.now(timezone.utc) + timedelta(days=3700))


def test_a_code_logs_in_for_some_minutes_only():
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    application = make_application(token=TOKEN, title="test")
    application.router.add_get("/", hello)
    server = Server(application, host="127.0.0.1", port=0)

    def log_in(code: str) -> int:
        request = urllib.request.Request(server.url + "login", f"token={code}".encode(), method="POST")
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        try:
            with opener.open(request, timeout=PATIENCE_S) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    now = time.time()
    code = login_code(TOKEN, unix_s=now)
    assert log_in(code) == 200
    assert log_in(f"{code[:5]}-{code[5:]}".lower()) == 200
    assert log_in(login_code(TOKEN, unix_s=now - 2 * CODE_S)) == 401
    assert log_in(login_code("another-token-of-20", unix_s=now)) == 401
    server.stop()


@pytest.fixture
def phone(tmp_path):
    """Starts a browser with a profile of its own; it trusts what was installed in that, and nothing else of ours."""
    home = tmp_path / "home"
    (home / ".pki" / "nssdb").mkdir(parents=True)
    store = f"sql:{home / '.pki' / 'nssdb'}"
    subprocess.run(["certutil", "-N", "-d", store, "--empty-password"], check=True)

    def install(authority: bytes) -> None:
        (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(authority))
        command = ["certutil", "-A", "-d", store, "-n", "pager", "-t", "C,,", "-i", tmp_path / "ca.pem"]
        subprocess.run([str(part) for part in command], check=True)

    expect.set_options(timeout=1000 * PATIENCE_S)
    browsers = []
    with sync_playwright() as playwright:

        def launch(*arguments: str, **options):
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox", *arguments],
                env={**os.environ, "HOME": str(home)},
            )  # fmt: skip
            browsers.append(browser)
            return browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, **options).new_page()

        yield launch, install
        for browser in browsers:
            browser.close()


def test_from_the_first_code_to_a_pager_that_can_be_installed(start, phone, run_command, tmp_path, token_file):
    server = start()
    launch, install = phone
    page = launch(user_agent=ANDROID)
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        page.context.new_page().goto(f"https://127.0.0.1:{server.port}/")
    page.goto(server.door)
    expect(page.get_by_role("heading", name="1. Trust the pager")).to_be_visible()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    screenshot(page, "join")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the certificate").click()
    authority = download.value.path().read_bytes()
    assert download.value.suggested_filename == "edge-agent-ca.crt"
    install(authority)
    page = launch(user_agent=ANDROID)
    page.goto(server.door)
    page.get_by_role("link", name="Open the pager").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    # What the terminal shows beside the running server.
    shown = run_command(
        "pager", "--join", "--listen", f"0.0.0.0:{server.port}", "--join-port", server.join_port, "--token-file",
        token_file, cwd=tmp_path,
    )  # fmt: skip
    assert shown.code == 0, shown.err
    begin, log_in = scanned(shown.out.splitlines())
    assert begin == scanned(server.lines)[0]
    assert TOKEN not in shown.out
    page.goto(f"https://127.0.0.1:{server.port}/{log_in[log_in.index('#') :]}")
    page.reload()
    expect(page.get_by_label("Your name")).to_be_visible()
    assert page.url == f"https://127.0.0.1:{server.port}/"
    assert page.evaluate("isSecureContext")
    assert page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    expect(page.locator("#insecure")).to_be_hidden()
    # A colleague's phone now shows both codes to the next.
    page.goto(f"https://127.0.0.1:{server.port}/phones")
    accessible(page)
    screenshot(page, "phones")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    pictures = [cv2.imdecode(np.frombuffer(one.screenshot(), np.uint8), 0) for one in page.locator("svg").all()]
    first, second = (read(one) for one in pictures)
    assert (first, second.partition("#")[0]) == (begin, log_in.partition("#")[0])
    assert page.locator(".code").inner_text().replace("-", "") == second.partition("#")[2]


def test_over_plain_http_the_page_says_what_it_cannot_do(start, phone):
    server = start("--plain-http")
    launch, _ = phone
    page = launch("--host-resolver-rules=MAP pager.test 127.0.0.1")
    page.goto(f"http://pager.test:{server.port}/")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#insecure")).to_contain_text("it cannot be installed")
    accessible(page)
    page.get_by_role("link", name="What to do about it").click()
    expect(page.get_by_role("main")).to_contain_text("leave out --plain-http")
    accessible(page)
    assert scanned(server.lines)[0].endswith(f":{server.port}/join")


def test_what_cannot_work_is_said(run_command, tmp_path, token_file):
    for options, says in (
        (["--join"], "no phone reaches"),
        (["--join", "--listen", "0.0.0.0:1", "--token-file", token_file], "start the pager once"),
        (["--web", "--join-port", "70000"], "no port"),
    ):
        result = run_command("pager", *options, cwd=tmp_path)
        assert (result.code, says in result.one_line_error()) == (2, True), result.err
