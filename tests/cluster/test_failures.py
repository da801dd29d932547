"""Daemons die, hosts die, networks break: nothing that was acknowledged is lost, and nothing needs a hand to heal."""
import os
import signal
import time

import libvirt
import pytest

import leftovers
from client import Listener, Writer, definitions, error_of, leader_of, record_final_state
from history import History
from host import guest_xml, small_xml, wait_for


def shown_state(hosts, node, domain):
    return hosts.virsh(node, "domstate", domain, check=False, timeout=10)


def started_guest(hosts, node, name):
    connection = hosts.libvirt(node)
    connection.defineXML(guest_xml(name)).create()
    connection.close()
    (pid, _), = leftovers.qemus_of(hosts, node).items()
    return pid


def longest_gap(times, begin, end):
    points = [begin, *[moment for moment in times if begin <= moment <= end], end]
    return max(after - before for before, after in zip(points, points[1:]))


def test_the_leader_is_killed_under_a_loop_of_defines(fresh_hosts):
    hosts, record = fresh_hosts, History()
    leader = leader_of(hosts)
    others = [node for node in hosts.nodes if node != leader]
    names = [f"web{i}" for i in range(8)]
    listeners = [Listener(hosts, node, record) for node in others]
    writers = [Writer(hosts, node, record, names) for node in others]
    for writer in writers:
        writer.start()
    wait_for(lambda: all(len(writer.acknowledged) > 20 for writer in writers), 20, "writes before the kill")

    killed_at = time.monotonic()
    hosts.kill(leader)
    wait_for(lambda: all(writer.acknowledged[-1] > killed_at + 1 for writer in writers), 10, "writes after the kill")
    for writer in writers:
        gap = longest_gap(writer.acknowledged, killed_at, writer.acknowledged[-1])
        print(f"{writer.node}: longest silence {gap * 1000:.0f} ms, {len(writer.acknowledged)} acknowledged")
        assert gap < 3

    hosts.restart(leader)
    for writer in writers:
        writer.stop()
    def caught_up():
        views = []
        for node in hosts.nodes:
            connection = hosts.libvirt(node)
            try:
                views.append(definitions(connection))
            except libvirt.libvirtError:
                return False    # what was listed was undefined before it was looked at: the node is still catching up
            finally:
                connection.close()
        return all(view == views[0] for view in views)
    wait_for(caught_up, 5, f"{leader} showing what the others show")
    record_final_state(hosts, record, names)
    told = [lambda listener=listener: {name: listener.kinds(name) for name in names} for listener in listeners]
    wait_for(lambda: told[0]() == told[1](), 5, "both listeners having heard everything")
    for listener in listeners:
        listener.close()
    assert record.check() == []


def test_all_daemons_are_killed_and_everything_is_still_there(fresh_hosts):
    hosts = fresh_hosts
    pids = {node: started_guest(hosts, node, f"on-{node}") for node in hosts.nodes}
    connection = hosts.libvirt("node2")
    for i in range(200):
        connection.defineXML(small_xml(f"many-{i}", description=str(i)))
    before = definitions(connection)
    ids = {node: hosts.virsh("node1", "domid", f"on-{node}") for node in hosts.nodes}
    assert len(before) == 203

    for node in hosts.nodes:
        hosts.kill(node)
    for node in hosts.nodes:
        assert list(leftovers.qemus_of(hosts, node)) == [pids[node]]
    for node in hosts.nodes:
        hosts.restart(node)
    begin = time.monotonic()
    for node in hosts.nodes:
        def is_right():
            fresh = hosts.libvirt(node)
            try:
                return definitions(fresh) == before and all(
                    fresh.lookupByName(f"on-{owner}").state()[0] == libvirt.VIR_DOMAIN_RUNNING for owner in hosts.nodes)
            except libvirt.libvirtError:
                return False
            finally:
                fresh.close()
        wait_for(is_right, 5, f"{node} showing all definitions and states")
    print(f"all right after {time.monotonic() - begin:.2f} s")
    for node in hosts.nodes:
        assert list(leftovers.qemus_of(hosts, node)) == [pids[node]]
        assert leftovers.while_running(hosts, node) == []
        assert {owner: hosts.virsh(node, "domid", f"on-{owner}") for owner in hosts.nodes} == ids


