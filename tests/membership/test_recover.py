"""virtquorum recover: a node that cannot go on begins anew with what it has."""
import os
import shutil
import subprocess

import pytest

from daemons import BUILD, wait_for

needs_failpoints = pytest.mark.skipif(os.environ.get("VQ_HAS_FAILPOINTS", "ON") != "ON", reason="built without failure points")


def recover(node, *arguments, code=0, answer="", failpoints=""):
    done = subprocess.run([BUILD / "node" / "virtquorum", "recover", f"--state-dir={node.directory}/state", *arguments],
                          input=answer, capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, VQ_FAILPOINTS=failpoints))
    said = done.stdout + done.stderr
    assert "Sanitizer" not in said and "runtime error" not in said, said
    assert code is None or done.returncode == code, f"{node.name}: exit code {done.returncode}, not {code}\n{said}"
    return said


def leads(node):
    wait_for(lambda: node.status().get("leader") == node.name, 10, f"{node.name} to lead")
    return node.status()


def lone_with_guests(lab, count=3):
    node = lab.node()
    leads(node)
    for i in range(count):
        node.define(f"guest{i}")
    return node


def damage(node):
    """The closed segment of the log loses a bit in its middle."""
    segments = sorted(path for path in (node.directory / "state" / "raft").iterdir() if "-" in path.name and path.name[0].isdigit())
    assert segments, "no closed segment"
    content = bytearray(segments[0].read_bytes())
    content[len(content) // 2] ^= 0xff
    segments[0].write_bytes(content)


def test_it_is_refused_while_the_daemon_runs(lab):
    node = lone_with_guests(lab, 1)
    said = recover(node, "--force", "--yes", code=7)
    assert "stop it first" in said
    assert node.guests() == ["guest0"] and leads(node)["storeOk"]
    assert "there is no node" in recover(type("Nothing", (), {"directory": lab.directory, "name": "nothing"}), code=1)


def test_without_a_word_nothing_is_changed(lab):
    node = lone_with_guests(lab)
    assert node.stop() == 0
    before = sorted((path.name, path.read_bytes()) for path in (node.directory / "state" / "raft").iterdir())
    said = recover(node, code=7)
    assert "3 guests" in said and "Nothing was changed" in said
    assert "not confirmed" in recover(node, "--force", code=7)
    assert "not confirmed" in recover(node, "--force", code=7, answer="yes\n")
    assert not (node.directory / "state" / "recovering").exists()
    assert before == sorted((path.name, path.read_bytes()) for path in (node.directory / "state" / "raft").iterdir())
    assert "begins anew" in recover(node, "--force", answer="node1\n")
    node.start()
    leads(node)
    assert node.guests() == ["guest0", "guest1", "guest2"]


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_lone_node_with_a_lost_log_says_the_way_out_and_it_is_one(lab, how):
    node = lone_with_guests(lab)
    assert node.stop() == 0
    if how == "damaged":
        damage(node)
    else:
        shutil.rmtree(node.directory / "state" / "raft")
    node.start()
    warning = wait_for(lambda: next((each for each in node.status()["warnings"] if "no part in consensus" in each), None), 10,
                       "the status to tell")
    assert "virtquorum recover --force" in warning
    assert node.guests() == ["guest0", "guest1", "guest2"]      # reading goes on
    code, said = node.virsh("undefine", "guest0", check=False)
    assert code != 0 and "takes no part" in said
    assert node.stop() == 0
    said = recover(node, "--force", "--yes")
    assert "The log cannot be read" in said and "LOST" in said
    assert list((node.directory / "state").glob("before-recovery-*/store/data.mdb"))
    node.start()
    assert leads(node)["standalone"]
    assert node.guests() == ["guest0", "guest1", "guest2"]
    node.define("after")
    node.kill()
    node.start()
    leads(node)
    assert "after" in node.guests()
    # It is as good as any other: others join it.
    node.ask("init", "lab", "--advertise", node.address)
    other = lab.node()
    other.join(node.token())
    lab.wait_for_equal_stores()
    assert other.guests() == node.guests()


def test_one_of_three_goes_on_when_the_others_are_lost_for_good(lab):
    nodes = lab.cluster(3)
    for number, node in enumerate(nodes):
        node.define(f"of{number + 1}")
    nodes[0].virsh("autostart", "of3")
    uuid = nodes[0].virsh("domuuid", "of1")
    wait_for(lambda: len(nodes[2].guests()) == 3, 5, "all guests at node3")
    lab.wait_for_equal_stores()
    for node in nodes:
        node.kill()
    said = recover(nodes[2], "--force", "--yes")
    assert "node3 of cluster lab: 3 guests, 2 of them on other nodes" in said and "node1, node2" in said
    assert "The log cannot be read" not in said
    nodes[2].start()
    said = leads(nodes[2])
    assert [each["name"] for each in said["nodes"]] == ["node3"] and said["quorum"] and said["votersTotal"] == 1
    assert nodes[2].guests() == ["of1", "of2", "of3"] and nodes[2].virsh("domuuid", "of1") == uuid
    assert "enable" in nodes[2].virsh("dominfo", "of3")
    nodes[2].define("after")

    # New hosts join, and make a cluster of three again.
    for _ in range(2):
        lab.node().join(nodes[2].token())
    wait_for(lambda: nodes[2].status()["votersTotal"] == 3, 20, "three voters")
    for node in lab.nodes[2:]:
        wait_for(lambda: node.guests() == ["after", "of1", "of2", "of3"], 10, f"all guests at {node.name}")
    lab.nodes[3].define("new")

    # The two old ones come back together: a majority of the cluster that was. They are told better.
    for node in nodes[:2]:
        node.start()
    for node in nodes[:2]:
        wait_for(lambda: node.status().get("standalone"), 20, f"{node.name} to stand alone")
    wait_for(lambda: nodes[0].guests() == ["of1"] and nodes[1].guests() == ["of2"], 10, "each its own guests")
    said = nodes[2].status()
    assert [each["name"] for each in said["nodes"]] == ["node3", "node4", "node5"] and said["canLose"] == 1
    assert nodes[2].guests() == ["after", "new", "of1", "of2", "of3"]
    # And they may join again, with what is theirs.
    nodes[2].virsh("undefine", "of1")
    nodes[0].join(nodes[2].token())
    wait_for(lambda: nodes[2].guests() == ["after", "new", "of1", "of2", "of3"], 10, "its guest, back again")


def test_an_old_majority_that_went_on_by_itself_is_told_better(lab):
    nodes = lab.cluster(3)
    nodes[2].kill()
    for number in range(20):
        nodes[0].define(f"late{number}")        # node3 knows nothing of these
    for node in nodes[:2]:
        node.kill()
    recover(nodes[2], "--force", "--yes")
    nodes[2].start()
    leads(nodes[2])
    assert nodes[2].guests() == []
    for node in nodes[:2]:
        node.start()
    for node in nodes[:2]:
        wait_for(lambda: node.status().get("standalone"), 20, f"{node.name} to stand alone")
    wait_for(lambda: len(nodes[0].guests()) == 20, 10, "its own guests")
    nodes[0].join(nodes[2].token())
    wait_for(lambda: len(nodes[2].guests()) == 20, 10, "them in the cluster")


@needs_failpoints
@pytest.mark.parametrize("place", ["recover.aside@1", "recover.aside@2", "recover.swapped@1", "raft.begin.snapshot@1"])
def test_a_recovery_that_dies_anywhere_is_finished_by_the_next(lab, place):
    node = lone_with_guests(lab)
    assert node.stop() == 0
    name, hit = place.split("@")
    recover(node, "--force", "--yes", code=None, failpoints=f"{name}=crash@{hit}")
    if name != "raft.begin.snapshot":
        process = subprocess.run([BUILD / "node" / "virtquorumd", "--config=/dev/null", f"--state-dir={node.directory}/state",
                                  f"--run-dir={node.directory}/run"], capture_output=True, text=True, timeout=20)
        assert process.returncode == 1 and "virtquorum recover --force" in process.stderr
        assert "was interrupted" in recover(node, "--force")
    else:
        recover(node, "--force", "--yes")
    node.start()
    leads(node)
    assert node.guests() == ["guest0", "guest1", "guest2"]
