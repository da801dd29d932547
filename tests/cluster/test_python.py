"""python3-libvirt, unmodified: what scripts do, and the error codes by which they decide."""
import libvirt
import pytest

from client import Listener, error_of
from host import guest_xml, small_xml, wait_for


@pytest.fixture
def connection(hosts):
    opened = hosts.libvirt("node2")
    yield opened
    opened.close()


def elsewhere(hosts):
    """Another node; libvirtd, which knows no others, is asked itself."""
    return "node2" if hosts.stock else "node3"


def code(call, *arguments):
    return error_of(call, *arguments).get_error_code()


def test_the_life_of_a_domain(hosts, connection):
    listener = Listener(hosts, elsewhere(hosts))
    domain = connection.defineXML(guest_xml("py1"))
    assert [found.name() for found in connection.listAllDomains()] == ["py1"]
    assert connection.lookupByUUIDString(domain.UUIDString()).name() == "py1"
    assert "<name>py1</name>" in domain.XMLDesc(0)
    assert domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF and not domain.isActive() and domain.isPersistent()
    domain.create()
    assert domain.state() == [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED]
    assert connection.lookupByID(domain.ID()).name() == "py1"
    assert domain.info()[3] == 1 and domain.maxMemory() == 128 * 1024
    domain.suspend()
    domain.resume()
    domain.destroy()
    assert domain.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED]
    domain.undefine()
    wait_for(lambda: "undefined" in listener.kinds("py1"), 10, "the last event")
    assert [kind for kind in listener.kinds("py1") if kind != "resumed"] == ["defined", "started", "suspended", "stopped", "undefined"]
    listener.close()


def test_old_calls_of_old_scripts(connection):
    domain = connection.defineXML(small_xml("old1"))
    assert connection.listDefinedDomains() == ["old1"] and connection.numOfDefinedDomains() == 1
    assert connection.listDomainsID() == [] and connection.numOfDomains() == 0
    domain.undefine()


def test_facts_of_the_host(connection):
    assert connection.getType() == "QEMU"
    assert connection.getHostname() == "node2"
    assert connection.getLibVersion() >= 9_000_000
    assert connection.getVersion() >= 7_000_000
    assert "<arch>x86_64</arch>" in connection.getCapabilities()
    assert connection.getInfo()[0] == "x86_64"
    assert "<domainCapabilities>" in connection.getDomainCapabilities(None, "x86_64", "q35", "qemu")


def test_no_such_domain_is_42(connection):
    assert code(connection.lookupByName, "nobody") == 42
    assert code(connection.lookupByUUIDString, "11111111-2222-3333-4444-555555555555") == 42
    assert code(connection.lookupByID, 987654) == 42


def test_a_read_only_connection_is_refused_with_29(hosts, connection):
    domain = connection.defineXML(small_xml("guarded"))
    reader = hosts.libvirt("node2", read_only=True)
    assert reader.lookupByName("guarded").XMLDesc(0)
    for call in (lambda: reader.defineXML(small_xml("smuggled")), lambda: reader.lookupByName("guarded").create(),
                 lambda: reader.lookupByName("guarded").undefine(), lambda: reader.lookupByName("guarded").XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)):
        assert code(call) == 29
    reader.close()
    domain.undefine()


def test_a_duplicate_name_is_9(hosts, connection):
    domain = connection.defineXML(small_xml("taken"))
    other = hosts.libvirt(elsewhere(hosts))
    error = error_of(other.defineXML, small_xml("taken", "11111111-2222-3333-4444-555555555555"))
    assert error.get_error_code() == 9 and "already exists with uuid" in str(error)
    domain.undefine()


# Not well-formed may be 35 too, as with libvirtd; well-formed but no domain is 27.
@pytest.mark.parametrize("document, expected", [
    ("", (27, 35)), ("<domain", (27, 35)), ("<domain type='qemu'><name>x</name>", (27, 35)), ("no xml at all", (27, 35)),
    ("<network/>", (27,)), ("<domain type='qemu'><name>x</name></domain>", (27,))])
def test_bad_xml_is_27(connection, document, expected):
    assert code(connection.defineXML, document) in expected


def test_unknown_flags_are_8(connection):
    domain = connection.defineXML(small_xml("flagged"))
    assert code(domain.createWithFlags, 1 << 30) == 8
    assert code(domain.XMLDesc, 1 << 30) == 8
    assert code(connection.listAllDomains, 1 << 30) == 8
    domain.undefine()


def test_starting_twice_and_stopping_what_is_off_is_55(connection):
    domain = connection.defineXML(guest_xml("py2"))
    assert code(domain.destroy) == 55
    domain.create()
    assert code(domain.create) == 55
    domain.destroy()
    domain.undefine()


def test_a_hundred_connections_at_once(hosts):
    connections = [hosts.libvirt(hosts.nodes[i % 3]) for i in range(100)]
    assert {connection.getHostname() for connection in connections} == set(hosts.nodes)
    for connection in connections:
        connection.close()
