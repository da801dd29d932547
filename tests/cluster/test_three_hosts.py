"""Three hosts are one place to an unmodified virsh, whichever of them it talks to."""
import re
import subprocess

import pytest

import leftovers
from client import Console, Listener
from host import guest_xml, small_xml, wait_for


def tls(node):
    return f"qemu+tls://{node}/system"


@pytest.fixture
def guest(hosts, tmp_path):
    """web1, defined through node1 and so owned by it."""
    (tmp_path / "web1.xml").write_text(guest_xml("web1"))
    hosts.virsh("node1", "define", tmp_path / "web1.xml")
    yield "web1"
    hosts.exec("node1", "virsh", "destroy", "web1", check=False)
    hosts.exec("node1", "virsh", "undefine", "web1")


def test_a_guest_lives_its_life_through_three_nodes(hosts, tmp_path):
    watcher = hosts.popen("node3", "virsh", "event", "--all", "--loop", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    listeners = [Listener(hosts, node) for node in hosts.nodes]
    (tmp_path / "web1.xml").write_text(guest_xml("web1"))

    hosts.virsh("node3", "define", tmp_path / "web1.xml", uri=tls("node1"))
    assert re.search(r"-\s+web1\s+shut off", hosts.virsh("node2", "list", "--all"))
    assert "<name>web1</name>" in hosts.virsh("node2", "dumpxml", "web1")

    hosts.virsh("node3", "start", "web1")
    assert len(leftovers.qemus_of(hosts, "node1")) == 1
    assert not leftovers.qemus_of(hosts, "node2") and not leftovers.qemus_of(hosts, "node3")
    for node in hosts.nodes:
        assert leftovers.while_running(hosts, node) == []
        assert hosts.virsh(node, "domstate", "web1") == "running"

    console = Console(hosts, "node2", "web1")
    console.expect("/ #", press="\r")
    console.send("echo sum-$((40 + 2))\r")
    console.expect("sum-42", 20)
    console.close()

    hosts.virsh("node2", "destroy", "web1")
    hosts.virsh("node2", "undefine", "web1")
    for listener in listeners:
        # "resumed" follows "started" when a guest begins to run, as libvirt does it.
        wait_for(lambda: listener.kinds("web1")[-1:] == ["undefined"], 5, f"undefined at {listener.node}")
        assert [kind for kind in listener.kinds("web1") if kind != "resumed"] == ["defined", "started", "stopped", "undefined"]
        listener.close()
    assert len({tuple(listener.kinds("web1")) for listener in listeners}) == 1

    watcher.terminate()
    hosts.exec("node3", "sh", "-c", "for p in $(pgrep -x virsh); do kill $p; done", check=False)
    text = watcher.communicate(timeout=10)[0]
    order = [text.find(word) for word in ("Defined", "Started", "Stopped", "Undefined")]
    assert -1 not in order and order == sorted(order), text
    for node in hosts.nodes:
        assert hosts.virsh(node, "list", "--all", "--name") == ""
        assert leftovers.at_rest(hosts, node) == []


def test_suspend_resume_reset_and_reboot_from_any_node(hosts, guest):
    hosts.virsh("node2", "start", guest, "--paused")
    assert hosts.virsh("node3", "domstate", guest) == "paused"
    hosts.virsh("node3", "resume", guest)
    assert hosts.virsh("node2", "domstate", guest) == "running"
    hosts.virsh("node2", "suspend", guest)
    assert hosts.virsh("node1", "domstate", guest, "--reason") == "paused (user)"
    hosts.virsh("node1", "resume", guest)
    hosts.virsh("node3", "reset", guest)
    assert hosts.virsh("node3", "domid", guest) == hosts.virsh("node1", "domid", guest) != "-"


def test_a_guest_shuts_down_when_asked_and_the_reason_is_known_everywhere(hosts, guest):
    hosts.virsh("node2", "start", guest)
    console = Console(hosts, "node3", guest)
    console.expect("/ #", press="\r")
    console.close()
    hosts.virsh("node3", "shutdown", guest)
    for node in hosts.nodes:
        wait_for(lambda: hosts.virsh(node, "domstate", guest, "--reason") == "shut off (shutdown)", 60, f"shut off at {node}")
    assert leftovers.qemus_of(hosts, "node1") == {}


def test_a_guest_that_ends_by_itself_is_seen_everywhere(hosts, tmp_path):
    (tmp_path / "brief.xml").write_text(guest_xml("brief", command="vq.exit=1"))
    hosts.virsh("node2", "define", tmp_path / "brief.xml")
    hosts.virsh("node1", "start", "brief")
    for node in hosts.nodes:
        wait_for(lambda: hosts.virsh(node, "domstate", "brief") == "shut off", 120, f"the end of the guest at {node}")
    hosts.virsh("node3", "undefine", "brief")


def test_a_transient_guest_vanishes_everywhere_when_it_ends(hosts, tmp_path):
    (tmp_path / "passing.xml").write_text(guest_xml("passing"))
    hosts.virsh("node2", "create", tmp_path / "passing.xml")
    for node in hosts.nodes:
        assert hosts.virsh(node, "dominfo", "passing").splitlines()[-1] is not None
        assert re.search(r"Persistent:\s+no", hosts.virsh(node, "dominfo", "passing"))
    hosts.virsh("node1", "destroy", "passing")
    for node in hosts.nodes:
        wait_for(lambda: "passing" not in hosts.virsh(node, "list", "--all", "--name"), 5, f"gone from {node}")


def test_autodestroy_ends_the_guest_with_its_client(hosts, tmp_path):
    connection = hosts.libvirt("node3")
    connection.createXML(guest_xml("tied"), 2)      # VIR_DOMAIN_START_AUTODESTROY
    wait_for(lambda: "tied" in hosts.virsh("node2", "list", "--name"), 5, "the guest at another node")
    connection.close()
    for node in hosts.nodes:
        wait_for(lambda: "tied" not in hosts.virsh(node, "list", "--all", "--name"), 10, f"gone from {node}")


def test_views_of_one_node(hosts, guest):
    for view in ("qemu:///system?node=node1", "qemu:///system/node1", "qemu+unix:///system?socket=/run/virtquorum/node/libvirt-sock"):
        assert hosts.virsh("node1", "list", "--all", "--name", uri=view) == guest
    for view in ("qemu:///system?node=node2", "qemu:///system?node=.", "qemu:///system/node2"):
        assert hosts.virsh("node2", "list", "--all", "--name", uri=view) == ""
    assert hosts.virsh("node2", "hostname", uri="qemu:///system?node=node3") == "node3"


def test_a_view_of_a_node_that_is_none_is_refused_by_name(hosts):
    result = hosts.exec("node1", "virsh", "-c", "qemu:///system?node=node7", "list", check=False)
    assert result.returncode == 1 and "node7" in result.stderr


def test_a_definition_through_a_view_belongs_to_that_node(hosts, tmp_path):
    (tmp_path / "placed.xml").write_text(small_xml("placed"))
    hosts.virsh("node2", "define", tmp_path / "placed.xml", uri="qemu+tls://node2/system?node=node3")
    assert hosts.virsh("node3", "list", "--all", "--name", uri="qemu:///system?node=.") == "placed"
    hosts.virsh("node1", "undefine", "placed")


def test_rename_autostart_and_metadata_are_the_clusters(hosts, guest):
    hosts.virsh("node2", "autostart", guest)
    assert re.search(r"Autostart:\s+enable", hosts.virsh("node3", "dominfo", guest))
    hosts.virsh("node2", "desc", guest, "--config", "--title", "the first one")
    assert hosts.virsh("node1", "desc", guest, "--title") == "the first one"
    hosts.virsh("node3", "domrename", guest, "web2")
    assert hosts.virsh("node2", "list", "--all", "--name") == "web2"
    hosts.virsh("node1", "domrename", "web2", guest)


def test_status_shows_all_nodes_and_how_many_may_fail(hosts):
    for node in hosts.nodes:
        result = hosts.virtquorum(node, "status")
        for other in hosts.nodes:
            assert other in result.stdout
        assert "healthy" in result.stdout
