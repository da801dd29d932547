"""Peer-to-peer migration of guests that count: between nodes, and between a node and a stock libvirtd, in both directions.

node1 and node2 are a cluster, node3 runs libvirtd. All hosts trust one authority: the cluster's for the nodes among
themselves, and one of the test's for the stock host and for whoever talks to it (pkipath=)."""
import json
import os
import pathlib
import shutil
import signal
import threading

import libvirt
import pytest

from guest import Guest, Watch
from host import Hosts, wait_for
from pki import Authority

# The shared directory is one of this machine, which no daemon can know to be shared.
P2P = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_UNSAFE
TUNNEL = P2P | libvirt.VIR_MIGRATE_TUNNELLED
TLS = P2P | libvirt.VIR_MIGRATE_TLS
MOVE = libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE


def flat(pki, target):
    """As pkipath= wants it."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("CA/cacert.pem", "libvirt/clientcert.pem", "libvirt/private/clientkey.pem"):
        shutil.copy(pki / name, target / pathlib.Path(name).name)


@pytest.fixture(scope="module")
def hosts():
    with Hosts("p2p", 3, environment={"VQ_DEMO_STOCK": "node3"}) as made:
        authority = Authority("outside")
        for node in made.nodes:
            authority.equip(made.directory / node / "outside", node)
            authority.equip_qemu(made.directory / node / "etc/pki/libvirt-migrate", node)
            flat(made.directory / node / "outside", made.directory / node / "var/lib/libvirt/outside")
        authority.equip(made.directory / "node3/etc/pki", "node3")
        flat(made.directory / "node1/etc/pki", made.directory / "node3/var/lib/libvirt/cluster")
        made.restart("node3")
        yield made


@pytest.fixture(scope="module")
def watch(hosts):
    with Watch(hosts) as made:
        yield made


NUMBERS = iter(range(1, 200))


@pytest.fixture
def guest(hosts, watch):
    number = next(NUMBERS)
    made = Guest(hosts, watch, f"count{number}", number)
    yield made
    for node in hosts.nodes:
        connection = hosts.libvirt(node)
        for action in ("destroy", "undefine"):
            try:
                getattr(connection.lookupByName(made.name), action)()
            except libvirt.libvirtError:
                pass
        connection.close()


def migrate(hosts, guest, source, uri, flags, parameters=None):
    connection = hosts.libvirt(source)
    try:
        connection.lookupByName(guest.name).migrateToURI3(uri, parameters or {}, flags)
    finally:
        connection.close()


def runs_on(hosts, guest, node):
    """Of a cluster, any node tells; so each is asked for its own."""
    connection = hosts.libvirt(node, "" if node == "node3" else "node=.")
    try:
        return connection.lookupByName(guest.name).info()[0] == libvirt.VIR_DOMAIN_RUNNING
    except libvirt.libvirtError:
        return False
    finally:
        connection.close()


def expect_moved(hosts, guest, source, target):
    guest.wait_counting(seconds=45)
    assert runs_on(hosts, guest, target)
    assert not runs_on(hosts, guest, source)
    assert guest.faults() == []


@pytest.mark.parametrize("uri", ["qemu+tls://node2/system", "qemu+tls://node1/system?node=node2", "qemu+ssh://root@node2/system"])
def test_between_nodes_by_each_name(hosts, guest, uri):
    guest.start("node1")
    guest.wait_counting()
    migrate(hosts, guest, "node1", uri, P2P)
    expect_moved(hosts, guest, "node1", "node2")


def test_between_nodes_tunnelled_goes_the_direct_way(hosts, guest):
    guest.start("node2")
    guest.wait_counting()
    migrate(hosts, guest, "node2", "qemu+tls://node1/system", TUNNEL)
    expect_moved(hosts, guest, "node2", "node1")


@pytest.mark.parametrize("flags", [P2P, TUNNEL], ids=["direct", "tunnelled"])
@pytest.mark.parametrize("uri", ["qemu+tcp://node3/system", "qemu+tls://node3/system?pkipath=/var/lib/libvirt/outside"],
                         ids=["tcp", "tls"])
def test_from_a_node_to_stock(hosts, guest, uri, flags):
    guest.start("node1")
    guest.wait_counting()
    migrate(hosts, guest, "node1", uri, flags | MOVE)
    expect_moved(hosts, guest, "node1", "node3")
    with pytest.raises(libvirt.libvirtError):
        hosts.libvirt("node1").lookupByName(guest.name)


@pytest.mark.parametrize("flags", [P2P, TUNNEL], ids=["direct", "tunnelled"])
def test_from_stock_to_a_node(hosts, guest, flags):
    guest.start("node3")
    guest.wait_counting()
    migrate(hosts, guest, "node3", "qemu+tls://node1/system?pkipath=/var/lib/libvirt/cluster", flags | MOVE)
    expect_moved(hosts, guest, "node3", "node1")


def test_a_paused_guest_arrives_paused(hosts, guest):
    guest.start("node1")
    guest.wait_counting()
    hosts.virsh("node1", "suspend", guest.name)
    migrate(hosts, guest, "node1", "qemu+tcp://node3/system", P2P)
    assert hosts.virsh("node3", "domstate", guest.name) == "paused"
    hosts.virsh("node3", "resume", guest.name)
    guest.wait_counting()
    assert guest.faults() == []


def objects(hosts, guest, node):
    """Of QEMU, as far as they are ours."""
    question = json.dumps({"execute": "qom-list", "arguments": {"path": "/objects"}})
    answer = json.loads(hosts.virsh(node, "qemu-monitor-command", guest.name, question))
    return [entry["name"] for entry in answer["return"] if entry["name"].startswith("migrate-")]


def test_encrypted_to_stock_and_back(hosts, guest):
    guest.start("node1")
    guest.wait_counting()
    migrate(hosts, guest, "node1", "qemu+tcp://node3/system", TLS | MOVE)
    expect_moved(hosts, guest, "node1", "node3")
    migrate(hosts, guest, "node3", "qemu+tls://node1/system?pkipath=/var/lib/libvirt/cluster", TLS | MOVE)
    expect_moved(hosts, guest, "node3", "node1")
    assert objects(hosts, guest, "node1") == []


def test_a_certificate_of_another_host_is_refused_and_the_guest_goes_on(hosts, guest):
    guest.start("node1")
    guest.wait_counting()
    with pytest.raises(libvirt.libvirtError) as error:
        migrate(hosts, guest, "node1", "qemu+tcp://node3/system", TLS, {libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION: "elsewhere"})
    assert "ertificate does not match" in str(error.value)
    assert objects(hosts, guest, "node1") == []
    own = hosts.directory / "node1/etc/pki/libvirt-migrate"
    own.rename(own.with_name("away"))
    try:
        with pytest.raises(libvirt.libvirtError) as error:
            migrate(hosts, guest, "node1", "qemu+tcp://node3/system", TLS)
        assert "/etc/pki/qemu/ca-cert.pem" in str(error.value)
        migrate(hosts, guest, "node1", "qemu+tls://node2/system", TLS)     # between nodes nothing is wanted of it
        expect_moved(hosts, guest, "node1", "node2")
        assert objects(hosts, guest, "node2") == []
    finally:
        own.with_name("away").rename(own)
    migrate(hosts, guest, "node2", "qemu+tcp://node3/system", TLS | MOVE, {libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION: "node3"})
    expect_moved(hosts, guest, "node2", "node3")


def test_disks_are_copied_encrypted_to_stock_and_back(hosts, watch):
    path = pathlib.Path("/var/lib/libvirt/images/encrypted.img")        # each host has a directory of its own there
    guest = Guest(hosts, watch, "encrypted", 90, disk_mib=8, interval=50, disk=path)
    images = {node: pathlib.Path(f"/proc/{hosts.pid(node)}/root{path}") for node in ("node1", "node3")}
    for image in images.values():
        image.parent.mkdir(parents=True, exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(8 << 20)
    guest.start("node1")
    for source, target, uri in (("node1", "node3", "qemu+tcp://node3/system"),
                                ("node3", "node1", "qemu+tls://node1/system?pkipath=/var/lib/libvirt/cluster")):
        migrate(hosts, guest, source, uri, TLS | MOVE | libvirt.VIR_MIGRATE_NON_SHARED_DISK)
        guest.wait_counting()
        assert runs_on(hosts, guest, target)
        assert guest.faults(disk=images[target]) == []
    assert objects(hosts, guest, "node1") == []
    guest.destroy("node1")


UNREACHABLE = [
    ("qemu+tcp://node3:1/system", "unable to connect to server at 'node3:1': Connection refused"),
    ("qemu+tls://nowhere.invalid/system", "nowhere.invalid"),
    ("qemu+tls://node3/system", "certificate"),             # of an authority that is not the cluster's
    ("qemu+unix://node3/system", "UNIX socket"),
    ("qemu+ext://node3/system", "ext"),
    ("qemu+ssh://node3/system", "ssh"),                     # nobody listens there
]


def test_what_cannot_be_reached_is_told_and_the_guest_goes_on(hosts, guest):
    guest.start("node1")
    guest.wait_counting()
    for uri, words in UNREACHABLE:
        with pytest.raises(libvirt.libvirtError) as error:
            migrate(hosts, guest, "node1", uri, P2P)
        assert error.value.get_error_code() == libvirt.VIR_ERR_OPERATION_FAILED, uri
        assert f"Failed to connect to remote libvirt URI {uri}" in str(error.value) and words in str(error.value), uri
    with pytest.raises(libvirt.libvirtError) as error:
        migrate(hosts, guest, "node1", "qemu+tls://node1/system", P2P)
    assert "same host" in str(error.value)
    guest.wait_counting()
    assert guest.faults() == []


@pytest.mark.parametrize("flags", [P2P, TUNNEL], ids=["direct", "tunnelled"])
def test_a_destination_that_dies_in_the_middle_leaves_the_guest_here(hosts, guest, flags):
    guest.start("node1")
    guest.wait_counting()
    hosts.virsh("node1", "migrate-setspeed", guest.name, "1")
    failed = []

    def move():
        try:
            migrate(hosts, guest, "node1", "qemu+tcp://node3/system", flags | MOVE)
        except libvirt.libvirtError as error:
            failed.append(error)
    mover = threading.Thread(target=move)
    mover.start()
    wait_for(lambda: guest.name in hosts.virsh("node3", "list", "--all", "--name").split(), 60, "it is prepared there")
    os.kill(hosts.daemon_pid("node3"), signal.SIGKILL)
    mover.join(90)
    assert not mover.is_alive()
    hosts.restart("node3")
    assert failed, "the destination has died, and the migration went well"
    guest.wait_counting()
    assert runs_on(hosts, guest, "node1")
    assert guest.faults() == []
