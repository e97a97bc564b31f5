"""Gives spooled messages to the bus and keeps each until the broker has it, it expired, or it had to make room.

A row is handed over only while connected, and once for each connection: what the broker had not answered when the
connection was lost is handed over again, with the same ids, so that receivers can tell. While the disk fails,
messages wait in memory instead: an alert that a power cut could lose is better than none.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.delivery.bus import FAILURE, NO_SUBSCRIBERS, Bus, PublishResult
from edge_agent.delivery.messages import Message, Priority
from edge_agent.delivery.outbox import Outbox, Row
from edge_agent.errors import StateError

log = logging.getLogger("edge_agent")

#: Messages given to the broker and not yet answered.
MAX_IN_FLIGHT = 10
#: Rows read at once while many have expired and are removed.
_EXPIRED_AT_ONCE = 500
#: How long a message that the broker refused waits for the next try.
REFUSED_RETRY_S = 10.0
#: How often a disk that failed is tried again.
PROBE_S = 10.0
#: How long messages of an earlier boot wait until the clock is set.
CLOCK_WAIT_S = 60.0
_BOOT = "boot"
#: Messages kept in memory while the disk takes none.
MAX_IN_MEMORY = 1000


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message and when it is no longer worth sending, on the monotonic clock; None for never."""

    message: Message
    deadline_s: float | None


