"""Who begins a shift: a name from the list, a PIN where one is wanted, a proof that outlives the server."""

from __future__ import annotations

import pytest

from edge_agent.config import Shift, Staff
from edge_agent.errors import ConfigError, StateError
from edge_agent.pager.duty import Duty, find_duty, watched
from edge_agent.pager.kiosks import Kiosk
from edge_agent.pager_server.keys import shift_key
from edge_agent.pager_server.roster import SHIFT_S, RefusedError, Roster, hash_pin
from edge_agent.testing import FakeClock

KEY = b"k" * 32
KIM, LEE = Staff("Kim", hash_pin("2468")), Staff("Lee")
SHIFTS = (Shift("tills", groups=("staff",), kiosks=("shop/till-1", "shop/till-2")), Shift("lobby", groups=("manager",)))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_800_000_000)


def roster(clock, *, staff=(KIM, LEE), shifts=SHIFTS, key=KEY) -> Roster:
    return Roster(staff, shifts, key=key, unix=clock, monotonic=clock)


def test_a_shift_begins_with_the_right_pin_and_outlives_the_server(clock):
    proof = roster(clock).begin("Kim", shift="tills", pin="2468")
    person = roster(clock).find(proof)
    assert (person.name, person.shift) == ("Kim", "tills")
    assert person.duty == Duty(frozenset({"staff"}), ("shop/till-1", "shop/till-2"))
    clock.advance(SHIFT_S + 1)
    assert roster(clock).find(proof) is None


@pytest.mark.parametrize(
    ("name", "shift", "pin", "problem"),
    [
        ("Kim", "tills", "2469", "wrong PIN"),
        ("Kim", "tills", "", "wrong PIN"),
        ("Max", "tills", "2468", "no such name"),
        ("", "tills", "", "no such name"),
        ("Lee", "night", "", "no such shift"),
    ],
)
def test_others_do_not_begin_one(clock, name, shift, pin, problem):
    with pytest.raises(RefusedError, match=problem):
        roster(clock).begin(name, shift=shift, pin=pin)


def test_without_a_list_any_name_will_do(clock):
    open_to_all = roster(clock, staff=(), shifts=())
    assert open_to_all.find(open_to_all.begin("Max", shift="", pin="")).duty == Duty()
    with pytest.raises(RefusedError, match="no such name"):
        open_to_all.begin("Max\n", shift="", pin="")


def test_guessing_gets_slow_and_the_right_pin_has_to_wait_as_well(clock):
    one = roster(clock)
    waits = []
    for _ in range(12):
        with pytest.raises(RefusedError) as refused:
            one.begin("Kim", shift="tills", pin="0000")
        waits.append(refused.value.wait_s)
        clock.advance(refused.value.wait_s)
    assert waits[:5] == [0] * 5
    assert sum(waits) > 10
    with pytest.raises(RefusedError):
        one.begin("Kim", shift="tills", pin="0000")
    with pytest.raises(RefusedError, match="too many"):
        one.begin("Kim", shift="tills", pin="2468")
    assert one.begin("Lee", shift="tills", pin="")  # others do not
    clock.advance(300)
    assert one.begin("Kim", shift="tills", pin="2468")


def test_a_proof_that_was_altered_or_is_of_another_server_or_pin_is_none(clock):
    proof = roster(clock).begin("Kim", shift="tills", pin="2468")
    text, _, signature = proof.partition(".")
    for forged in ("", "x", ".", f"{text}.", f"{text}.{signature[:-1]}0", f"a{text[1:]}.{signature}", "\udcff.\udcff"):
        assert roster(clock).find(forged) is None, forged
    assert roster(clock, key=b"o" * 32).find(proof) is None
    assert roster(clock, staff=(LEE,)).find(proof) is None
    assert roster(clock, staff=(Staff("Kim", hash_pin("1357")),)).find(proof) is None
    assert roster(clock, shifts=()).find(proof) is None


def test_pins_are_made_by_a_command(edge_agent, clock):
    out, err = edge_agent("pin").communicate("97531\n")
    key, _, hashed = out.strip().partition(": ")
    assert (key, err) == ("pin_hash", "")
    assert roster(clock, staff=(Staff("Kim", hashed.strip('"')),)).begin("Kim", shift="tills", pin="97531")
    short = edge_agent("pin")
    assert short.communicate("123\n")[1] == "edge-agent: a PIN has at least 4 characters\n"
    assert short.returncode == 2


def test_the_key_is_made_once_and_is_the_users_own(tmp_path):
    key = shift_key(tmp_path / "state")
    assert shift_key(tmp_path / "state") == key
    [path] = (tmp_path / "state").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.write_bytes(b"short")
    with pytest.raises(StateError, match="is no key"):
        shift_key(tmp_path / "state")
    with pytest.raises(StateError, match=r"is pager\.state_dir writable"):
        shift_key(path / "below")


def test_a_shift_is_calm_only_while_all_of_its_kiosks_watch():
    tills = find_duty(SHIFTS, "tills")
    watching = [Kiosk(f"kiosk/v1/shop/{name}", "watching") for name in ("till-1", "lobby")]
    names = [(kiosk.name, kiosk.condition) for kiosk in tills.of(watching)]
    assert names == [("shop/till-2", "silent"), ("shop/till-1", "watching")]  # one was never heard
    assert not watched(tills.of(watching))
    watching.append(Kiosk("kiosk/v1/shop/till-2", "watching"))
    watching.append(Kiosk("kiosk/v1/shop/office", "offline"))
    assert watched(tills.of(watching))
    assert not watched(Duty().of(watching))
    with pytest.raises(ConfigError, match=r"'night' is no shift; pager\.shifts has tills, lobby"):
        find_duty(SHIFTS, "night")
