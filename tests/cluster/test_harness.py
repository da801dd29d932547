"""The test hosts themselves, with libvirtd standing in for our daemon: what they promise must hold before anything that
is tested with them means something."""
import os

import pytest

import leftovers
from guest import Guest, Line, Watch
from host import DEMO, Hosts, guest_xml, run, wait_for


@pytest.fixture(scope="module")
def hosts():
    with Hosts("harness", 2, stock=True) as made:
        yield made


def test_exec_passes_input_output_and_exit_code(hosts):
    result = hosts.demo("exec", "node2", "sh", "-c", "cat; echo to-stderr >&2; exit 7", input="hello", check=False)
    assert (result.stdout, result.returncode) == ("hello", 7)
    assert "to-stderr" in result.stderr


def test_exec_keeps_the_words_of_a_command(hosts):
    assert hosts.demo("exec", "node1", "printf", "%s|", "a b", "", "$c", "'d'").stdout == "a b||$c|'d'|"


def test_exec_refuses_what_is_no_node(hosts):
    for name in ("node9", "../node1", "", "host1"):
        result = hosts.demo("exec", name, "true", check=False)
        assert result.returncode == 1 and "deploy/demo:" in result.stderr


def test_hosts_have_views_of_their_own(hosts):
    hosts.exec("node1", "sh", "-c", "for d in /run /etc/libvirt /etc/pki /var/lib/libvirt /var/lib/virtquorum; do touch $d/only-here; done")
    found = hosts.exec("node2", "sh", "-c", "ls /run/only-here /etc/libvirt/only-here /var/lib/libvirt/only-here /var/lib/virtquorum/only-here; true")
    assert found.stdout == ""
    assert not os.path.exists("/run/only-here") and not os.path.exists("/var/lib/libvirt/only-here")
    assert hosts.exec("node1", "hostname").stdout.strip() == "node1"
    assert leftovers.links_of(hosts, "node1") == {"lo", "eth0", "guests0", "br-guests"}
    hosts.exec("node1", "sh", "-c", "rm /run/only-here /etc/libvirt/only-here /etc/pki/only-here /var/lib/libvirt/only-here /var/lib/virtquorum/only-here")


def test_hosts_share_the_files_of_the_machine(hosts, tmp_path):
    (tmp_path / "file").write_text("seen by all")
    assert hosts.exec("node2", "cat", tmp_path / "file").stdout == "seen by all"


def test_virsh_over_tls_works_between_all_hosts(hosts):
    for client in hosts.nodes:
        for server in hosts.nodes:
            assert hosts.virsh(client, "hostname", uri=f"qemu+tls://{server}/system") == server


def test_a_connection_of_this_process_reaches_a_host(hosts):
    connection = hosts.libvirt("node2")
    assert connection.getHostname() == "node2"
    connection.close()


def reaches(hosts, client, server):
    result = hosts.exec(client, "timeout", "2", "bash", "-c", f"</dev/tcp/{server}/16514", check=False)
    return result.returncode == 0


def test_cut_and_heal(hosts):
    hosts.cut("node2")
    assert not reaches(hosts, "node1", "node2")
    assert not reaches(hosts, "node2", "node1")
    hosts.heal()
    assert reaches(hosts, "node1", "node2")


def test_a_guest_boots_outlives_its_daemon_and_leaves_nothing(hosts, tmp_path):
    (tmp_path / "guest.xml").write_text(guest_xml("web1"))
    hosts.virsh("node1", "create", tmp_path / "guest.xml")
    assert leftovers.while_running(stock_view(hosts), "node1") == []
    qemu = list(leftovers.qemus_of(hosts, "node1"))
    hosts.kill("node1")
    assert list(leftovers.qemus_of(hosts, "node1")) == qemu
    hosts.restart("node1")
    assert hosts.virsh("node1", "domstate", "web1") == "running"
    assert any("is left" in fault for fault in leftovers.at_rest(hosts, "node1"))      # the checker sees a guest that stayed
    hosts.virsh("node1", "destroy", "web1")
    wait_for(lambda: not leftovers.qemus_of(hosts, "node1"), 5, "the end of QEMU")


def test_a_crashed_host_loses_everything_but_its_disks(hosts, tmp_path):
    (tmp_path / "guest.xml").write_text(guest_xml("web2"))
    hosts.virsh("node2", "define", tmp_path / "guest.xml")
    hosts.virsh("node2", "start", "web2")
    boot = hosts.exec("node2", "cat", "/proc/sys/kernel/random/boot_id").stdout
    hosts.exec("node2", "touch", "/run/was-there")
    hosts.crash("node2")
    assert hosts.demo("exec", "node2", "true", check=False).returncode == 1
    hosts.up()
    assert hosts.exec("node2", "cat", "/proc/sys/kernel/random/boot_id").stdout != boot
    assert hosts.exec("node2", "ls", "/run/was-there", check=False).returncode != 0
    assert leftovers.qemus_of(hosts, "node2") == {}
    assert hosts.virsh("node2", "domstate", "web2") == "shut off"
    assert reaches(hosts, "node1", "node2")
    hosts.virsh("node2", "undefine", "web2")


def test_a_counting_guest_moves_and_its_second_copy_is_seen(hosts):
    with Watch(hosts) as watch:
        guest = Guest(hosts, watch, "web3", 1, shareable=True)
        guest.start("node1", transient=True)
        line = Line(watch, guest)
        for source, target in (("node1", "node2"), ("node2", "node1")):
            hosts.virsh(target, "migrate", "--live", "--unsafe", "web3", f"qemu+tls://{target}/system", uri=f"qemu+tls://{source}/system")
            guest.wait_counting()
            line.wait_answers()
        line.close()
        assert guest.faults() + line.faults() == [] and line.answers > 10
        copy = Guest(hosts, watch, "web4", 2, disk=guest.disk, shareable=True)
        hosts.libvirt("node2").createXML(copy.xml())
        guest.boots = 2
        found = wait_for(guest.faults, 180, "one of two writers having seen the other")
        assert any("taken" in fault or "not as written" in fault for fault in found), found
        hosts.virsh("node1", "destroy", "web3")
        hosts.virsh("node2", "destroy", "web4")


def stock_view(hosts):
    """libvirtd knows no node views: the whole of it is one."""
    class View:
        def __getattr__(self, name):
            return getattr(hosts, name)

        def virsh(self, node, *arguments, uri=None):
            return hosts.virsh(node, *arguments)
    return View()


def test_up_and_down_can_be_repeated_in_any_order():
    hosts = Hosts("again", 1, stock=True)
    hosts.down()
    try:
        hosts.up()
        hosts.up()
        hosts.up(2)
        assert hosts.virsh("node2", "hostname") == "node2"
        marks = leftovers.marks_of(hosts)
        assert len(marks) >= 9
        # The checker sees what is up, or it would see nothing afterwards either.
        assert any("is left" in fault for fault in leftovers.after_down(hosts, marks))
    finally:
        hosts.down()
    hosts.down()
    assert leftovers.after_down(hosts, marks) == []


def test_a_terminal_is_passed_through(hosts):
    command = f"{DEMO} exec node1 sh -c 'test -t 0 && echo a-terminal'"
    assert "a-terminal" in run(["script", "-qec", command, "/dev/null"], env=hosts.environment).stdout


def test_help_names_every_command():
    text = run([DEMO, "--help"]).stdout
    for word in ("up", "exec", "kill", "restart", "crash", "cut", "heal", "status", "down"):
        assert f"deploy/demo {word}" in text
