"""Post-copy between nodes: guests that count and dirty memory faster than it is sent, so that only the switch ends their migration."""
import pathlib
import threading
import time

import libvirt
import pytest

from guest import Guest, Line, Watch
from host import Hosts, wait_for

FLAGS = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_UNSAFE | libvirt.VIR_MIGRATE_POSTCOPY
USERFAULTFD = pathlib.Path("/proc/sys/vm/unprivileged_userfaultfd")


@pytest.fixture(scope="module")
def hosts():
    with Hosts("postcopy", 3) as made:
        yield made


@pytest.fixture(scope="module")
def watch(hosts):
    with Watch(hosts) as made:
        yield made


NUMBERS = iter(range(1, 200))


@pytest.fixture
def guest(hosts, watch):
    number = next(NUMBERS)
    made = Guest(hosts, watch, f"post{number}", number, memory=128, area=48, dirty=200)
    yield made
    made.destroy("node3")


class Move(threading.Thread):
    """A migration by a client of its own."""

    def __init__(self, hosts, guest, source, target, flags=FLAGS, bandwidth=2):
        super().__init__(daemon=True)
        self.hosts, self.guest, self.flags, self.bandwidth = hosts, guest, flags, bandwidth
        self.source, self.target, self.error = source, target, None
        self.start()

    def run(self):
        connection = self.hosts.libvirt(self.source)
        try:
            uri = f"qemu+tls://{self.target}/system"
            connection.lookupByName(self.guest.name).migrateToURI3(
                uri, {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: self.bandwidth}, self.flags | libvirt.VIR_MIGRATE_PEER2PEER)
        except libvirt.libvirtError as error:
            self.error = error
        finally:
            connection.close()

    def is_sending(self):
        """Memory is on its way, or it has failed."""
        info = self.hosts.virsh(self.source, "domjobinfo", self.guest.name, check=False)
        return not self.is_alive() or "Memory processed" in info

    def over(self, seconds=120):
        self.join(seconds)
        assert not self.is_alive(), "the migration does not end"
        skip_if_unsupported(self.error)
        return self.error


def skip_if_unsupported(error):
    """QEMU at the destination may not use userfaultfd where the kernel keeps it for the privileged."""
    text = str(error or "").lower()
    if "postcopy" in text and "not supported" in text or "userfault" in text:
        pytest.skip(f"post-copy is not possible here (vm.unprivileged_userfaultfd={USERFAULTFD.read_text().strip()}): {error}")


def start_post_copy(hosts, guest, node):
    """By another connection, through a node that neither sends nor receives it."""
    hosts.virsh(node, "migrate-postcopy", guest.name)


def expect_moved(hosts, guest, target):
    guest.wait_counting()
    wait_for(lambda: guest.state("node3") == (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED), 60,
             "it runs as a guest that has migrated")
    assert guest.owner("node3") == [target]
    assert guest.faults() == []


def test_the_switch_ends_a_migration_that_would_not(hosts, watch, guest):
    guest.start("node1")
    line = Line(watch, guest)
    move = Move(hosts, guest, "node1", "node2")
    wait_for(move.is_sending, 60, "its memory is on its way")
    if move.is_alive():
        time.sleep(1)
        start_post_copy(hosts, guest, "node3")
    assert move.over() is None
    expect_moved(hosts, guest, "node2")
    line.close()
    assert line.faults() == []


def test_without_the_switch_it_is_an_ordinary_migration(hosts, watch):
    number = next(NUMBERS)
    guest = Guest(hosts, watch, f"post{number}", number)       # it dirties next to nothing
    guest.start("node1")
    assert Move(hosts, guest, "node1", "node2", bandwidth=0).over() is None
    expect_moved(hosts, guest, "node2")
    guest.destroy("node3")


def test_virsh_switches_after_the_first_pass(hosts, guest):
    guest.start("node2")
    try:
        hosts.virsh("node2", "migrate", "--live", "--unsafe", "--postcopy", "--postcopy-after-precopy", guest.name,
                    "qemu+tls://node1/system", "--bandwidth", "20", timeout=180)
    except AssertionError as error:
        skip_if_unsupported(error)
        raise
    expect_moved(hosts, guest, "node1")


def test_a_restart_of_the_source_does_not_stop_the_pages(hosts, guest):
    guest.start("node1")
    hosts.virsh("node1", "migrate-setspeed", guest.name, "--postcopy", "2")
    move = Move(hosts, guest, "node1", "node2")
    wait_for(move.is_sending, 60, "its memory is on its way")
    if not move.is_alive():
        assert move.over() is None
    start_post_copy(hosts, guest, "node3")
    wait_for(lambda: guest.owner("node3") == ["node2"], 60, "the commit")
    hosts.restart("node1")
    move.join(60)
    expect_moved(hosts, guest, "node2")
