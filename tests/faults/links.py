"""The pager's own link is down while a kiosk pages, and the kiosk is dead by the time it is back."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from stage import Fault, Scene, Staff
from witness import Witness

sys.path.append(str(Path(__file__).parents[1] / "shift"))

from link import Link


def put_a_link_between(scene: Scene) -> str:
    scene.props["link"] = Link(scene.broker.port)
    scene.staff.close()
    scene.staff = Staff(scene.props["link"].port)
    scene.props["witness"] = Witness(scene.broker.port)
    return ""


def page_of_a_dead_kiosk(*, forgets: bool) -> Fault:
    """A page reaches the broker while the pager is cut off; its kiosk has died when the pager comes back.

    Args:
        forgets: the broker is restarted meanwhile and has kept nothing; the kiosk says what is open, and dies then.
    """

    def do(scene: Scene, number: int) -> None:
        link, witness, shown = scene.props["link"], scene.props["witness"], scene.staff.shown
        scene.until_shown()
        # Packets that were swallowed come late, or never; with a broker that is gone there are none.
        link.mode = "cut" if forgets else ("cut", "silent", "lost")[number % 3]

        def unseen() -> str | None:
            for alert_id in witness.active or ():
                if alert_id not in shown and alert_id in witness.steps:
                    return str(alert_id)
                witness.resolve(alert_id)
            return None

        if not scene.until(lambda: unseen() is not None):
            scene.wrong.append("no page while the pager was cut off")
        alert_id = unseen()
        forgotten = scene.staff.forgotten
        if forgets:
            scene.broker.kill()
            witness.forget()
            scene.broker.start()
            scene.until(lambda: witness.active is not None and alert_id in witness.active)
        scene.kiosk.end(signal.SIGKILL)
        link.mode = "up"
        if alert_id is not None and not scene.until(lambda: alert_id in shown):
            scene.missed.add(alert_id)
        if not scene.until(lambda: scene.staff.forgotten - forgotten == forgets):
            scene.wrong.append(f"session forgotten {scene.staff.forgotten - forgotten} times")
        scene.kiosk.start()
        scene.until_watching()

    return Fault(20, do, put_a_link_between, lambda scene: scene.props["witness"].close())


LINK_FAULTS: dict[str, Fault] = {
    "pager cut off, kiosk pages and dies": page_of_a_dead_kiosk(forgets=False),
    "pager cut off, broker forgets all, kiosk dies": page_of_a_dead_kiosk(forgets=True),
}
