"""`edge-agent notify` as a process: a real broker, real signals, real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
import yaml
from conftest import PATIENCE_S, REPOSITORY
from push_service import Browser, HttpService, Kiosk

from edge_agent.pager_server.subscriptions import Subscriptions, parse_subscription
from edge_agent.testing import free_port

ONE, TWO = "01M7Y8H3KR49JEKEK9MMJWTPA1", "01M7Y8H3KR49JEKEK9MMJWTPA2"
SECRET = "s3cr3t-t0ken"


@pytest.fixture
def service():
    made = HttpService()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def root(site) -> str:
    """Topics of the test's own: the notifier hears all sites."""
    return f"notify/{site}"


@pytest.fixture
def configure(tmp_path, broker, root):
    def write(*, notify=None, pager=None, **sections) -> str:
        values = {
            "mqtt": {"port": broker.port, "topic_root": root},
            "pager": {"state_dir": str(tmp_path / "state"), **(pager or {})},
            "notify": {"push_contact": "mailto:help@shop.example", **(notify or {})},
            "logging": {"format": "json", "level": "debug"},
            **sections,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


@pytest.fixture
def subscribe(tmp_path):
    def add(service, name="Kim", path="/kim") -> Browser:
        browser, kept = Browser(service, path), Subscriptions(tmp_path / "state")
        kept.put(parse_subscription(browser.subscription(), name=name, language="en", loopback=True))
        kept.close()
        return browser

    return add


@pytest.fixture
def target(tmp_path):
    def write(url: str, name="duty-phone", **values) -> dict:
        path = tmp_path / f"{name}.url"
        path.write_text(f"# what Apprise reads\n{url}\n")
        path.chmod(0o600)
        return {"name": name, "url_file": str(path), **values}

    return write


@pytest.fixture
def notifier(edge_agent):
    def start(config: str):
        process = edge_agent("notify", "--config", config)
        await_line(process.stderr, "connected to the broker")
        return process

    return start


@pytest.fixture
def page(listen, root):
    return Kiosk(listen(f"{root}/none").client, root).step


def await_line(stream, text: str) -> str:
    for line in stream:
        if text in line:
            return line
    pytest.fail(f"{text!r} was never said")


@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "before the answer"])
def test_a_page_survives_a_kill_and_is_delivered_once(notifier, configure, subscribe, service, page, sent):
    kim = subscribe(service)
    if sent:
        service.answers[kim.path] = [(0, {})]
    else:
        service.stop()
    config = configure()
    process = notifier(config)
    page(ONE)
    if sent:
        service.wait_for(1)
    else:
        await_line(process.stderr, '"not sent"')
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not sent:
        kim.service = service = HttpService(port=service.port)
        service.start()
    again = notifier(config)
    await_line(again.stderr, '"event": "sent"')
    assert [one["tag"] for one in kim.messages(1 + sent)] == [ONE]
    again.terminate()
    assert again.wait(PATIENCE_S) == 0
    # Whoever starts after that sends it no more: a page that comes later is the next that is heard of.
    third = notifier(config)
    page(TWO)
    await_line(third.stderr, '"event": "sent"')
    assert [one["tag"] for one in kim.messages(2 + sent)] == [ONE, TWO]
    if not sent:
        service.stop()


def test_pages_of_the_time_it_was_away_are_sent_if_they_are_still_open(notifier, configure, subscribe, service, page):
    kim, config = subscribe(service), configure()
    process = notifier(config)
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    page(TWO, listed=False)
    page(TWO, listed=False, revision=2, step="acked", by="Lee")
    page(ONE, listed=False)  # only the broker's session knows of it
    again = notifier(config)
    await_line(again.stderr, '"event": "sent"')
    assert [one["tag"] for one in kim.messages(1)] == [ONE]
    assert len(service.received) == 1


def test_a_webhook_and_ntfy_are_told_and_the_link_answers_once(
    notifier, configure, target, service, page, edge_agent, broker, listen, root
):
    service.answers = {"/": [(200, {})], "/hook": [(200, {})]}
    port = free_port()
    config = configure(
        notify={"push_contact": None, "targets": [
            target(f"ntfy://127.0.0.1:{service.port}/topic-{SECRET}?tags=bell", severity="warning", language="de"),
            target(f"json://127.0.0.1:{service.port}/hook", "webhook"),
            target(f"json://127.0.0.1:{service.port}/never", "severe", severity="critical"),
        ]},
        pager={"url": f"http://127.0.0.1:{port}", "port": port},
    )  # fmt: skip
    server = edge_agent("pager", "--web", "--config", config, "--name", "web")
    await_line(server.stdout, "connected to the broker")
    listener = listen(f"{root}/#")
    notifier(config)
    page(ONE, people=2)
    [hook], [ntfy] = service.wait_for(1, "/hook"), service.wait_for(1, "/")
    assert service.at("/never") == []
    body = json.loads(hook.body)
    assert body["title"] == "Please send assistance"
    assert body["attachments"] == []
    place, _, link = body["message"].partition("\n\n")
    assert place == "Till 1, 2 people"
    link = link.partition(": ")[2]
    sent = json.loads(ntfy.body)
    assert sent["topic"] == f"topic-{SECRET}"
    assert ntfy.headers["X-Priority"] == "high"
    assert "X-Icon" not in ntfy.headers
    [button] = json.loads(ntfy.headers["X-Actions"])
    assert (button["action"], button["method"], button["clear"]) == ("http", "POST", True)
    assert ntfy.headers["X-Click"] == f"http://127.0.0.1:{port}"
    # Each target has a link of its own; whoever looks at it answers nothing.
    assert link != button["url"]
    assert "Please send assistance" in ask(link)[1]
    assert (ask(button["url"], "POST")) == (200, ask_text("Thank you, duty-phone."))
    answer = listener.wait_for_json("/ack/")
    assert {key: answer[key] for key in ("id", "action", "by", "revision")} == {
        "id": ONE, "action": "on_my_way", "by": "duty-phone", "revision": 1,
    }  # fmt: skip
    assert ask(button["url"], "POST")[0] == 409
    page(ONE, revision=2, step="acked", by="Kim", people=2)
    await_answer(link, "Already answered by Kim.")
    assert len(listener.bodies("/ack/")) == 1


