"""A name is one domain in the whole cluster, whoever asks for it, and however much at once."""
import os
import threading
import uuid

import libvirt
import pytest

from client import error_of
from host import small_xml

ROUNDS = int(os.environ.get("VQ_NAME_ROUNDS", "1000"))


def both_at_once(actions):
    """Run all at the same moment, and give back what each came to."""
    gate, results = threading.Barrier(len(actions)), [None] * len(actions)

    def one(i, action):
        gate.wait()
        try:
            results[i] = action()
        except libvirt.libvirtError as error:
            results[i] = error

    threads = [threading.Thread(target=one, args=(i, action)) for i, action in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_two_nodes_define_one_name_at_once_and_one_wins(hosts):
    connections = [hosts.libvirt("node1"), hosts.libvirt("node2")]
    winners = [0, 0]
    for turn in range(ROUNDS):
        documents = [small_xml("contested", str(uuid.uuid4())) for _ in connections]
        results = both_at_once([lambda c=c, x=x: c.defineXML(x) for c, x in zip(connections, documents)])
        won = [i for i, result in enumerate(results) if isinstance(result, libvirt.virDomain)]
        assert len(won) == 1, f"round {turn}: {results}"
        winners[won[0]] += 1
        error, winner = results[1 - won[0]], results[won[0]]
        assert error.get_error_code() == libvirt.VIR_ERR_OPERATION_FAILED
        assert f"domain 'contested' already exists with uuid {winner.UUIDString()}" in str(error)
        winner.undefine()
    for connection in connections:
        connection.close()
    print(f"node1 won {winners[0]} times, node2 {winners[1]} times")


def test_two_nodes_give_one_uuid_to_two_names_at_once_and_one_wins(hosts):
    connections = [hosts.libvirt("node2"), hosts.libvirt("node3")]
    for turn in range(min(ROUNDS, 50)):
        same = str(uuid.uuid4())
        results = both_at_once([lambda c=c, n=n: c.defineXML(small_xml(n, same)) for c, n in zip(connections, ("left", "right"))])
        won = [result for result in results if isinstance(result, libvirt.virDomain)]
        assert len(won) == 1, f"round {turn}: {results}"
        won[0].undefine()


def test_rename_onto_a_name_of_another_node_is_refused(hosts):
    one, two = hosts.libvirt("node1"), hosts.libvirt("node2")
    first, second = one.defineXML(small_xml("first")), two.defineXML(small_xml("second"))
    assert error_of(second.rename, "first").get_error_code() in (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_INVALID)
    assert {domain.name() for domain in one.listAllDomains()} == {"first", "second"}
    first.undefine()
    second.undefine()


@pytest.mark.parametrize("node", ["node1", "node2", "node3"])
def test_a_client_reads_its_own_writes_at_once(hosts, node):
    connection = hosts.libvirt(node)
    for turn in range(100):
        domain = connection.defineXML(small_xml(f"mine-{turn}", description=str(turn)))
        assert f"<description>{turn}</description>" in connection.lookupByName(f"mine-{turn}").XMLDesc(0)
        domain.undefine()
        assert error_of(connection.lookupByName, f"mine-{turn}").get_error_code() == libvirt.VIR_ERR_NO_DOMAIN
