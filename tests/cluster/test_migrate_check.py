"""Everything that stands against a migration is told at once, before anything is touched; and a node is emptied."""
import re

import pytest

from host import wait_for


def guest(name, devices="", cpu="", machine="pc-q35-7.2", emulator="/usr/bin/qemu-system-x86_64"):
    return f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='{machine}'>hvm</type></os>{cpu}
      <devices><emulator>{emulator}</emulator>{devices}<serial type='pty'/></devices></domain>"""


def disk(path, target, kind="disk", policy=""):
    bus = "virtio" if kind == "disk" else "sata"
    return (f"<disk type='file' device='{kind}'><driver name='qemu' type='raw'/><source file='{path}' {policy}/>"
            f"<target dev='{target}' bus='{bus}'/></disk>")


def bridge(name):
    return f"<interface type='bridge'><source bridge='{name}'/><model type='virtio'/></interface>"


@pytest.fixture
def started(hosts, tmp_path):
    """Defines and starts guests on node1; all of them are gone afterwards, wherever they are."""
    names = []

    def start(name, *arguments, run=True, **options):
        names.append(name)
        (tmp_path / f"{name}.xml").write_text(guest(name, *arguments, **options))
        hosts.virsh("node1", "define", tmp_path / f"{name}.xml")
        if run:
            hosts.virsh("node1", "start", name)

    yield start
    for name in names:
        hosts.exec("node1", "virsh", "destroy", name, check=False)
        hosts.exec("node1", "virsh", "undefine", name)


@pytest.fixture
def image(tmp_path):
    """A file that all hosts see, since /tmp is this machine's."""
    path = tmp_path / "shared.img"
    path.write_bytes(bytes(1 << 20))
    return path


def check(hosts, name, target, *options, entry="node3"):
    result = hosts.virtquorum(entry, "migrate", name, target, "--check", *options, check=False)
    return result.returncode, re.findall(r"^ +(FAILED|warning) +(\S+): (.*)$", result.stdout, re.M), result


def owner(hosts, name):
    rows = hosts.virtquorum("node3", "guests").stdout.splitlines()
    return next(row.split()[-2] for row in rows if row.split()[0] == name)


def test_a_guest_that_can_move_is_told_so_and_stays(hosts, started, image):
    started("web1", disk(image, "vda") + bridge("br-guests"))
    code, problems, result = check(hosts, "web1", "node2")
    assert (code, problems) == (0, []), result
    assert result.stdout == "web1 can move to node2\n"
    assert owner(hosts, "web1") == "node1"
    assert hosts.virsh("node2", "domstate", "web1") == "running"


def test_all_problems_are_told_at_once(hosts, started, image):
    for node in ("node1", "node2"):
        hosts.exec(node, "sh", "-c", "head -c 1M /dev/zero > /var/lib/libvirt/own.img")
    hosts.exec("node1", "sh", "-c", "head -c 1M /dev/zero | tee /var/lib/libvirt/cd.iso > /var/lib/libvirt/only.img; "
               "mkdir -p /var/lib/libvirt/bin; ln -sf /usr/bin/qemu-system-x86_64 /var/lib/libvirt/bin/qemu; ip link add br-only type bridge; "
               "ip link set br-only up; ip link add br-down type bridge; ip link set br-down up")
    hosts.exec("node2", "sh", "-c", "ip link add br-down type bridge; nft add table inet check; "
               "nft add chain inet check in '{ type filter hook input priority 0; }'; "
               "nft add rule inet check in tcp dport 49152-49215 drop")
    try:
        started("web1", disk(image, "vda") + disk("/var/lib/libvirt/own.img", "vdb") +
                disk("/var/lib/libvirt/only.img", "vdc") + disk("/var/lib/libvirt/cd.iso", "sda", "cdrom") +
                bridge("br-only") + bridge("br-down") + "<graphics type='vnc' port='5977' autoport='no' listen='0.0.0.0'/>",
                emulator="/var/lib/libvirt/bin/qemu")
        listener = hosts.popen("node2", "/usr/bin/python3", "-c", "import socket, time; s = socket.socket(); "
                               "s.bind(('0.0.0.0', 5977)); s.listen(); print(flush=True); time.sleep(60)", stdout=-1)
        listener.stdout.readline()
        code, problems, result = check(hosts, "web1", "node2")
        listener.kill()
        listener.communicate()
        found = [(node, text) for _, node, text in problems]
        assert code == 7, result
        for text in (r"emulator: .*/var/lib/libvirt/bin/qemu", r"disk vdb: '/var/lib/libvirt/own.img' is not the file of node1",
                     r"disk vdc: '/var/lib/libvirt/only.img' is missing", r"disk sda: '/var/lib/libvirt/cd.iso' is missing",
                     r"interface .*: the bridge 'br-only' is missing", r"interface .*: the bridge 'br-down' is down",
                     r"VNC display: port 5977 of 0.0.0.0 is taken", r"node1 cannot reach \S+ port 49152"):
            assert any(node == "node2" and re.match(text, said) for node, said in found), (text, found)
        assert len(found) == 8, found
        assert result.stdout.count("→ ") == len(found)  # each with a remedy
        # The same, in one error, when a plain client tries.
        refused = hosts.exec("node3", "virsh", "migrate", "--live", "--p2p", "--unsafe", "web1", "qemu+tls://node2/system",
                             check=False)
        assert refused.returncode != 0
        assert "node2: emulator: " in refused.stderr and "the bridge 'br-only' is missing" in refused.stderr, refused
        assert owner(hosts, "web1") == "node1" and hosts.virsh("node1", "domstate", "web1") == "running"
        hosts.exec("node1", "virsh", "destroy", "web1")
    finally:
        hosts.exec("node1", "sh", "-c", "ip link del br-only; ip link del br-down; rm -rf /var/lib/libvirt/bin", check=False)
        hosts.exec("node2", "sh", "-c", "ip link del br-down; nft delete table inet check", check=False)
        for node in ("node1", "node2"):
            hosts.exec(node, "sh", "-c", "rm -f /var/lib/libvirt/own.img /var/lib/libvirt/only.img /var/lib/libvirt/cd.iso")


