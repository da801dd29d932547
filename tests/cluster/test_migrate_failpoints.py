"""At each named place of migration the daemon of the source, or of the destination, is killed, with a guest that counts: exactly one
copy goes on, with all its data, and nothing is left of the other. The names come from the sources.

VQ_FAILPOINTS_BOTH=1 lets the operation fail there, too (tests/cluster/long does)."""
import os
import pathlib

import pytest

import failpoints
import leftovers
from guest import Guest, Watch
from host import SOURCE, Hosts, wait_for
from migration import RUNNING, Move, check_left, following, home

PLAN = "/run/virtquorum-failpoints"
BOUND_S = 40
SIDES = {"out": ("source",), "in": ("target",)}
EVERY = [(name, side, action) for name in failpoints.names(SOURCE, failpoints.of_migration)
         for side in SIDES.get(name.split(".")[2], ("source", "target"))
         for action in (("crash", "error") if os.environ.get("VQ_FAILPOINTS_BOTH") else ("crash",))]


@pytest.fixture(scope="module")
def hosts():
    with Hosts("migrate-points", 3, environment={"VQ_FAILPOINTS": f"@{PLAN}"}) as made:
        yield made


@pytest.fixture(scope="module")
def guest(hosts):
    with Watch(hosts) as watch:
        made = Guest(hosts, watch, "web1", 1)
        made.start("node1")
        yield made
        made.destroy("node1")
        for node in hosts.nodes:
            wait_for(lambda: not leftovers.at_rest(hosts, node), 5, f"nothing left: {leftovers.at_rest(hosts, node)}")


def is_running(hosts, node):
    try:
        return pathlib.Path(f"/proc/{hosts.daemon_pid(node)}/comm").read_text().strip() == "virtquorumd"
    except OSError:
        return False


@pytest.mark.parametrize("name, side, action", EVERY)
def test_one_copy_goes_on_after(hosts, guest, name, side, action):
    guest.revive("node1")
    source = home(hosts, guest, BOUND_S)
    target = following(hosts, source)
    victim = source if side == "source" else target
    plan = pathlib.Path(f"/proc/{hosts.pid(victim)}/root{PLAN}")
    plan.write_text(f"{name}={action}\n")
    code, text = Move(guest, source, target).end(2 * BOUND_S)
    plan.unlink()
    fired = not is_running(hosts, victim)
    if fired:
        hosts.restart(victim)
    owner = home(hosts, guest, BOUND_S)
    assert guest.state(owner)[0] == RUNNING, f"{guest.state(owner)}, {text}"
    if code == 0:
        assert owner == target, "virsh was told of a success that was none"
    guest.wait_counting(seconds=BOUND_S)
    assert guest.faults() == []
    check_left(hosts, owner)
