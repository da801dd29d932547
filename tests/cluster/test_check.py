"""`virtquorum check` and `virtquorum cpu-baseline` on a cluster of two."""
import json
import xml.etree.ElementTree as tree

import pytest

from host import Hosts, wait_for


@pytest.fixture(scope="module")
def hosts():
    with Hosts("check", 2) as both:
        yield both


def findings(hosts):
    result = hosts.virtquorum("node1", "check", "-o", "json", check=False, timeout=60)
    return result.returncode, [(f["subject"], f["grade"], f["text"]) for f in json.loads(result.stdout)["findings"]]


def test_the_cpu_of_all_nodes_runs_on_each(hosts):
    answer = json.loads(hosts.virtquorum("node1", "cpu-baseline", "-o", "json", timeout=90).stdout)
    assert [(node["node"], node["problem"], node["lacks"]) for node in answer["nodes"]] == [("node1", "", []), ("node2", "", [])]
    only = hosts.virtquorum("node2", "cpu-baseline", "--xml", "node1", timeout=90).stdout
    assert tree.fromstring(only).findtext("model") == answer["nodes"][0]["model"]
    for node in hosts.nodes:
        assert hosts.libvirt(node).compareHypervisorCPU(None, None, None, answer["nodes"][0]["type"], answer["xml"]) > 0
    unknown = hosts.virtquorum("node1", "cpu-baseline", "nobody", check=False)
    assert unknown.returncode == 3 and "there is no node 'nobody'" in unknown.stderr


def test_a_node_that_is_gone_is_found_and_left_out(hosts):
    code, found = findings(hosts)
    assert code == 0 and ("node", "PASS", "node2 is online") in found
    assert any(subject == "port" and grade == "PASS" and "of node2" in text for subject, grade, text in found)
    assert any(subject == "clock" and grade == "PASS" for subject, grade, _ in found)
    hosts.kill("node2")
    wait_for(lambda: findings(hosts)[0] == 1, 20, "node2 is missed")
    code, found = findings(hosts)
    assert any(subject == "node" and grade == "FAIL" and "node2" in text for subject, grade, text in found)
    partly = hosts.virtquorum("node1", "cpu-baseline", check=False, timeout=90)
    assert partly.returncode == 8 and "node2 was not asked" in partly.stderr
    hosts.restart("node2")


def test_a_daemon_that_does_not_run_is_a_finding(hosts):
    result = hosts.virtquorum("node1", "check", "--socket", "/nowhere", check=False)
    assert result.returncode == 1
    assert "FAIL  daemon" in result.stdout and "PASS  emulator" in result.stdout