class OutboxRelay:
    """The one owner of the outbox.

    Args:
        unix: wall clock, for messages of earlier runs only: a clock that is set must not expire fresh ones.
        monotonic: for everything else.
        boot: id of this boot.
        clock_known: whether `unix` can be believed. What an earlier boot left waits for that; if it takes longer than
            CLOCK_WAIT_S, it counts as too late.
    """

    def __init__(
        self,
        outbox: Outbox,
        bus: Bus,
        *,
        unix: Callable[[], float],
        monotonic: Callable[[], float],
        boot: str = "",
        clock_known: Callable[[], bool] = lambda: True,
    ) -> None:
        self._outbox, self._bus, self._unix, self._monotonic = outbox, bus, unix, monotonic
        self._clock_known = clock_known
        #: Number of a message of this run → when it expires; None for never.
        self._deadlines_s: dict[int, float | None] = {}
        #: Messages the disk did not take, under negative numbers.
        self._memory: dict[int, _Waiting] = {}
        self._memory_numbers = itertools.count(-1, -1)
        #: Token of the bus → number of the message, and the message.
        self._in_flight: dict[int, tuple[int, Message]] = {}
        self._done: set[int] = set()
        self._refused_until_s: dict[int, float] = {}
        self._probe_s = 0.0
        self._expired: list[Message] = []
        #: Notes the disk did not take: name → text.
        self._unwritten: dict[str, str] = {}
        #: What is wrong with the disk, one line; empty while it works.
        self.problem = outbox.problem
        if self.problem:
            log.error(f"{self.problem}; alerts are kept in memory until then")
        #: Messages up to this number are from an earlier boot and their age is not known yet; 0 for none.
        self._undated = 0
        self._dated_by_s = monotonic() + CLOCK_WAIT_S
        self._boot = boot
        if not self.problem:
            noted, _, undated = (self.note(_BOOT) or "").rpartition(" ")
            # An earlier run of this boot may have ended before the clock was set.
            self._undated = int(undated) if noted == boot and undated.isdecimal() else outbox.last()
        self._write_boot()

    def _write_boot(self) -> None:
        self.write_note(_BOOT, f"{self._boot} {self._undated}")

    def add(self, *messages: Message, note: tuple[str, str] | None = None) -> None:
        """Take messages; when this returns all are on the disk, or `problem` says why they are in memory.

        Args:
            messages: not worth sending any more after their expiry.
            note: name and text of what the next run must know, committed with the messages.
        """
        try:
            self._write(*messages, note=note)
        except StateError as error:
            for message in messages:
                self._memory[next(self._memory_numbers)] = _Waiting(message, self._deadline_of(message))
            self._unwritten.update([note] if note else [])
            self._shrink_memory()
            self._failed(error)
            return
        if note:
            self._unwritten.pop(note[0], None)
        self._works()

    def _shrink_memory(self) -> None:
        while len(self._memory) > MAX_IN_MEMORY:
            # The oldest that is no alert; an alert only where there is nothing else.
            others = (n for n, waiting in self._memory.items() if waiting.message.priority < Priority.ALERT)
            lost = self._memory.pop(next(others, next(iter(self._memory))))
            log.error("memory full, message dropped", extra={"fields": {"topic": lost.message.topic}})

    def _deadline_of(self, message: Message) -> float | None:
        return None if message.expiry_s is None else self._monotonic() + message.expiry_s

    def _write(self, *messages: Message, note: tuple[str, str] | None = None) -> list[int]:
        """Commit all or none; return their numbers."""
        seqs, evicted = self._outbox.add(*messages, note=note)
        for seq, message in zip(seqs, messages, strict=True):
            self._deadlines_s[seq] = self._deadline_of(message)
        for row in evicted:
            self._forget(row.seq)
            log.error("outbox full, message dropped", extra={"fields": {"topic": row.message.topic}})
        return seqs

    def pump(self) -> list[Message]:
        """Hand over what waits; return the messages that expired instead."""
        try:
            if self.problem and self._monotonic() >= self._probe_s:
                self._probe_s = self._monotonic() + PROBE_S
                self._outbox.probe()
                self._works()
        except StateError as error:
            self._failed(error)
        try:
            if self._bus.connected:
                self._hand_over()
            self._remove_done()
        except StateError as error:
            self._failed(error)
        expired, self._expired = self._expired, []
        return expired

    def _hand_over(self) -> None:
        before = -1
        # As long as rows turn out to be expired, read on: a fresh page must not wait behind expired ones.
        while len(self._expired) > before:
            before = len(self._expired)
            self._hand_over_some(_EXPIRED_AT_ONCE if before else MAX_IN_FLIGHT)
            self._remove_done()

    def _hand_over_some(self, count: int) -> None:
        now_s = self._monotonic()
        given = self._done.union(seq for seq, _ in self._in_flight.values())
        for seq, waiting in self._candidates(now_s, limit=count + len(given) + len(self._refused_until_s)):
            if seq in given or self._refused_until_s.get(seq, now_s) > now_s:
                continue
            if waiting.deadline_s is not None and waiting.deadline_s <= now_s:
                self._expired.append(waiting.message)
                self._finish(seq)
                continue
            if len(self._in_flight) >= MAX_IN_FLIGHT:
                break
            left_s = None if waiting.deadline_s is None else waiting.deadline_s - now_s
            token = self._bus.publish(replace(waiting.message, expiry_s=left_s))
            if token is None:
                break
            self._in_flight[token] = (seq, waiting.message)

    def _remove_done(self) -> None:
        if self._done:
            self._outbox.remove(sorted(self._done))
            self._done.clear()

    def _candidates(self, now_s: float, *, limit: int) -> Iterator[tuple[int, _Waiting]]:
        yield from list(self._memory.items())
        if self._undated and self._clock_known():
            self._undated = 0
            self._write_boot()
        after = self._undated if now_s < self._dated_by_s else 0
        for row in self._outbox.pending(limit=limit, after=after):
            yield row.seq, _Waiting(row.message, self._deadline_s(row, now_s))

    def _deadline_s(self, row: Row, now_s: float) -> float | None:
        if row.seq in self._deadlines_s:
            return self._deadlines_s[row.seq]
        if row.expires_s is None:
            return None
        return now_s if row.seq <= self._undated else now_s + row.expires_s - self._unix()

    def note_result(self, event: PublishResult) -> Message | None:
        """Note the broker's answer to a message; return the message if nobody is subscribed to its topic."""
        seq, message = self._in_flight.pop(event.token, (None, None))
        if event.reason >= FAILURE:
            log.error(event.problem)
            if seq is not None:
                self._refused_until_s[seq] = self._monotonic() + REFUSED_RETRY_S
        elif seq is not None:
            self._finish(seq)
            if event.reason == NO_SUBSCRIBERS:
                return message
        return None

    def newly_set_aside(self) -> Path | None:
        """Return where a file that could not be read was moved to, once; None where all is well."""
        path, self._outbox.set_aside = self._outbox.set_aside, None
        return path

    def newly_damaged(self) -> int:
        """Return how many waiting messages were found damaged and set aside since the last call."""
        damaged, self._outbox.damaged = self._outbox.damaged, 0
        return damaged

    def note(self, name: str) -> str | None:
        """Return what an earlier run left; None where there is nothing or the disk fails."""
        try:
            return self._outbox.note(name)
        except StateError as error:
            self._failed(error)
            return None

    def write_note(self, name: str, body: str) -> None:
        """Leave something for the next run, if the disk takes it."""
        try:
            self._outbox.write_note(name, body)
            self._unwritten.pop(name, None)
        except StateError as error:
            self._unwritten[name] = body
            self._failed(error)

    def connection_lost(self) -> None:
        """Take back what the broker has not answered; it is handed over again."""
        self._in_flight.clear()
        if self._memory and not self.problem:
            self._settle_memory()

    def waiting(self) -> tuple[int, float]:
        """Return how many messages wait and the age of the oldest in seconds, also while the disk fails."""
        try:
            depth, oldest_s = self._outbox.depth()
        except StateError as error:
            self._failed(error)
            depth, oldest_s = len(self._done), 0.0
        return depth - len(self._done) + len(self._memory), oldest_s

    def close(self) -> int:
        """Forget what was delivered and close the disk; return how many messages wait for the next run."""
        self._in_flight.clear()
        try:
            if self._memory or self._unwritten:
                self._outbox.probe()
                self._write_down()
            self._remove_done()
        except StateError as error:
            log.error(str(error))
        for lost in self._memory.values():
            log.error("message lost", extra={"fields": {"topic": lost.message.topic}})
        self._memory.clear()
        waiting, _ = self.waiting()
        self._outbox.close()
        return waiting

    def _finish(self, seq: int) -> None:
        self._forget(seq)
        if seq < 0:
            self._memory.pop(seq, None)
        else:
            self._done.add(seq)

    def _forget(self, seq: int) -> None:
        self._deadlines_s.pop(seq, None)
        self._refused_until_s.pop(seq, None)

    def _failed(self, error: StateError) -> None:
        if not self.problem:
            log.error(f"{error}; alerts are kept in memory until then")
            self._probe_s = self._monotonic() + PROBE_S
        self.problem = str(error)

    def _works(self) -> None:
        if not self.problem:
            return
        log.info("the outbox can be written again")
        self.problem = ""
        self._settle_memory()

    def _settle_memory(self) -> None:
        try:
            self._write_down()
        except StateError as error:
            self._failed(error)

    def _write_down(self) -> None:
        """Move messages from memory to the disk, but for those in flight, whose answers name their number in memory."""
        for name, body in list(self._unwritten.items()):
            self._outbox.write_note(name, body)
            del self._unwritten[name]
        in_flight = {seq for seq, _ in self._in_flight.values()}
        for number, waiting in list(self._memory.items()):
            if number in in_flight:
                continue
            left_s = None if waiting.deadline_s is None else waiting.deadline_s - self._monotonic()
            [seq] = self._write(replace(waiting.message, expiry_s=left_s))
            del self._memory[number]
            if number in self._refused_until_s:
                self._refused_until_s[seq] = self._refused_until_s.pop(number)