def test_two_of_three_are_down(fresh_hosts):
    hosts = fresh_hosts
    started_guest(hosts, "node1", "mine")
    other = hosts.libvirt("node2")
    other.defineXML(small_xml("theirs"))
    wait_for(lambda: "theirs" in hosts.virsh("node1", "list", "--all", "--name"), 5, "theirs at node1")
    hosts.kill("node2")
    hosts.kill("node3")

    connection = hosts.libvirt("node1")
    assert {domain.name() for domain in connection.listAllDomains()} == {"mine", "theirs"}
    assert "<name>theirs</name>" in connection.lookupByName("theirs").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    mine = connection.lookupByName("mine")
    mine.suspend()
    assert mine.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    mine.resume()
    mine.destroy()
    assert mine.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF
    mine.create()
    assert mine.state()[0] == libvirt.VIR_DOMAIN_RUNNING

    for _ in range(3):
        begin = time.monotonic()
        error = error_of(connection.defineXML, small_xml("new"))
        assert time.monotonic() - begin < 2
        assert "node2" in str(error) and "node3" in str(error), str(error)
    assert "new" not in [domain.name() for domain in connection.listAllDomains()]
    result = hosts.virtquorum("node1", "status", check=False)
    assert result.returncode == 4 and "node2" in result.stdout and "node3" in result.stdout

    hosts.restart("node2")
    hosts.restart("node3")
    def defines():
        try:
            return connection.defineXML(small_xml("new"))
        except libvirt.libvirtError:
            return None
    wait_for(defines, 5, "a define after healing")
    for node in hosts.nodes:
        wait_for(lambda: "new" in hosts.virsh(node, "list", "--all", "--name"), 5, f"'new' at {node}")
        # What was done without a quorum is told now.
        wait_for(lambda: shown_state(hosts, node, "mine") == "running", 5, f"the guest's state at {node}")


def test_a_node_is_cut_off_while_its_guest_runs(fresh_hosts):
    hosts = fresh_hosts
    pid = started_guest(hosts, "node1", "far")
    others = {node: hosts.libvirt(node) for node in ("node2", "node3")}
    others["node2"].defineXML(small_xml("near"))

    hosts.cut("node1")
    for node in others:
        wait_for(lambda: shown_state(hosts, node, "far") == "no state", 5, f"{node} seeing that it does not know")
        assert "far" in hosts.virsh(node, "list", "--all", "--name")
        assert "node1" in hosts.virtquorum(node, "status", check=False).stdout
    # Nothing else is slower for it.
    for connection in others.values():
        for call in (lambda: connection.listAllDomains(), lambda: connection.lookupByName("near").XMLDesc(0)):
            begin = time.monotonic()
            call()
            assert time.monotonic() - begin < 0.5
    begin = time.monotonic()
    hosts.libvirt("node2").close()
    assert time.monotonic() - begin < 1

    begin = time.monotonic()
    error = error_of(others["node2"].lookupByName("far").suspend)
    assert time.monotonic() - begin < 5
    assert "node1 is not reachable since" in str(error)
    # The other two go on, also with changes; the lonely one keeps its guest.
    wait_for(lambda: attempt(others["node3"].defineXML, small_xml("meanwhile")), 5, "a define without node1")
    assert shown_state(hosts, "node1", "far") == "running"

    hosts.heal()
    for node in hosts.nodes:
        wait_for(lambda: shown_state(hosts, node, "far") == "running", 10, f"one truth at {node}")
        wait_for(lambda: "meanwhile" in hosts.virsh(node, "list", "--all", "--name"), 10, f"'meanwhile' at {node}")
    assert list(leftovers.qemus_of(hosts, "node1")) == [pid]
    others["node2"].lookupByName("far").destroy()


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except libvirt.libvirtError:
        return None


def test_a_stuck_daemon_delays_nobody_else(fresh_hosts):
    hosts = fresh_hosts
    started_guest(hosts, "node1", "stuck")
    connection = hosts.libvirt("node2")
    connection.defineXML(small_xml("quick"))
    os.kill(hosts.daemon_pid("node1"), signal.SIGSTOP)
    try:
        wait_for(lambda: attempt(connection.defineXML, small_xml("later")), 5, "a define beside a stuck node")
        for _ in range(20):
            begin = time.monotonic()
            connection.listAllDomains()
            connection.lookupByName("quick").state()
            assert time.monotonic() - begin < 0.5
        begin = time.monotonic()
        statistics = connection.getAllDomainStats()
        assert time.monotonic() - begin < 6
        assert "quick" in [domain.name() for domain, _ in statistics]
    finally:
        os.kill(hosts.daemon_pid("node1"), signal.SIGCONT)
    wait_for(lambda: shown_state(hosts, "node2", "stuck") == "running", 10, "the woken node's guest")
    connection.lookupByName("stuck").destroy()


