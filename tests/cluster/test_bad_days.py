"""Faults that other virtualization daemons and Raft users have met, on hosts of ours."""
import os
import random
import signal
import threading
import time

import libvirt
import pytest

import leftovers
from client import definitions, error_of
from host import Hosts, guest_xml, small_xml, wait_for

SEED = int(os.environ.get("VQ_SEED") or random.randrange(1 << 31))


@pytest.fixture
def lone():
    """One host that was never told of a cluster."""
    with Hosts("lone", 1, formed=False) as made:
        yield made


def kill_if_there(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def shown(hosts, node):
    connection = hosts.libvirt(node)
    try:
        return definitions(connection)
    finally:
        connection.close()


def test_a_lone_host_needs_no_set_up_and_opens_no_port_for_a_cluster(lone):
    connection = lone.libvirt("node1")
    connection.defineXML(small_xml("alone"))
    assert set(shown(lone, "node1")) == {"alone"}
    listening = lone.exec("node1", "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
    ports = {int(line.split()[1].rsplit(":", 1)[1], 16) for line in listening.splitlines() if len(line.split()) > 3 and line.split()[3] == "0A"}
    assert ports <= {16514}
    connection.close()


def test_what_a_lone_host_has_answered_is_there_after_a_kill_each_time(lone):
    for turn in range(15):
        connection = lone.libvirt("node1")
        connection.defineXML(small_xml(f"kept-{turn}"))
        lone.kill("node1")
        lone.restart("node1")
        assert set(shown(lone, "node1")) == {f"kept-{i}" for i in range(turn + 1)}


def test_all_nodes_are_killed_together_again_and_again(fresh_hosts):
    hosts, choose = fresh_hosts, random.Random(SEED)
    print(f"VQ_SEED={SEED}")
    for turn in range(int(os.environ.get("VQ_ROUNDS", "6"))):
        node = choose.choice(hosts.nodes)
        connection = hosts.libvirt(node)
        def defines():
            try:
                return connection.defineXML(small_xml(f"kept-{turn}"))
            except libvirt.libvirtError:
                return None
        wait_for(defines, 10, f"a define through {node}")
        for victim in hosts.nodes:
            hosts.kill(victim)
        for victim in hosts.nodes:
            hosts.restart(victim)
    names = {f"kept-{turn}" for turn in range(turn + 1)}
    for node in hosts.nodes:
        wait_for(lambda: set(shown(hosts, node)) == names, 10, f"everything that was acknowledged, at {node}")


def test_a_stopped_qemu_delays_only_its_own_guest(lone):
    connection = lone.libvirt("node1")
    for name in ("stopped", "lively"):
        connection.createXML(guest_xml(name, memory="96"))
    first, second = sorted(leftovers.outer_qemus(lone, "node1"))
    os.kill(first, signal.SIGSTOP)
    try:
        lone.kill("node1")
        lone.restart("node1")
        connection = lone.libvirt("node1")
        begin = time.monotonic()
        assert {domain.name() for domain in connection.listAllDomains()} == {"stopped", "lively"}
        lively = connection.lookupByName("lively")
        lively.suspend()
        lively.resume()
        assert time.monotonic() - begin < 2
    finally:
        os.kill(first, signal.SIGCONT)
    def works():
        try:
            connection.lookupByName("stopped").suspend()
            return True
        except libvirt.libvirtError:
            return False
    wait_for(works, 15, "the woken guest taking orders")
    assert sorted(leftovers.outer_qemus(lone, "node1")) == [first, second]
    for name in ("stopped", "lively"):
        connection.lookupByName(name).destroy()
    assert leftovers.at_rest(lone, "node1") == []


def test_statistics_wait_for_a_stopped_qemu_once_and_not_each_time(lone):
    connection = lone.libvirt("node1")
    connection.createXML(guest_xml("stopped", memory="96"))
    pid, = leftovers.outer_qemus(lone, "node1")
    os.kill(pid, signal.SIGSTOP)
    try:
        connection.getAllDomainStats()
        begin = time.monotonic()
        for _ in range(5):
            (domain, _), = connection.getAllDomainStats()
            assert domain.name() == "stopped"
        assert time.monotonic() - begin < 1
    finally:
        os.kill(pid, signal.SIGCONT)
    connection.lookupByName("stopped").destroy()


def test_destroy_and_the_death_of_qemu_at_the_same_moment(lone):
    connection = lone.libvirt("node1")
    domain = connection.defineXML(guest_xml("racer", memory="96"))
    for turn in range(20):
        domain.create()
        pid, = leftovers.outer_qemus(lone, "node1")
        killer = threading.Timer(turn * 0.001, kill_if_there, (pid,))
        killer.start()
        try:
            domain.destroy()
        except libvirt.libvirtError as error:
            assert error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID     # it was off already
        killer.join()
        wait_for(lambda: domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF, 5, "off")
        assert leftovers.qemus_of(lone, "node1") == {}
    domain.undefine()
    assert leftovers.at_rest(lone, "node1") == []


def test_guests_go_on_when_the_state_directory_cannot_be_written(lone):
    connection = lone.libvirt("node1")
    connection.createXML(guest_xml("safe", memory="96"))
    pid, = leftovers.outer_qemus(lone, "node1")
    lone.kill("node1")
    lone.exec("node1", "mount", "-o", "remount,bind,ro", "/var/lib/virtquorum")
    lone.demo("restart", "node1", check=False, timeout=60)      # it may refuse to run; it may not harm the guest
    assert leftovers.outer_qemus(lone, "node1") == [pid]
    lone.kill("node1")
    lone.exec("node1", "mount", "-o", "remount,bind,rw", "/var/lib/virtquorum")
    lone.restart("node1")
    wait_for(lambda: lone.virsh("node1", "domstate", "safe", check=False) == "running", 5, "the guest, found again")
    assert leftovers.outer_qemus(lone, "node1") == [pid]
    lone.virsh("node1", "destroy", "safe")


def test_an_answer_comes_also_when_qemu_cannot_be_run(lone):
    connection = lone.libvirt("node1")
    xml = guest_xml("impossible").replace("<devices>", "<devices><emulator>/bin/false</emulator>")
    begin = time.monotonic()
    try:
        domain = connection.defineXML(xml)
    except libvirt.libvirtError:
        return                                  # refused already: as good
    error_of(domain.create)
    assert time.monotonic() - begin < 20
    assert domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF
    domain.undefine()
    assert leftovers.at_rest(lone, "node1") == []


def fill(hosts, node):
    """To the last byte."""
    hosts.exec(node, "sh", "-c", "dd if=/dev/zero of=/var/lib/virtquorum/filler bs=64k; dd if=/dev/zero of=/var/lib/virtquorum/filler2 bs=1; true", timeout=60)


def free(hosts, node):
    hosts.exec(node, "rm", "-f", "/var/lib/virtquorum/filler", "/var/lib/virtquorum/filler2")


def acknowledged_until_refused(connection, prefix, limit=800):
    """Large definitions until the disk takes no more; only what was acknowledged must be there afterwards."""
    kept = set()
    for turn in range(limit):
        try:
            connection.defineXML(small_xml(f"{prefix}-{turn}", description=os.urandom(30000).hex()))    # nothing to compress
        except libvirt.libvirtError:
            return kept
        kept.add(f"{prefix}-{turn}")
    return kept


def test_a_full_disk_refuses_changes_and_loses_nothing():
    with Hosts("fulldisk", 1, formed=False, environment={"VQ_DEMO_DISK_MIB": "96"}) as hosts:
        connection = hosts.libvirt("node1")
        connection.createXML(guest_xml("safe", memory="96"))
        connection.defineXML(small_xml("before"))
        pid, = leftovers.outer_qemus(hosts, "node1")
        fill(hosts, "node1")
        kept = acknowledged_until_refused(connection, "while-full")
        assert len(kept) < 800, "the disk was never full"
        free(hosts, "node1")
        def defines():
            try:
                # Whether the daemon goes on by itself or had to end, is not asked: but it must say so, and a restart must mend it.
                return hosts.libvirt("node1").defineXML(small_xml("after", "11111111-2222-3333-4444-555555555555"))
            except libvirt.libvirtError:
                return None
        for _ in range(40):
            if defines():
                break
            time.sleep(0.1)
        else:
            hosts.restart("node1")
        wait_for(defines, 10, "a define with room on the disk")
        assert {"before", "after", "safe"} | kept <= set(shown(hosts, "node1"))
        assert leftovers.outer_qemus(hosts, "node1") == [pid]
        hosts.virsh("node1", "destroy", "safe")


def newest_segment(hosts, node):
    script = "find /var/lib/virtquorum -name 'open-*' -o -regex '.*/[0-9]+-[0-9]+' | xargs -r ls -t | head -n 1"
    return hosts.exec(node, "sh", "-c", script).stdout.strip()


def test_flipped_bytes_in_the_log_of_a_voter_lose_nothing(fresh_hosts):
    hosts = fresh_hosts
    connection = hosts.libvirt("node1")
    for i in range(50):
        connection.defineXML(small_xml(f"kept-{i}"))
    connection.close()
    hosts.kill("node3")
    segment = newest_segment(hosts, "node3")
    assert segment, "no segment of the log was found"
    with open(hosts.directory / "node3" / segment.lstrip("/"), "r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 0xFF]))
    # It re-syncs before it votes again, or refuses to run and says why. The others do not care.
    hosts.demo("restart", "node3", check=False, timeout=60)
    names = {f"kept-{i}" for i in range(50)}
    for node in ("node1", "node2"):
        assert set(shown(hosts, node)) == names
    other = hosts.libvirt("node2")
    wait_for(lambda: not isinstance(_attempt(other), libvirt.libvirtError), 5, "a define beside the damaged node")
    try:
        state = set(shown(hosts, "node3"))
    except libvirt.libvirtError:
        log = (hosts.directory / "node3" / "daemon.log").read_text()
        assert "corrupt" in log or "damaged" in log or "checksum" in log, log[-2000:]
        return
    wait_for(lambda: names <= set(shown(hosts, "node3")), 10, f"everything at node3, not only {len(state)}")


def _attempt(connection):
    try:
        return connection.defineXML(small_xml("beside"))
    except libvirt.libvirtError as error:
        return error
