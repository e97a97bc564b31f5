"""The commands of `cmd/<verb>`: what each does, and the answer to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from edge_agent.alerting.alert import Action
from edge_agent.config import SEGMENT
from edge_agent.delivery.messages import ACTIONS, Composer, Message, MessageError, is_name, parse_object, parse_snooze

#: What `answer` can say of all open pages; `snooze` is a command of its own.
ANSWERS = tuple(action for action in ACTIONS if action != "snooze")
_EXERCISE_ONLY = "this is an exercise, not a device"

#: Takes a command's body; returns whether it was done, and what to say of it.
_Handler: TypeAlias = Callable[[dict[str, Any]], tuple[bool, str]]


class Upkeep(Protocol):
    """What the agent does when asked; each returns what is in the way, or nothing when all is well."""

    def self_test(self) -> str:
        """Try model, camera and disk."""

    def reload(self) -> str:
        """Begin anew with what the configuration file says now."""

    def activate(self, model: str) -> str:
        """Begin anew with a staged model."""

    def rollback(self, model: str) -> str:
        """Begin anew with the model before this one, which is in use."""


class Answer(Protocol):
    """Answers all open pages at once."""

    def __call__(self, action: Action, *, by: str, asked_unix_s: float) -> tuple[bool, str]:
        """Return whether it was done, and what to say of it.

        Args:
            asked_unix_s: when somebody said so.
        """


class Commands:
    """The table of verbs.

    Args:
        rebirth: publishes state, info and open alerts again.
        snooze: raises no new alert for so many seconds, 0 for at once, because somebody said so.
        answer: answers all open pages.
        upkeep: does what the agent itself must do; None where there is nothing to keep up.
    """

    def __init__(
        self,
        composer: Composer,
        *,
        rebirth: Callable[[], None],
        snooze: Callable[[float, str], None],
        answer: Answer,
        upkeep: Upkeep | None,
    ) -> None:
        self._composer, self._rebirth_now, self._snooze_for, self._upkeep = composer, rebirth, snooze, upkeep
        self._answer_all = answer
        self._handlers: dict[str, _Handler] = {
            "ping": self._ping,
            "rebirth": self._rebirth,
            "snooze": self._snooze,
            "answer": self._answer,
            "selftest": self._self_test,
            "reload": self._reload,
            "activate": self._activate,
            "rollback": self._rollback,
        }

    def obey(self, verb: str, payload: bytes) -> Message:
        """Do what is asked; return the answer to publish.

        Raises:
            MessageError: the payload is no command, or its values cannot be; nothing was done.
        """
        body = parse_object(payload, schema="command")
        request_id = str(body.get("request_id", ""))
        if re.fullmatch("[A-Za-z0-9_-]{1,64}", request_id) is None:
            raise MessageError("request_id must be 1 to 64 letters, digits, - or _")
        handler = self._handlers.get(verb)
        if handler is None:
            done, detail = False, f"unknown command; there are {', '.join(self._handlers)}"
        else:
            done, detail = handler(body)
        return self._composer.response(request_id, ok=done, detail=detail)

    def _ping(self, _: dict[str, Any]) -> tuple[bool, str]:
        return True, "pong"

    def _rebirth(self, _: dict[str, Any]) -> tuple[bool, str]:
        self._rebirth_now()
        return True, "state, info and open alerts published"

    def _snooze(self, body: dict[str, Any]) -> tuple[bool, str]:
        snooze_s = parse_snooze(body, may_lift=True)
        self._snooze_for(snooze_s, _by(body) if body.get("by", "") != "" else "")
        return True, f"no new alert for {snooze_s:g} s" if snooze_s else "nothing is snoozed any more"

    def _answer(self, body: dict[str, Any]) -> tuple[bool, str]:
        action = body.get("action")
        if action not in ANSWERS:
            raise MessageError(f"action {str(action)[:40]!r} is not one of {', '.join(ANSWERS)}")
        return self._answer_all(action, by=_by(body), asked_unix_s=_unix_s(body))

    def _self_test(self, _: dict[str, Any]) -> tuple[bool, str]:
        problem = self._upkeep.self_test() if self._upkeep else _EXERCISE_ONLY
        return not problem, problem or "model, camera and disk work"

    def _reload(self, _: dict[str, Any]) -> tuple[bool, str]:
        problem = self._upkeep.reload() if self._upkeep else _EXERCISE_ONLY
        return not problem, problem or "begins anew"

    def _activate(self, body: dict[str, Any]) -> tuple[bool, str]:
        model = _model(body)
        problem = self._upkeep.activate(model) if self._upkeep else _EXERCISE_ONLY
        return not problem, problem or f"begins anew with {model}"

    def _rollback(self, body: dict[str, Any]) -> tuple[bool, str]:
        model = _model(body)
        problem = self._upkeep.rollback(model) if self._upkeep else _EXERCISE_ONLY
        return not problem, problem or f"begins anew with the model before {model}"


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or re.fullmatch(SEGMENT, model) is None:
        raise MessageError("'model' must be the id of a staged model")
    return model


def _by(body: dict[str, Any]) -> str:
    by = body.get("by")
    if not is_name(by):
        raise MessageError("'by' must be a name of 1 to 64 printable characters")
    return by


def _unix_s(body: dict[str, Any]) -> float:
    """Return when the command was given, seconds since 1970."""
    try:
        said = datetime.fromisoformat(body["time"].replace("Z", "+00:00"))
        if said.tzinfo is None:
            raise ValueError
        return said.timestamp()
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError):
        raise MessageError("'time' must be an RFC 3339 time with its zone, such as 2026-01-31T08:00:00Z") from None
