"""The notifier: follows all pages as a pager does, and tells everybody who is to be told, until somebody answers.

A page is in the queue, on the disk, before the broker hears that it arrived, and before anything is sent. One thread
owns the queue; each attempt runs in a thread of its own, few at a time for one service, so that a service that hangs
holds up no other.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from edge_agent.logs import fields
from edge_agent.notify.outcome import Outcome
from edge_agent.notify.queue import Delivery, Queue
from edge_agent.notify.recipients import Phone, Recipient
from edge_agent.pager.client import Pager
from edge_agent.pager.news import CONNECTED_ANEW, Link, Nonsense
from edge_agent.pager.page import Page, parse_time
from edge_agent.pager_server.notifier import Beat, Condition, Failing
from edge_agent.pager_server.subscriptions import Subscription, Subscriptions

_log = logging.getLogger(__name__)

_PAGING = ("raised", "escalated")
#: After a connection, what was missed arrives: nothing is sent until the broker has been quiet for so long …
QUIET_S = 1.0
#: … at most so long. Without a broker, what waits is sent after as long: rather a page too many than one too few.
CATCH_UP_S = 10.0
#: The first pause after a failure, and the longest, seconds.
_RETRY_FIRST_S, _RETRY_MAX_S = 1.0, 60.0
#: So many attempts at once, and of those for one service.
_MAX_SENDING, _MAX_IN_LANE = 16, 4
#: After so many failures in a row, staff see that somebody is not reached.
FAILURES_TOLD = 10
_STOP_S = 3.0
_TIDY_S = 600.0


class Notifier:
    """Sends what is due, for ever.

    Args:
        pager: follows the pages.
        services: the configured targets.
        phone: makes a recipient of a subscription; None without Web Push.
        wake: set by the bus when something came.
        report: called at every turn with the number of turns and a line for `systemctl status`.
        unix, monotonic: clocks, in seconds.
    """

    def __init__(
        self,
        pager: Pager,
        deliveries: Queue,
        *,
        services: list[Recipient],
        subscriptions: Subscriptions,
        phone: Callable[[Subscription], Phone] | None,
        beat: Beat,
        wake: threading.Event,
        report: Callable[[int, str], None] = lambda _turns, _status: None,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pager, self._queue, self._services = pager, deliveries, services
        self._subscriptions, self._phone, self._beat = subscriptions, phone, beat
        self._wake, self._report, self._unix, self._monotonic, self._jitter = wake, report, unix, monotonic, jitter
        self._problem_unix_s: float | None = unix()
        self._hold_until_s = self._hold_at_most_s = monotonic() + CATCH_UP_S
        self._sending: dict[int, tuple[Delivery, Recipient]] = {}
        self._results: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
        #: Recipient → not before, on the wall clock.
        self._not_before_s: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._failing: dict[str, Failing] = {}
        self._turns = self._sent = 0
        self._tidied_s = float("-inf")
        for page in deliveries.unfinished():
            pager.recall(page)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`.

        Raises:
            StateError: the queue's file cannot be used any more.
        """
        while not stop.is_set():
            pause_s = self._queue.wait_s(self._unix())
            # Not at once: what is due may have to wait for something that does not wake us.
            self._wake.wait(0.5 if pause_s is None else min(0.5, max(0.1, pause_s)))
            self._wake.clear()
            self.turn()
        # What is on its way is better marked as sent than sent again.
        give_up_s = self._monotonic() + _STOP_S
        while self._sending and (left_s := give_up_s - self._monotonic()) > 0:
            self._wake.wait(left_s)
            self._wake.clear()
            self._collect()

    def turn(self) -> None:
        """Take in what is new, and send what is due."""
        self._turns += 1
        recipients = self._recipients()
        for news in self._pager.poll():
            if isinstance(news, Link):
                self._note_link(news)
            elif isinstance(news, Nonsense):
                _log.warning("ignored what is no message", extra=fields(problem=news.problem))
            elif isinstance(news, Page):
                self._note_page(news, recipients)
        self._collect()
        now_s = self._unix()
        for late in self._queue.expire(now_s):
            _log.error("expired", extra=fields(alert=late.page.id, recipient=late.recipient, attempts=late.attempts))
        if self._monotonic() >= self._hold_until_s:
            self._launch(recipients, now_s)
        if self._monotonic() - self._tidied_s > _TIDY_S:
            self._tidied_s = self._monotonic()
            self._queue.forget(now_s)
        self._tell(recipients)

    def _recipients(self) -> dict[str, Recipient]:
        found = {one.key: one for one in self._services}
        if self._phone is not None:
            for subscription in self._subscriptions.all():
                found[subscription.key] = self._phone(subscription)
        return found

    def _note_link(self, link: Link) -> None:
        if link.problem:
            self._problem_unix_s = self._problem_unix_s or self._unix()
            _log.warning("no broker", extra=fields(problem=link.problem))
            return
        self._problem_unix_s = None
        self._hold_at_most_s = self._monotonic() + CATCH_UP_S
        self._hold_until_s = self._monotonic() + QUIET_S
        _log.info(CONNECTED_ANEW if link.forgotten else "connected to the broker")

    def _note_page(self, page: Page, recipients: dict[str, Recipient]) -> None:
        now_s = self._unix()
        catching_up = self._monotonic() < self._hold_until_s
        if catching_up:
            self._hold_until_s = min(self._hold_at_most_s, self._monotonic() + QUIET_S)
        if page.step not in _PAGING:
            dropped, told = self._queue.settle(page.id, sending=self._sending)
            ends = [(one.recipient, one.expires_s) for one in told if _hears(recipients.get(one.recipient))]
            added = self._queue.add(page, ends, kind="over", now_s=now_s)
            _log.info("answered or over", extra=fields(alert=page.id, step=page.step, dropped=dropped, replaced=added))
            return
        # What comes as it happens counts from now, whatever the kiosk's clock says.
        begun_s = min(now_s, _began_s(page, now_s)) if catching_up else now_s
        wanted = [(one.key, begun_s + one.expiry_s) for one in recipients.values() if one.wants(page)]
        fresh = [(key, expires_s) for key, expires_s in wanted if expires_s > now_s]
        added = self._queue.add(page, fresh, kind="page", now_s=now_s)
        _log.info("page", extra=fields(
            alert=page.id, revision=page.revision, step=page.step, queued=added, too_old=len(wanted) - len(fresh),
        ))  # fmt: skip

    def _launch(self, recipients: dict[str, Recipient], now_s: float) -> None:
        busy = {delivery.recipient for delivery, _ in self._sending.values()}
        lanes = Counter(recipient.lane for _, recipient in self._sending.values())
        for delivery in self._queue.due(now_s):
            if len(self._sending) >= _MAX_SENDING:
                return
            recipient = recipients.get(delivery.recipient)
            page = self._pager.open.get(delivery.page.id)
            answered = page is None or page.step not in _PAGING
            if recipient is None or (delivery.kind == "page" and answered):
                self._queue.drop(delivery.seq)
                continue
            doubtful = delivery.kind == "page" and self._pager.doubts(delivery.page.id)
            wait = self._not_before_s.get(delivery.recipient, 0.0) > now_s
            if doubtful or wait or delivery.recipient in busy or lanes[recipient.lane] >= _MAX_IN_LANE:
                continue
            busy.add(delivery.recipient)
            lanes[recipient.lane] += 1
            self._sending[delivery.seq] = delivery, recipient
            threading.Thread(target=self._attempt, args=(delivery, recipient), daemon=True, name="send").start()

    def _attempt(self, delivery: Delivery, recipient: Recipient) -> None:
        try:
            outcome = recipient.send(delivery)
        except Exception as error:  # whatever a library raises must not leave the delivery on its way for ever
            outcome = Outcome("later", f"failed ({type(error).__name__})")
        self._results.put((delivery.seq, outcome))
        self._wake.set()

    def _collect(self) -> None:
        while not self._results.empty():
            seq, outcome = self._results.get()
            delivery, recipient = self._sending.pop(seq)
            self._note_outcome(delivery, recipient, outcome)

    def _note_outcome(self, delivery: Delivery, recipient: Recipient, outcome: Outcome) -> None:
        now_s = self._unix()
        told = fields(
            alert=delivery.page.id, revision=delivery.page.revision, kind=delivery.kind, recipient=delivery.recipient,
            service=recipient.lane, attempts=delivery.attempts + 1, problem=outcome.problem,
        )  # fmt: skip
        if outcome.kind == "sent":
            self._queue.sent(delivery.seq)
            self._sent += 1
            self._failures.pop(recipient.key, None)
            self._failing.pop(recipient.key, None)
            _log.info("sent", extra=told)
            return
        if outcome.kind == "gone":
            if isinstance(recipient, Phone):
                self._subscriptions.remove(recipient.subscription.endpoint)
            self._queue.drop(delivery.seq)
            _log.info("subscription removed", extra=told)
            return
        self._failures[recipient.key] += 1
        known = self._failing.get(recipient.key)
        if known is not None or outcome.telling or self._failures[recipient.key] >= FAILURES_TOLD:
            since_s = now_s if known is None else known.since_unix_s
            self._failing[recipient.key] = Failing(recipient.name, since_s, outcome.problem)
        _log.warning("not sent", extra=told)
        if outcome.kind == "never":
            self._queue.drop(delivery.seq)
            return
        if outcome.wait_s:
            self._not_before_s[recipient.key] = now_s + outcome.wait_s
        pause_s = min(_RETRY_MAX_S, _RETRY_FIRST_S * 2.0 ** min(delivery.attempts, 30)) * (0.5 + self._jitter() / 2)
        self._queue.later(delivery.seq, now_s + max(pause_s, outcome.wait_s))

    def _tell(self, recipients: dict[str, Recipient]) -> None:
        for key in self._failing.keys() - recipients.keys():
            del self._failing[key]
        self._beat.tell(Condition(self._problem_unix_s, tuple(self._failing.values())))
        self._report(self._turns, f"{len(recipients)} to tell, {self._queue.waiting()} waiting, {self._sent} sent")


def _hears(recipient: Recipient | None) -> bool:
    return recipient is not None and recipient.hears_endings


def _began_s(page: Page, otherwise_s: float) -> float:
    """Return when a step was, as far as its kiosk says, seconds since 1970; that of the first one where it does not."""
    known = (page.stepped_s, parse_time(page.raised_at), otherwise_s)
    return next(time_s for time_s in known if time_s is not None)
