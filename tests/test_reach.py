"""The pager's server: whose subscriptions it takes, and what a signed link can and cannot do."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from conftest import PATIENCE_S
from messages import ULID, alert, composer
from push_service import Browser, HttpService

from edge_agent.config import Notify, Shift, Target
from edge_agent.config import Pager as Settings
from edge_agent.pager.client import Pager
from edge_agent.pager_server import keys
from edge_agent.pager_server.links import Link, Signer, UsedLinks
from edge_agent.pager_server.notifier import Beat, Condition, Failing
from edge_agent.pager_server.server import WebPager
from edge_agent.pager_server.subscriptions import (
    MAX_SUBSCRIPTIONS,
    SubscriptionError,
    Subscriptions,
    parse_subscription,
)
from edge_agent.testing import FakeBus

TOKEN = "a-token-of-twenty-chars"
OURS = {"X-Requested-With": "edge-agent"}


class Server:
    """A pager's server whose broker is in memory."""

    def __init__(self, state_dir, *, token=TOKEN, notify=None, **settings) -> None:
        self.state_dir, self.said, self.bus = state_dir, [], FakeBus()
        self.settings = Settings(port=0, state_dir=state_dir, url="https://pager.example", **settings)
        known = Notify(push_contact="mailto:a@b.example", targets=(Target(name="duty-phone", url_file=state_dir),))
        self.pager = WebPager(
            Pager(self.bus, name="web"), threading.Event(), self.settings, token=token,
            notify=known if notify is None else notify, say=self.said.append,
        )  # fmt: skip
        self.token, self.cookie = token, ""
        self.bus.start()
        self.pager.turn()

    def step(self, **values) -> None:
        message = composer().alert(alert(**values))
        self.bus.receive(message.topic, message.payload)
        self.pager.turn()

    def ask(self, path: str, method="GET", body=None, *, login=True, ours=True, **headers) -> tuple[int, str]:
        known = {"Authorization": f"Bearer {self.token}"} if login and self.token else {}
        known |= {"Cookie": self.cookie} if self.cookie and login else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.pager.url + path.lstrip("/"), data, {**known, **(OURS if ours else {}), **headers}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def begin(self, name="Kim", shift="") -> None:
        request = urllib.request.Request(
            self.pager.url + "api/shift", json.dumps({"name": name, "shift": shift, "pin": ""}).encode(),
            {"Authorization": f"Bearer {self.token}", **OURS}, method="POST",
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def link(self, **changes) -> str:
        known = Link(ULID, 1, "on_my_way", "duty-phone", int(time.time()) + 600)
        return f"/answer/{Signer(keys.link_key(self.state_dir)).token(replace(known, **changes))}"

    def follow(self, path: str, method="GET") -> tuple[int, str]:
        """Ask as whoever got the link does, who knows nothing else."""
        return self.ask(path, method, login=False, ours=False)

    def answers(self) -> list[dict]:
        self.pager.turn()
        return [json.loads(message.payload) for message in self.bus.published if "/ack/" in message.topic]

    def snapshot(self) -> dict:
        self.pager._reach._looked_s = float("-inf")
        return json.loads(json.dumps(self.pager._reach.status()))

    def kept(self) -> list:
        return self.pager._reach.subscriptions.all()


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(**options) -> Server:
        servers.append(Server(tmp_path / "state", **options))
        return servers[-1]

    yield start
    for server in servers:
        server.pager._server.stop()


class TestLinks:
    def test_one_answers_once_and_looking_at_it_never(self, serve):
        server = serve()
        server.step()
        link = server.link()
        for _ in range(3):
            status, text = server.follow(link)
            assert (status, "Please send assistance" in text, "On my way" in text) == (200, True, True)
        assert server.follow(link, "HEAD")[0] == 200
        assert server.answers() == []
        status, text = server.follow(link, "POST")
        assert (status, "Thank you, duty-phone." in text) == (200, True)
        status, text = server.follow(link, "POST")
        assert (status, "used already" in text) == (409, True)
        [answer] = server.answers()
        assert (answer["by"], answer["action"], answer["revision"]) == ("duty-phone", "on_my_way", 1)
        # Also after a restart.
        again = serve()
        again.step()
        assert again.follow(link, "POST")[0] == 409
        assert again.answers() == []

    def test_many_at_once_answer_once(self, serve):
        server = serve()
        server.step()
        link, statuses = server.link(), []
        threads = [threading.Thread(target=lambda: statuses.append(server.follow(link, "POST")[0])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, *[409] * 7]
        assert len(server.answers()) == 1

    def test_whatever_is_changed_makes_it_none(self, serve):
        server = serve()
        server.step()
        link = server.link()
        head, _, signature = link.removeprefix("/answer/").partition(".")
        other = Signer(b"x" * 32).token(Link(ULID, 1, "on_my_way", "duty-phone", int(time.time()) + 600))
        turned = [
            f"{head[:at]}{'A' if head[at] != 'A' else 'B'}{head[at + 1 :]}.{signature}" for at in range(len(head))
        ]
        for token in (*turned, other, head, f"{head}.", f"{head}.{signature[:-1]}", f".{signature}", "%00", "x" * 5000):
            for method in ("GET", "POST"):
                status, text = server.follow(f"/answer/{token}", method)
                assert status in (404, 400), (token, text)
        assert server.answers() == []

    def test_it_expires_and_ends_with_its_page(self, serve):
        server = serve()
        assert "This page is over." in server.follow(server.link(), "POST")[1]
        server.step()
        status, text = server.follow(server.link(expires_unix_s=int(time.time()) - 1), "POST")
        assert (status, "expired" in text) == (410, True)
        server.step(revision=2, step="acked", by="<b>Kim</b>")
        status, text = server.follow(server.link(), "POST")
        assert (status, "Already answered by &lt;b&gt;Kim&lt;/b&gt;." in text) == (409, True)
        server.step(revision=3, people=2)  # somebody else: the link is for them as well
        assert server.follow(server.link())[0] == 200
        server.step(revision=4, step="cleared")
        assert server.follow(server.link(), "POST")[0] == 410
        assert server.answers() == []

    def test_while_nobody_knows_what_is_open_nothing_is_said_to_be_over(self, serve):
        server = serve()
        server.bus.lose()
        server.pager.turn()
        assert server.follow(server.link(), "POST")[0] == 503

    @pytest.mark.parametrize("path", ["/", "/ws", "/api/push", "/answer/../ws", "/answer/x/y", "/answer", "/answer/"])
    def test_the_link_opens_no_other_door(self, serve, path):
        server = serve()
        assert server.follow(path)[0] == 401
        assert server.follow(path, "POST")[0] in (401, 403)

    def test_the_page_says_who_wrote_what_without_being_one(self, serve):
        server = serve()
        server.step()
        message = composer().alert(alert(revision=2, step="escalated"))
        body = {**json.loads(message.payload), "message": "<script>alert(1)</script>", "place": '"><img src=x>'}
        server.bus.receive(message.topic, json.dumps(body).encode())
        server.pager.turn()
        text = server.follow(server.link())[1]
        assert "<script>" not in text
        assert "<img" not in text

    def test_what_was_used_is_forgotten_when_it_counts_no_more(self, tmp_path):
        now = [1000.0]
        used = UsedLinks(tmp_path, unix=lambda: now[0])
        link = Link(ULID, 1, "on_my_way", "a", 2000)
        assert (used.claim(link), used.claim(link)) == (True, False)
        now[0] = 2001.0
        assert used.claim(replace(link, by="b"))
        assert used._db.execute("SELECT count(*) FROM used_link").fetchone() == (1,)
        used.close()

    def test_without_targets_or_an_address_there_are_none(self, serve):
        server = serve(notify=Notify())
        server.step()
        assert server.follow(server.link())[0] == 404


class TestSubscriptions:
    @pytest.fixture
    def kim(self):
        return Browser(HttpService())

    def test_a_browser_subscribes_moves_and_ends(self, serve, kim):
        server = serve(shifts=(Shift(name="tills", groups=("staff",), kiosks=("shop/till-1",)),))
        offer = json.loads(server.ask("/api/push")[1])
        assert offer == {"key": keys.public_part(keys.vapid_key(server.state_dir)), "why": ""}
        assert server.kept() == []
        body = kim.subscription(language="de", name="Mallory")
        assert server.ask("/api/push", "PUT", body)[0] == 403  # nobody is on duty
        server.begin("Kim", "tills")
        assert server.ask("/api/push", "PUT", body)[0] == 200
        [one] = server.kept()
        assert (one.name, one.language, one.groups, one.kiosks) == ("Kim", "de", ("staff",), ("shop/till-1",))
        # The browser's push service gave it another address.
        moved = kim.subscription(language="de", endpoint="https://push.example/new", replaces=one.endpoint)
        assert server.ask("/api/push", "PUT", moved)[0] == 200
        assert server.kept() == [replace(one, endpoint="https://push.example/new")]
        server.begin("Lee", "tills")
        assert server.ask("/api/push", "PUT", moved)[0] == 200
        assert [one.name for one in server.kept()] == ["Lee"]
        assert server.ask("/api/push", "DELETE", {"endpoint": "https://push.example/new"})[0] == 200
        assert server.kept() == []

    @pytest.mark.parametrize(
        "change",
        [
            {"endpoint": "http://push.example/x"}, {"endpoint": "https://10.0.0.1/x"}, {"endpoint": "https://[::1]/x"},
            {"endpoint": "https://router/x"}, {"endpoint": "https://printer.local/x"}, {"endpoint": "file:///etc/passwd"},
            {"endpoint": "https://a:b@push.example/"}, {"endpoint": "https://push.example/" + "x" * 1000},
            {"endpoint": "https://push.example:port/"}, {"endpoint": "https://push.example/ x"}, {"endpoint": None},
            {"endpoint": "https://push.exämple/"}, {"endpoint": "https://"},
            {"keys": None}, {"keys": {}}, {"keys": {"p256dh": "AAAA", "auth": "AAAA"}},
            {"keys": {"p256dh": "B" * 87, "auth": "A" * 22}},
        ],
        ids=str,
    )  # fmt: skip
    def test_what_is_none_is_refused(self, serve, kim, change):
        server = serve()
        server.begin()
        status, _ = server.ask("/api/push", "PUT", kim.subscription(**change))
        assert (status, server.kept()) == (400, [])

    @pytest.mark.parametrize("body", [[], 7, None, "x", {"endpoint": {}}])
    def test_nonsense_is_refused(self, serve, body):
        server = serve()
        server.begin()
        assert server.ask("/api/push", "PUT", body)[0] == 400
        assert server.ask("/api/push", "DELETE", body)[0] in (200, 400)

    def test_only_whoever_sits_here_names_an_endpoint_here(self, kim):
        body = kim.subscription()
        assert parse_subscription(body, name="Kim", language="en", loopback=True).host == "127.0.0.1"
        with pytest.raises(SubscriptionError):
            parse_subscription(body, name="Kim", language="en", loopback=False)

    @pytest.mark.parametrize(("login", "ours", "status"), [(False, True, 401), (True, False, 403)])
    def test_only_our_pages_and_whoever_is_logged_in_may(self, serve, kim, login, ours, status):
        server = serve()
        for method in ("PUT", "DELETE"):
            body = kim.subscription()
            assert server.ask("/api/push", method, body, login=login, ours=ours)[0] == status
        assert server.kept() == []

    def test_there_is_room_for_so_many(self, tmp_path, kim):
        kept = Subscriptions(tmp_path)
        known = parse_subscription(kim.subscription(), name="Kim", language="en", loopback=True)
        for number in range(MAX_SUBSCRIPTIONS):
            kept.put(replace(known, endpoint=f"https://push.example/{number}"))
        kept.put(replace(known, endpoint="https://push.example/0", name="Lee"))
        with pytest.raises(SubscriptionError, match="already"):
            kept.put(known)
        assert len(kept.all()) == MAX_SUBSCRIPTIONS
        kept.close()

    def test_without_a_contact_it_is_not_offered_and_the_log_says_why(self, serve, kim):
        server = serve(notify=Notify())
        server.pager._reach.announce()
        assert server.said[-1] == (
            "phones with their screen off are not reached by Web Push: notify.push_contact is not set"
        )
        assert json.loads(server.ask("/api/push")[1]) == {"key": None, "why": "notify.push_contact is not set"}
        assert server.ask("/api/push", "PUT", kim.subscription())[0] == 404
        assert server.ask("/api/push", "DELETE", kim.subscription())[0] == 200
        assert not (server.state_dir / keys.VAPID).exists()


class TestNotifierThatIsAway:
    def test_it_shows_where_somebody_relies_on_it(self, serve):
        server = serve()
        assert server.snapshot() == {"away_since_unix_s": None, "failing": []}  # it may just be starting
        beat = Beat(server.state_dir, unix=lambda: time.time() - 31.0)
        beat.tell(Condition())
        assert server.snapshot()["away_since_unix_s"] == pytest.approx(time.time() - 31, abs=5)
        failing = Failing("duty-phone", 1000.0, "refused (401)")
        Beat(server.state_dir).tell(Condition(None, (failing,)))
        assert server.snapshot() == {
            "away_since_unix_s": None,
            "failing": [{"name": "duty-phone", "since_unix_s": 1000.0, "problem": "refused (401)"}],
        }
        Beat(server.state_dir).tell(Condition(1234.0))
        assert server.snapshot()["away_since_unix_s"] == 1234.0

    def test_where_nobody_does_it_is_not_missed(self, serve):
        server = serve(notify=Notify(push_contact="mailto:a@b.example"))
        Beat(server.state_dir, unix=lambda: time.time() - 1000.0).tell(Condition())
        assert server.snapshot() == {"away_since_unix_s": None, "failing": []}

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"failing": 7}', '{"failing": [{}], "away_since_unix_s": null}'])
    def test_a_file_that_holds_nonsense_breaks_nothing(self, serve, text):
        server = serve()
        (server.state_dir / "notifier.json").write_text(text)
        assert server.snapshot() == {"away_since_unix_s": None, "failing": []}