def test_a_stopped_qemu_is_told_at_another_node_soon_and_delays_nobody_else(fresh_hosts):
    hosts = fresh_hosts
    started_guest(hosts, "node1", "stopped")
    pid, = leftovers.outer_qemus(hosts, "node1")
    connection = hosts.libvirt("node2")
    connection.defineXML(guest_xml("lively")).create()
    stopped = connection.lookupByName("stopped")
    os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(libvirt.libvirtError) as refused:
            stopped.diskErrors()
        assert time.monotonic() - begin < 8
        assert refused.value.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT
        assert "did not answer within" in str(refused.value)
        # What QEMU need not be asked for is answered meanwhile, and so are others.
        begin = time.monotonic()
        assert stopped.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        assert "stopped" in stopped.XMLDesc() and stopped.info()[0] == libvirt.VIR_DOMAIN_RUNNING
        connection.lookupByName("lively").suspend()
        connection.lookupByName("lively").resume()
        assert time.monotonic() - begin < 3
        for view in (hosts.libvirt("node1"), connection, hosts.libvirt("node3")):
            begin = time.monotonic()
            statistics = {domain.name(): numbers for domain, numbers in view.getAllDomainStats()}
            assert time.monotonic() - begin < 4 and set(statistics) == {"stopped", "lively"}
            assert "balloon.current" in statistics["lively"] and "state.state" in statistics["stopped"]
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: attempt(stopped.diskErrors) is not None, 10, "the woken guest")
    for name in ("stopped", "lively"):
        connection.lookupByName(name).destroy()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_guest_that_ends_while_its_daemon_is_down_is_seen_as_ended(fresh_hosts, signal_number):
    hosts = fresh_hosts
    pid = started_guest(hosts, "node1", "gone")
    hosts.kill("node1")
    hosts.exec("node1", "kill", f"-{signal_number}", pid)
    wait_for(lambda: not leftovers.qemus_of(hosts, "node1"), 10, "the end of QEMU")
    hosts.restart("node1")
    for node in hosts.nodes:
        wait_for(lambda: shown_state(hosts, node, "gone") == "shut off", 5, f"the end at {node}")
    hosts.virsh("node2", "undefine", "gone")
    assert leftovers.at_rest(hosts, "node1") == []


def test_a_host_loses_its_power_and_comes_back(fresh_hosts):
    hosts = fresh_hosts
    started_guest(hosts, "node2", "lost")
    hosts.crash("node2")
    for node in ("node1", "node3"):
        wait_for(lambda: shown_state(hosts, node, "lost") == "no state", 10, f"{node} seeing that it does not know")
    hosts.up()
    for node in hosts.nodes:
        # Its process is gone with the host: not running, and nobody starts it by guess.
        wait_for(lambda: shown_state(hosts, node, "lost") == "shut off", 10, f"the truth at {node}")
    hosts.virsh("node2", "start", "lost")
    assert hosts.virsh("node1", "domstate", "lost") == "running"
    hosts.virsh("node3", "destroy", "lost")


def test_a_guest_whose_start_nobody_heard_of_is_not_taken_away(fresh_hosts):
    """Its owner dies, or is cut off, before it could tell the others: they may not make room for a second one."""
    hosts, document = fresh_hosts, guest_xml("single", memory="96")
    hosts.restart("node1", {"VQ_FAILPOINTS": "qemu.start.publish=crash"})
    owner = hosts.libvirt("node1")
    domain = owner.defineXML(document)
    uuid = domain.UUIDString()
    error_of(domain.create)                                 # the daemon dies when QEMU runs
    (pid, _), = leftovers.qemus_of(hosts, "node1").items()
    other = hosts.libvirt("node2")
    wait_for(lambda: attempt(other.lookupByUUIDString, uuid), 5, "the definition at node2")

    def may_not_run_here():
        for taken in (attempt(lambda: other.lookupByUUIDString(uuid).undefine()), attempt(other.createXML, document)):
            assert taken is None
        assert leftovers.twice(hosts) == [] and leftovers.qemus_of(hosts, "node2") == {}

    may_not_run_here()
    hosts.restart("node1")
    for node in hosts.nodes:
        wait_for(lambda: shown_state(hosts, node, "single") == "running", 10, f"the guest at {node}")
    assert list(leftovers.qemus_of(hosts, "node1")) == [pid]
    other.lookupByName("single").destroy()

    hosts.cut("node1")
    wait_for(lambda: shown_state(hosts, "node2", "single") == "no state", 15, "node2 seeing that node1 is gone")
    wait_for(lambda: attempt(lambda: hosts.libvirt("node1").lookupByName("single").create()) == 0, 15, "a start without a quorum")
    may_not_run_here()
    hosts.heal()
    for node in hosts.nodes:
        wait_for(lambda: shown_state(hosts, node, "single") == "running", 15, f"the guest at {node}")
    hosts.virsh("node3", "destroy", "single")
    hosts.virsh("node2", "undefine", "single")
    assert leftovers.at_rest(hosts, "node1") == []
