"""The commands of `cmd/<verb>`: what each does, and the answer to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from edge_agent.delivery.messages import Composer, Message, MessageError, is_name, parse_object, parse_snooze

_EXERCISE_ONLY = "this is an exercise, not a device"

#: Takes a command's body; returns whether it was done, and what to say of it.
_Handler: TypeAlias = Callable[[dict[str, Any]], tuple[bool, str]]


class Upkeep(Protocol):
    """What the agent does when asked; each returns what is in the way, or nothing when all is well."""

    def self_test(self) -> str:
        """Try model, camera and disk."""

    def reload(self) -> str:
        """Begin anew with what the configuration file says now."""


class Commands:
    """The table of verbs.

    Args:
        rebirth: publishes state, info and open alerts again.
        snooze: raises no new alert for so many seconds, 0 for at once, because somebody said so.
        upkeep: does what the agent itself must do; None where there is nothing to keep up.
    """

    def __init__(
        self,
        composer: Composer,
        *,
        rebirth: Callable[[], None],
        snooze: Callable[[float, str], None],
        upkeep: Upkeep | None,
    ) -> None:
        self._composer, self._rebirth_now, self._snooze_for, self._upkeep = composer, rebirth, snooze, upkeep
        self._handlers: dict[str, _Handler] = {
            "ping": self._ping,
            "rebirth": self._rebirth,
            "snooze": self._snooze,
            "selftest": self._self_test,
            "reload": self._reload,
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
        by = body.get("by", "")
        if by != "" and not is_name(by):
            raise MessageError("'by' must be a name of 1 to 64 printable characters")
        self._snooze_for(snooze_s, by)
        return True, f"no new alert for {snooze_s:g} s" if snooze_s else "nothing is snoozed any more"

    def _self_test(self, _: dict[str, Any]) -> tuple[bool, str]:
        problem = self._upkeep.self_test() if self._upkeep else _EXERCISE_ONLY
        return not problem, problem or "model, camera and disk work"

    def _reload(self, _: dict[str, Any]) -> tuple[bool, str]:
        problem = self._upkeep.reload() if self._upkeep else _EXERCISE_ONLY
        return not problem, problem or "begins anew"
