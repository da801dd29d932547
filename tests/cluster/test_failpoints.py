"""At each named place in the code the daemon is killed, or told that the operation failed: it must come back, agree with the
others, and leave nothing behind. The names come from the sources, so a new place is tested from its first day.

VQ_FAILPOINTS_BOTH=1 has each place killed and failed (tests/cluster/long does); otherwise the two take turns from place to place."""
import os
import pathlib

import libvirt
import pytest

import failpoints
import leftovers
from client import definitions
from host import SOURCE, Hosts, guest_xml, small_xml, wait_for

PLAN = "/run/virtquorum-failpoints"     # each host has a /run of its own, so only node1's daemon sees its plan


@pytest.fixture(scope="module")
def hosts():
    with Hosts("failpoints", 3, environment={"VQ_FAILPOINTS": f"@{PLAN}"}) as made:
        yield made


def plan_file(hosts):
    return pathlib.Path(f"/proc/{hosts.pid('node1')}/root{PLAN}")


def is_running(hosts):
    try:
        return pathlib.Path(f"/proc/{hosts.daemon_pid('node1')}/comm").read_text().strip() == "virtquorumd"
    except OSError:
        return False


def trying(action):
    """Whatever an injected fault makes of a call is right, so long as it is an answer."""
    try:
        return action()
    except libvirt.libvirtError:
        return None


def work(hosts):
    """A life of a guest on node1, and changes that come from elsewhere."""
    near = trying(lambda: hosts.libvirt("node1"))
    if near is not None:
        domain = trying(lambda: near.defineXML(guest_xml("victim", memory="96")))
        for verb in ("create", "suspend", "resume", "destroy"):
            if domain is not None:
                trying(getattr(domain, verb))
        trying(lambda: near.createXML(guest_xml("passing", memory="96")))
        trying(near.close)
    far = trying(lambda: hosts.libvirt("node2"))
    if far is not None:
        trying(lambda: far.defineXML(small_xml("elsewhere")))
        trying(far.close)


def clear(hosts):
    connection = hosts.libvirt("node1")
    for domain in connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        if domain.name() != "passing":
            trying(domain.undefine)
    wait_for(lambda: not connection.listAllDomains(), 10, "an empty cluster")
    connection.close()


def agree(hosts):
    def shown(node):
        connection = hosts.libvirt(node)
        try:
            return definitions(connection)
        finally:
            connection.close()
    views = [trying(lambda n=node: shown(n)) for node in hosts.nodes]
    return views[0] is not None and all(view == views[0] for view in views)


ACTIONS = ("crash", "error")
EVERY = [(name, action) for i, name in enumerate(failpoints.names(SOURCE, lambda name: not failpoints.of_migration(name) and not failpoints.of_saving(name))) for j, action in enumerate(ACTIONS)
         if os.environ.get("VQ_FAILPOINTS_BOTH") or i % 2 == j]


@pytest.mark.parametrize("name, action", EVERY)
def test_the_node_recovers_from(hosts, name, action):
    plan_file(hosts).write_text(f"{name}={action}\n")
    work(hosts)
    if is_running(hosts):
        # Not on the way of a guest: perhaps on the way of a start of the daemon.
        hosts.kill("node1")
        hosts.demo("restart", "node1", check=False, timeout=90)
    plan_file(hosts).unlink(missing_ok=True)
    if not is_running(hosts):
        hosts.restart("node1")
    wait_for(lambda: agree(hosts), 15, "all nodes showing the same")
    clear(hosts)
    wait_for(lambda: not leftovers.at_rest(hosts, "node1"), 5, f"nothing left of it: {leftovers.at_rest(hosts, 'node1')}")
    # And it works as if nothing had been.
    connection = hosts.libvirt("node1")
    domain = connection.createXML(guest_xml("after", memory="96"))
    domain.destroy()
    connection.close()