class ask_text(str):  # noqa: N801
    """Equal to a page that says so."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in other

    __hash__ = str.__hash__


def ask(url: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def await_answer(url: str, text: str) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while text not in ask(url)[1]:
        assert time.monotonic() < give_up_s, ask(url)


def test_no_secret_is_ever_logged(notifier, configure, target, service, subscribe, page):
    subscribe(service, path=f"/{SECRET}-endpoint")
    service.answers = {
        f"/{SECRET}-endpoint": [(500, {}), (0, {})],
        f"/{SECRET}": [(401, {}), (500, {})],
        f"/bot123456789:{SECRET}-abcdefghijklmnopqrstu/sendMessage": [(403, {})],
    }
    nobody = free_port()
    targets = [
        target(f"json://user:{SECRET}@127.0.0.1:{service.port}/{SECRET}", "webhook"),
        target(f"ntfy://{SECRET}@127.0.0.1:{nobody}/{SECRET}", "ntfy"),
        target(f"tgram://123456789:{SECRET}-abcdefghijklmnopqrstuvw/12315544/", "telegram"),
        target(f"mailto://user:{SECRET}@127.0.0.1:{nobody}?from=a@b.example&to=c@d.example", "mail"),
    ]
    process = notifier(configure(notify={"targets": targets}))
    page(ONE)
    said, failed = "", set()
    while len(failed) < 5 or said.count('"not sent"') < 8:
        line = process.stderr.readline()
        said += line
        failed |= set(re.findall(r'"not sent".*"recipient": "([^"]+)"', line))
    assert '"problem": "refused (401)"' in said
    process.terminate()
    out, err = process.communicate(timeout=PATIENCE_S)
    for text in (said, out, err):
        assert SECRET not in text
        assert "Till 1" not in text
        assert "Kim" not in text


def test_a_test_says_who_is_reached(run_command, configure, target, service, subscribe):
    kim = subscribe(service)
    service.answers = {"/hook": [(200, {})], "/bad": [(403, {})]}
    good = target(f"json://127.0.0.1:{service.port}/hook", "webhook")
    result = run_command("notify", "--test", "--config", configure(notify={"targets": [good]}))
    assert (result.code, result.out) == (0, "webhook (target:webhook): sent\nKim (push 127.0.0.1): sent\n")
    assert kim.messages(1)[0] == {
        "title": "Test", "body": "Nobody needs help.", "tag": "test", "revision": 1, "paging": False,
        "lang": "en", "dir": "ltr",
    }  # fmt: skip
    bad = target(f"json://127.0.0.1:{service.port}/bad", "webhook")
    result = run_command("notify", "--test", "--config", configure(notify={"targets": [bad]}))
    assert (result.code, result.out.splitlines()[0]) == (1, "webhook (target:webhook): refused (403)")


def test_what_cannot_work_is_said(run_command, configure, target, tmp_path):
    everybody = target("json://127.0.0.1/x", "everybody")
    (tmp_path / "everybody.url").chmod(0o644)
    for notify, says in (
        ({"push_contact": None}, "nobody to tell"),
        ({"push_contact": "https://shop.example/contact"}, "notify.push_contact"),
        ({"targets": [everybody]}, "chmod 600"),
        ({"targets": [target(f"nothing://{SECRET}")]}, "Apprise knows no service"),
        ({"targets": [target("", "empty")]}, "holds no URL"),
        ({"targets": [{"name": "none", "url_file": "/nowhere"}]}, "cannot read /nowhere"),
    ):
        result = run_command("notify", "--config", configure(notify=notify))
        assert (result.code, says in result.one_line_error()) == (2, True), result.err
        assert SECRET not in result.err
    result = run_command("notify", "--config", configure(pager={"state_dir": "/proc/none"}))
    assert (result.code, "pager.state_dir" in result.one_line_error()) == (6, True)


def test_two_notifiers_do_not_share_a_folder(notifier, configure, run_command):
    config = configure()
    notifier(config)
    result = run_command("notify", "--config", config)
    assert result.code == 6
    assert "in use" in result.err


def test_systemd_learns_that_it_is_ready_and_alive(edge_agent, configure, tmp_path):
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(PATIENCE_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "400000"}
        process = edge_agent("notify", "--config", configure(), env=environment)
        said: list[str] = []
        while {"READY=1", "WATCHDOG=1"} - set(said):
            said.append(manager.recv(1000).decode())
        process.terminate()
        while "STOPPING=1" not in said:
            said.append(manager.recv(1000).decode())
    assert "STATUS=0 to tell, 0 waiting, 0 sent" in said


def test_without_its_packages_it_says_what_to_install(run_command, configure, tmp_path):
    (tmp_path / "apprise.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    result = run_command("notify", "--config", configure(), env={**os.environ, "PYTHONPATH": path})
    assert (result.code, "pip install '.[notify]'" in result.one_line_error()) == (2, True)
