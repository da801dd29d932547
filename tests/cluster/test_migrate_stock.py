"""How people move in, and out: between a host with a stock libvirtd and the nodes of a cluster, both ways, while the guest runs."""
import re

import pytest

import leftovers
from guest import Guest, Line, Watch
from host import Hosts, wait_for
from migration import RUNNING, SHUTOFF, SLOW, Move, tls

CLUSTER, STOCK = ("node1", "node2", "node3"), "node4"
KEEP = ("--persistent", "--undefinesource")


@pytest.fixture(scope="module")
def hosts():
    with Hosts("migrate-stock", 4, environment={"VQ_DEMO_STOCK": STOCK}) as made:
        yield made


@pytest.fixture(scope="module")
def watch(hosts):
    with Watch(hosts) as made:
        yield made


@pytest.fixture(scope="module")
def web(hosts, watch):
    guest = Guest(hosts, watch, "web1", 1)
    guest.start(STOCK)
    return guest


@pytest.fixture
def guest(hosts, web):
    """At the stock host before each test and after it."""
    check_at_stock(hosts, web)
    yield web
    check_at_stock(hosts, web)
    web.wait_counting(seconds=20)
    assert web.faults() == []


def check_at_stock(hosts, guest):
    assert guest.state(STOCK)[0] == RUNNING
    assert len(leftovers.qemus_of(hosts, STOCK)) == 1
    for node in CLUSTER:
        assert hosts.virsh(node, "list", "--all", "--name") == ""
        wait_for(lambda: not leftovers.at_rest(hosts, node), 5, f"nothing left: {leftovers.at_rest(hosts, node)}")


def check_in_cluster(hosts, guest, owner, persistent=True):
    for node in CLUSTER:
        assert guest.state(node)[0] == RUNNING
        assert hosts.virsh(owner, "list", "--name", uri="qemu:///system?node=.") == guest.name
        assert re.search(rf"Persistent:\s+{'yes' if persistent else 'no'}", hosts.virsh(node, "dominfo", guest.name))
        assert len(leftovers.qemus_of(hosts, node)) == (1 if node == owner else 0)
    assert guest.state(STOCK) is None and not leftovers.qemus_of(hosts, STOCK)


def move(guest, source, target, *options):
    Move(guest, source, target, *options, via=source).succeeds()


@pytest.mark.parametrize("way", [(), ("--p2p",), ("--p2p", "--tunnelled")], ids=["direct", "p2p", "tunnelled"])
def test_in_around_and_out(hosts, watch, guest, way):
    line = Line(watch, guest)
    move(guest, STOCK, "node2", *KEEP, *way)
    check_in_cluster(hosts, guest, "node2")
    line.wait_answers()
    move(guest, "node2", "node3")
    check_in_cluster(hosts, guest, "node3")
    line.wait_answers()
    move(guest, "node3", STOCK, *KEEP, *way)
    check_at_stock(hosts, guest)
    line.wait_answers()
    line.close()
    assert line.faults() == []
    assert re.search(r"Persistent:\s+yes", hosts.virsh(STOCK, "dominfo", guest.name))


def test_a_transient_visit(hosts, guest):
    move(guest, STOCK, "node1", "--undefinesource")
    check_in_cluster(hosts, guest, "node1", persistent=False)
    move(guest, "node1", STOCK, "--persistent")


def test_a_guest_that_was_only_lent_comes_home(hosts, guest):
    """Its definition stayed in the cluster, at the node that it left; the way back may lead to another one."""
    move(guest, STOCK, "node1", *KEEP)
    move(guest, "node1", STOCK, "--persistent")
    assert guest.state("node3")[0] == SHUTOFF
    move(guest, STOCK, "node2", "--undefinesource")
    check_in_cluster(hosts, guest, "node2")
    move(guest, "node2", STOCK, *KEEP)


def test_a_cancelled_way_in_leaves_it_where_it_was(hosts, guest):
    moving = Move(guest, STOCK, "node1", *KEEP, *SLOW, via=STOCK)
    wait_for(lambda: "Unbounded" in hosts.virsh(STOCK, "domjobinfo", guest.name), 20, "the migration's begin")
    hosts.virsh(STOCK, "domjobabort", guest.name)
    moving.fails("abort", seconds=20)


def test_a_client_that_dies_on_the_way_in_leaves_it_where_it_was(hosts, guest):
    moving = Move(guest, STOCK, "node1", *KEEP, *SLOW, via=STOCK)
    wait_for(lambda: "Unbounded" in hosts.virsh(STOCK, "domjobinfo", guest.name), 20, "the migration's begin")
    moving.kill()
    wait_for(lambda: hosts.virsh("node2", "list", "--all", "--name") == "", 30, "the waiting guest's end")
    wait_for(lambda: "None" in hosts.virsh(STOCK, "domjobinfo", guest.name), 60, "the migration's end")


def test_a_cancelled_way_out_leaves_it_where_it_was(hosts, guest):
    move(guest, STOCK, "node1", *KEEP)
    moving = Move(guest, "node1", STOCK, *KEEP, *SLOW, via="node1")
    wait_for(lambda: "Unbounded" in hosts.virsh("node2", "domjobinfo", guest.name), 20, "the migration's begin")
    hosts.virsh("node3", "domjobabort", guest.name)
    moving.fails("abort", seconds=20)
    check_in_cluster(hosts, guest, "node1")
    guest.wait_counting(seconds=10)
    move(guest, "node1", STOCK, *KEEP)


def test_a_client_that_dies_on_the_way_out_leaves_it_where_it_was(hosts, guest):
    move(guest, STOCK, "node1", *KEEP)
    moving = Move(guest, "node1", STOCK, *KEEP, *SLOW, via="node1")
    wait_for(lambda: "Unbounded" in hosts.virsh("node2", "domjobinfo", guest.name), 20, "the migration's begin")
    moving.kill()
    wait_for(lambda: guest.state(STOCK) is None, 60, "the waiting guest's end")
    wait_for(lambda: "None" in hosts.virsh("node2", "domjobinfo", guest.name), 60, "the migration's end")
    check_in_cluster(hosts, guest, "node1")
    guest.wait_counting(seconds=30)
    move(guest, "node1", STOCK, *KEEP)


def test_at_last_nothing_is_left(hosts, web):
    hosts.virsh(STOCK, "destroy", web.name)
    hosts.virsh(STOCK, "undefine", web.name)
    wait_for(lambda: not leftovers.qemus_of(hosts, STOCK), 5, "the end of QEMU")
    for node in CLUSTER:
        assert leftovers.at_rest(hosts, node) == []