def test_an_image_is_not_copied_onto_itself(hosts, started, image):
    started("web1", disk(image, "vda"))
    code, problems, _ = check(hosts, "web1", "node2", "--copy-storage")
    assert code == 7 and len(problems) == 1 and "copied onto itself" in problems[0][2]


def test_names_that_are_wrong_are_told(hosts, started):
    started("web1", run=False)
    assert hosts.virtquorum("node2", "migrate", "nobody", "node2", check=False).returncode == 3
    assert hosts.virtquorum("node2", "migrate", "web1", "node9", check=False).returncode == 3
    assert hosts.virtquorum("node2", "migrate", "web1", "node1").stdout == "web1 is on node1 already\n"
    refused = hosts.virtquorum("node2", "migrate", "web1", "node2", check=False)
    assert refused.returncode == 7 and "--offline" in refused.stderr
    hosts.virtquorum("node2", "migrate", "web1", "node2", "--offline")
    assert owner(hosts, "web1") == "node2"


def test_a_node_is_drained_and_takes_nothing_until_undrain(hosts, started, image, tmp_path):
    hosts.exec("node1", "sh", "-c", "head -c 1M /dev/zero > /var/lib/libvirt/only.img")
    for name in ("web1", "web2"):
        (tmp_path / f"{name}.img").write_bytes(bytes(1 << 20))
        started(name, disk(tmp_path / f"{name}.img", "vda"))
    started("stays", disk("/var/lib/libvirt/only.img", "vda"))
    started("off", run=False)
    try:
        plan = hosts.virtquorum("node2", "drain", "node1", "--dry-run", check=False)
        assert plan.returncode == 8 and plan.stdout.count("would move\n") == 2, plan
        assert owner(hosts, "web1") == "node1"
        done = hosts.virtquorum("node2", "drain", "node1", "--parallel", "3", check=False, timeout=120)
        assert done.returncode == 8, done
        assert re.search(r"^stays +stays: \S+: disk vda: '/var/lib/libvirt/only.img' is missing", done.stdout, re.M), done
        assert done.stdout.endswith("node1: 2 guests moved, 1 stays\n")
        assert {owner(hosts, name) for name in ("web1", "web2")} <= {"node2", "node3"}
        assert owner(hosts, "off") == "node1"
        for name in ("web1", "web2"):
            assert hosts.virsh("node1", "domstate", name) == "running"
        assert re.search(r"^node1\*? +draining", hosts.virtquorum("node1", "status").stdout, re.M)
        code, problems, _ = check(hosts, "web1", "node1")
        assert code == 7 and "the node is being drained" in problems[0][2]
        # What somebody asks for there is done: a guest can be defined and started.
        started("asked")
        assert owner(hosts, "asked") == "node1"
        hosts.exec("node1", "virsh", "destroy", "asked")
        # What is left goes when it can.
        hosts.exec("node1", "virsh", "destroy", "stays")
        assert hosts.virtquorum("node3", "drain", "node1", "--offline-too", "--to", "node3").returncode == 0
        for name in ("stays", "off", "asked"):
            assert owner(hosts, name) == "node3"
    finally:
        hosts.virtquorum("node3", "undrain", "node1")
        hosts.exec("node1", "rm", "-f", "/var/lib/libvirt/only.img")
    hosts.virtquorum("node3", "migrate", "web1", "node1")
    assert owner(hosts, "web1") == "node1"


def test_a_drain_goes_on_without_its_tool(hosts, started, tmp_path):
    for name in ("web1", "web2", "web3"):
        (tmp_path / f"{name}.img").write_bytes(bytes(1 << 20))
        started(name, disk(tmp_path / f"{name}.img", "vda"))
    try:
        hosts.virtquorum("node2", "drain", "node1", "--wait=no", "--parallel", "1")
        wait_for(lambda: all(owner(hosts, name) != "node1" for name in ("web1", "web2", "web3")), 60, "node1 is empty")
        again = hosts.virtquorum("node2", "drain", "node1")
        assert again.stdout.endswith("node1 is drained: 0 guests moved\n") or "3 guests moved" in again.stdout
    finally:
        hosts.virtquorum("node3", "undrain", "node1")


def test_a_drive_whose_medium_may_be_missing_arrives_empty(hosts, started, image):
    hosts.exec("node1", "sh", "-c", "head -c 1M /dev/zero > /var/lib/libvirt/cd.iso")
    try:
        started("web1", disk(image, "vda") + disk("/var/lib/libvirt/cd.iso", "sda", "cdrom", "startupPolicy='optional'"))
        code, problems, _ = check(hosts, "web1", "node2")
        assert code == 0 and [kind for kind, _, _ in problems] == ["warning"]
        hosts.virtquorum("node1", "migrate", "web1", "node2")
        assert owner(hosts, "web1") == "node2"
        assert "cd.iso" not in hosts.virsh("node3", "dumpxml", "web1")
        assert "cd.iso" in hosts.virsh("node3", "dumpxml", "web1", "--inactive")
    finally:
        hosts.exec("node1", "rm", "-f", "/var/lib/libvirt/cd.iso")
