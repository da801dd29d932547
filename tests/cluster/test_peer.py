"""Our client of the libvirt protocol against a stock libvirtd, over each transport."""
import os
import pathlib

import pytest

from host import Hosts
from pki import Authority

PROBE = pathlib.Path(os.environ["VQ_BUILD"]) / "tests" / "peer_probe"


@pytest.fixture(scope="module")
def hosts():
    with Hosts("peer", 1, stock=True) as hosts:
        Authority().equip(hosts.directory / "node1/etc/pki", "node1")
        hosts.restart("node1")
        yield hosts


def probe(hosts, uri, *more):
    return hosts.exec("node1", PROBE, uri, *more).stdout.splitlines()


def expect_all(lines):
    assert sorted(lines) == ["feature 10: 1", "feature 12: 1", "feature 13: 1", "feature 4: 1", "feature 6: 1", "host node1",
                             "lookup 42 10 no domain with matching name 'nobody'"]


@pytest.mark.parametrize("uri", ["qemu+unix:///system", "qemu+unix:///system?socket=/run/libvirt/libvirt-sock",
                                 "qemu+tcp://node1/system", "qemu+tcp://127.0.0.1:16509/system", "qemu+tls://node1/system",
                                 "qemu+tls://127.0.0.1/system?no_verify=1", "qemu://node1:16514/system"])
def test_stock_libvirtd_answers_over_each_transport(hosts, uri):
    expect_all(probe(hosts, uri))


def test_a_certificate_for_another_name_is_refused(hosts):
    [line] = probe(hosts, "qemu+tls://127.0.0.1/system")
    assert line.startswith("error 45 7 ") and "is not for '127.0.0.1'" in line


def test_a_server_of_another_authority_is_refused(hosts):
    other = Authority("another authority")
    other.equip("/tmp/" + os.path.basename(other.directory) + "-client", "node1")
    [line] = probe(hosts, "qemu+tls://node1/system", "/tmp/" + os.path.basename(other.directory) + "-client")
    assert line.startswith("error 45 7 ") and "authority" in line


def test_a_client_whose_certificate_is_not_taken_hears_so(hosts, tmp_path):
    other = Authority("another authority")
    other.equip(tmp_path, "node1")
    (tmp_path / "CA/cacert.pem").write_text((hosts.directory / "node1/etc/pki/CA/cacert.pem").read_text())
    [line] = probe(hosts, "qemu+tls://node1/system", tmp_path)
    assert line.startswith("error ") and ("certificate" in line or "refused us" in line)


def test_a_stock_daemons_refusal_is_told_as_it_is(hosts):
    [line] = probe(hosts, "qemu+unix:///system?name=nonsense:///system")
    assert line.startswith("error 5 ") and "nonsense:///system" in line


def test_what_is_not_there_is_told(hosts):
    [line] = probe(hosts, "qemu+tcp://node1:1/system")
    assert line == "error 38 7 unable to connect to server at 'node1:1': Connection refused"
