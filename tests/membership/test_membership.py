"""How hosts become nodes and stop being nodes."""
import json
import os
import shutil
import subprocess
import time

import pytest

from daemons import wait_for

needs_failpoints = pytest.mark.skipif(os.environ.get("VQ_HAS_FAILPOINTS", "ON") != "ON", reason="built without failure points")


def test_a_lone_daemon_opens_no_port(lab):
    node = lab.node()
    wait_for(lambda: node.status()["leader"] == "node1", 5, "a lone node to lead itself")
    said = node.status()
    assert said["standalone"] and said["apiVersion"] == "virtquorum/v1" and said["cluster"] is None
    sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout
    assert f"pid={node.process.pid}," not in sockets
    node.ask("leave")                      # says so
    assert "virtquorum init" in node.ask("token", code=1)
    assert node.stop() == 0


def test_init_twice_is_one_cluster(lab):
    node = lab.node()
    assert "cluster lab created, this host is node1" in node.ask("init", "lab", "--advertise", node.address)
    assert "already" in node.ask("init")
    assert "already" in node.ask("init", "lab")
    assert "leave first" in node.ask("init", "other", code=7)
    node.kill()
    node.start()
    wait_for(lambda: node.status()["cluster"] == "lab" and node.status()["quorum"], 10, "the cluster after a restart")
    node.ask("init", "a/b", code=7)        # it is a member: the name is not even looked at
    other = lab.node()
    assert "cannot be the name of a cluster" in other.ask("init", "a/b", code=2)
    assert "not a numeric address" in other.ask("init", "--advertise", "[nowhere]:1", code=2)
    assert other.status()["standalone"]


def test_three_hosts_become_one_cluster(lab):
    nodes = lab.cluster(3)
    lab.wait_for_equal_stores()
    for node in nodes:
        said = node.status()
        assert said["quorum"] and said["canLose"] == 1 and [each["name"] for each in said["nodes"]] == ["node1", "node2", "node3"]
        assert all(each["state"] == "online" for each in said["nodes"])
    assert nodes[1].ask("nodes", "-o", "name").split() == ["node1", "node2", "node3"]
    assert "lab: healthy, 3 nodes" in nodes[2].ask("status")
    assert "already" in nodes[2].join(nodes[0].token())
    for node in nodes:
        assert node.stop() == 0


def test_a_dry_run_and_failed_checks_change_nothing(lab):
    first, second = lab.cluster(1)[0], lab.node()
    assert "nothing was changed" in second.join(first.token(), "--dry-run")
    assert second.status()["standalone"]
    first.define("web")
    second.define("web")
    said = second.join(first.token(), code=7)
    assert "guests" in said and "'web' is taken" in said and "clock" in said and "Nothing was changed" in said
    assert "'node1' is another node" in second.join(first.token(), "--name", "node1", code=7)
    assert second.status()["standalone"] and second.guests() == ["web"]
    second.virsh("undefine", "web")
    second.join(first.token())


def test_a_token_is_good_once_and_not_for_ever(lab):
    first, second, third = lab.cluster(1)[0], lab.node(), lab.node()
    short = first.token("--ttl", "1s")
    used = first.token()
    second.join(used)
    time.sleep(1.1)
    assert "expired" in third.join(short, code=6)
    assert "used already" in third.join(used, code=6)
    assert "damaged" in third.join(used[:-6], code=2)
    assert "no token" in third.join("hello", code=2)
    assert third.status()["standalone"]
    # Of another cluster with the same address: the authority is not the one that the token names.
    first.kill()
    other = lab.node()
    other.port = first.port
    other.kill()
    other.start()
    other.ask("init", "lab", "--advertise", first.address)
    code, said = third.ask("join", used, "--advertise", third.address, code=None)
    assert code in (5, 6), said
    assert third.status()["standalone"]


OLD_RELEASE = "cluster.level=error"


@needs_failpoints
def test_what_an_older_member_does_not_know_is_refused(lab):
    first, second = lab.cluster(1)[0], lab.node()
    assert first.status()["featureLevel"] == 2
    # The cluster may have used what an older host does not know.
    old = lab.node(failpoints=OLD_RELEASE)
    said = old.join(first.token(), code=7)
    assert "has level 1, the cluster has 2: upgrade the new host first" in said and old.status()["standalone"]
    second.join(first.token())
    # A member that went back to an older release holds the others to what it knows.
    second.kill()
    second.start(failpoints=OLD_RELEASE)
    wait_for(lambda: first.status()["featureLevel"] == 1, 10, "the level of the older release")
    assert [node["featureLevel"] for node in first.status()["nodes"]] == [2, 1]
    assert "node2 has feature level 1" in first.ask("status") and "LEVEL" in first.ask("nodes", "-o", "wide")
    code, said = first.ask("drain", "node2", code=None)
    assert code != 0 and "which does not know this change (it has feature level 1, 2 is needed): upgrade it first" in said
    first.define("web")                    # every release knows that
    old.join(first.token())                # and this one may come now: nobody uses more than it knows
    for node in (second, old):
        node.kill()
        node.start()
    wait_for(lambda: first.status()["featureLevel"] == 2, 10, "all to be upgraded")
    first.ask("drain", "node2")
    assert "feature level" not in first.ask("status")


def test_the_leader_dies_and_comes_back(lab):
    lab.cluster(3)
    leader = lab.leader()
    leader.kill()
    others = [node for node in lab.nodes if node is not leader]
    begin = time.monotonic()
    others[0].token()
    assert time.monotonic() - begin < 3
    others[1].token()
    assert "not reachable since" in others[0].ask("status")
    leader.start()
    lab.wait_for_equal_stores()


def test_without_a_majority_changes_are_refused_at_once(lab):
    nodes = lab.cluster(3)
    nodes[1].kill()
    nodes[2].kill()
    for _ in range(3):
        begin = time.monotonic()
        code, said = nodes[0].ask("token", code=None)
        assert time.monotonic() - begin < 2
        assert code != 0
    assert code == 4 and "1 of 3 voters reachable (missing: node2 since" in said and "node3 since" in said
    said = nodes[0].ask("status", "--why", code=4)
    assert "NO QUORUM" in said and "Still working" in said
    nodes[1].start()
    wait_for(lambda: nodes[0].ask("token", code=None)[0] == 0, 5, "changes after healing")


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_node_leaves_and_comes_again(lab, who):
    lab.cluster(3)
    leader = lab.leader()
    node = leader if who == "leader" else next(each for each in lab.nodes if each is not leader)
    others = [each for each in lab.nodes if each is not node]
    others[0].define("theirs")
    begin = time.monotonic()
    node.ask("leave")
    assert time.monotonic() - begin < 6
    assert node.status()["standalone"] and node.guests() == []
    wait_for(lambda: [each["name"] for each in others[0].status()["nodes"]] == [each.name for each in others], 5, "the table")
    others[1].token()
    node.join(others[0].token())
    wait_for(lambda: node.guests() == ["theirs"], 5, "the cluster's guests")


def test_a_removed_node_stands_alone_with_its_guests(lab):
    nodes = lab.cluster(3)
    nodes[2].define("mine")
    assert "guests belong to node3 (1)" in nodes[0].ask("remove", "node3", code=7)
    nodes[0].ask("remove", "node9", code=3)
    nodes[0].ask("remove", "node1", code=7)
    nodes[0].ask("remove", "node3", "--force")
    wait_for(lambda: nodes[2].status().get("standalone"), 10, "the removed node to stand alone")
    wait_for(lambda: nodes[2].guests() == ["mine"], 10, "its guests")
    assert nodes[0].guests() == ["mine"]
    nodes[0].virsh("undefine", "mine")
    assert "no node 'node3'" in nodes[0].ask("remove", "node3", code=3)


def test_a_node_that_was_removed_while_it_was_down_is_not_let_in(lab):
    nodes = lab.cluster(3)
    nodes[2].define("mine")
    nodes[2].kill()
    nodes[0].ask("remove", "node3", "--force")
    wait_for(lambda: lab.voters() == 1, 10, "one voter")
    nodes[0].virsh("undefine", "mine")
    nodes[2].start()
    # The others tell it, and it needs no hand: it stands alone with its guests.
    wait_for(lambda: nodes[2].status().get("standalone"), 10, "the removed node to stand alone")
    assert all(each["name"] != "node3" for each in nodes[0].status()["nodes"])
    wait_for(lambda: nodes[2].guests() == ["mine"], 10, "its guests")
    nodes[2].join(nodes[0].token())
    wait_for(lambda: nodes[0].guests() == ["mine"], 10, "its guests, back in the cluster")


def test_settings_hold_for_the_whole_cluster(lab):
    nodes = lab.cluster(3)
    assert nodes[0].ask("get", "voters").strip() == "3"
    shown = json.loads(nodes[1].ask("get", "-o", "json"))
    assert {each["name"]: each["isDefault"] for each in shown["settings"]} == {
        "token-ttl": True, "voter-replace-after": True, "voters": True}
    assert "there is no setting 'colour'" in nodes[0].ask("get", "colour", code=3)
    assert "there is no setting 'cluster.id'" in nodes[0].ask("set", "cluster.id", "x", code=3)
    assert "'4' is no value of voters: 1, 3 or 5" in nodes[0].ask("set", "voters", "4", code=2)

    assert "voters is 1 now" in nodes[1].ask("set", "voters", "1")
    for node in nodes:
        wait_for(lambda: node.ask("get", "voters").strip() == "1", 5, f"the setting at {node.name}")
    wait_for(lambda: lab.voters() == 1, 20, "one voter")
    nodes[2].ask("set", "token-ttl", "1s")
    token = nodes[2].token()
    time.sleep(1.1)
    assert "expired" in lab.node().join(token, code=6)
    assert "3 now, the default" in nodes[1].ask("set", "voters", "default")
    wait_for(lambda: lab.voters() == 3, 20, "three voters")


def test_guests_are_listed_with_state_node_and_id(lab):
    nodes = lab.cluster(3)
    nodes[1].define("web")
    nodes[1].define("mail")
    nodes[1].virsh("start", "web")
    identity = int(nodes[1].virsh("domid", "web"))

    def listed(node, *arguments):
        said = json.loads(node.ask("guests", "-o", "json", *arguments))
        assert said["apiVersion"] == "virtquorum/v1"
        return {each["name"]: (each["state"], each["node"], each["id"], each["nodeOnline"]) for each in said["guests"]}
    wanted = {"mail": ("shut off", "node2", None, True), "web": ("running", "node2", identity, True)}
    for node in nodes:
        wait_for(lambda: listed(node) == wanted, 5, f"both guests as {node.name} sees them")
    assert listed(nodes[0], "--node", "node1") == {} and listed(nodes[0], "--node", "node2") == wanted
    assert "there is no node 'node9'" in nodes[0].ask("guests", "--node", "node9", code=3)
    assert nodes[0].ask("guests", "-o", "name").split() == ["mail", "web"]
    shown = nodes[0].ask("guests")
    assert shown.split("\n")[0].split() == ["NAME", "STATE", "NODE", "ID"] and "web  running" in shown
    assert nodes[1].virsh("domuuid", "web") in nodes[0].ask("guests", "-o", "wide")

    # Of a node that is gone nothing is known, and nothing is counted as running.
    nodes[1].kill()
    wait_for(lambda: listed(nodes[0])["web"] == ("no state", "node2", identity, False), 10, "an unknown guest")
    said = nodes[0].status()
    assert said["domains"] == 2 and said["domainsRunning"] == 0 and said["domainsUnknown"] == 1
    shown = nodes[0].ask("status")
    assert "2 guests (0 running, 1 unknown)" in shown and "?/2" in shown and "1 guests unknown" in shown
    nodes[1].start()
    wait_for(lambda: listed(nodes[0]) == wanted, 10, "it is known again")
    nodes[1].virsh("destroy", "web")


def test_where_a_node_is_in_the_log_makes_sense(lab):
    nodes = lab.cluster(3)
    for i in range(40):
        nodes[i % 3].define(f"guest{i}")
        said = nodes[i % 3].status()
        assert said["appliedIndex"] <= said["commitIndex"] <= said["lastIndex"]
    shown = nodes[0].ask("status", "--local")
    said = nodes[0].status("--local")
    assert f"State after change {said['appliedIndex']}: hash {said['stateHash']}" in shown


def test_a_voter_that_lost_its_log_counts_as_missing_until_it_joins_anew(lab):
    nodes = lab.cluster(3)
    nodes[2].define("mine")
    nodes[2].kill()
    shutil.rmtree(nodes[2].directory / "state" / "raft")
    nodes[2].start()

    def told(said):
        node = next(each for each in said["nodes"] if each["name"] == "node3")
        return node["state"] == "online" and node["consensusStopped"]
    for node in nodes:
        wait_for(lambda: told(node.status()), 10, f"{node.name} to know of it")
    said = nodes[0].status()
    assert said["quorum"] and said["votersReachable"] == 2 and said["canLose"] == 0
    warning = next(each for each in said["warnings"] if each.startswith("node3 takes no part in consensus"))
    assert "is gone" in warning and "virtquorum remove node3 --force" in warning
    shown = nodes[1].ask("status")
    assert "degraded, 1 of 3 nodes takes no part in consensus" in shown and "no part" in shown
    # The node itself refuses at once and says why.
    begin = time.monotonic()
    said = nodes[2].ask("token", code=1)
    assert time.monotonic() - begin < 2 and "this node takes no part in the cluster: the log in" in said
    # The other two make no majority with it.
    nodes[1].kill()
    said = wait_for(lambda: not nodes[0].status()["quorum"] and nodes[0].ask("token", code=None)[1], 5, "the quorum to be lost")
    assert "1 of 3 voters reachable" in said and "node3 takes no part since" in said and "node2 since" in said
    nodes[1].start()
    wait_for(lambda: nodes[0].status()["quorum"], 10, "the quorum")
    # And the way out that was named is one.
    nodes[0].ask("remove", "node3", "--force")
    wait_for(lambda: nodes[2].status().get("standalone"), 10, "node3 to stand alone")
    wait_for(lambda: nodes[2].guests() == ["mine"], 10, "its guests")
    nodes[0].virsh("undefine", "mine")
    nodes[2].join(nodes[0].token())
    wait_for(lambda: lab.voters() == 3 and nodes[0].status()["canLose"] == 1, 10, "three voters again")
    assert nodes[0].guests() == ["mine"]


def test_guests_come_along(lab):
    first, second = lab.cluster(1)[0], lab.node()
    first.define("a")
    for name in ("b", "c"):
        second.define(name)
    second.virsh("autostart", "c")
    second.virsh("start", "b")
    shown = second.virsh("list")
    second.join(first.token())
    wait_for(lambda: first.guests() == ["a", "b", "c"], 10, "all guests on the first node")
    assert "enable" in first.virsh("dominfo", "c")
    wait_for(lambda: first.virsh("domstate", "b") == "running", 10, "the guest's state")
    assert second.virsh("list") == shown
    lab.wait_for_equal_stores()
    second.ask("leave", code=7)
    second.ask("leave", "--force")
    wait_for(lambda: second.guests() == ["b", "c"] and second.virsh("domstate", "b") == "running", 10, "own guests")
    assert second.virsh("list") == shown
    wait_for(lambda: first.virsh("list", "--name") == "", 10, "the guest that went along to be no longer active there")
    first.virsh("undefine", "b")
    assert first.guests() == ["a", "c"]
    second.virsh("destroy", "b")


@needs_failpoints
@pytest.mark.parametrize("place", ["join.recorded", "move.recorded", "move.log_aside", "move.store_reset", "move.saved"])
def test_a_join_that_dies_anywhere_is_finished_or_can_be_repeated(lab, place):
    first = lab.cluster(1)[0]
    second = lab.node(failpoints=f"{place}=crash@1")
    second.define("mine")
    token = first.token()
    code, said = second.ask("join", token, "--advertise", second.address, code=None)
    assert code != 0 and second.process.wait(timeout=10) != 0, said
    second.start()
    if place == "join.recorded":
        assert second.guests() == ["mine"] and second.status()["standalone"]
        second.join(token)                 # the same token, by the same host
    wait_for(lambda: second.status().get("cluster") == "lab" and second.status()["quorum"], 10, "membership")
    wait_for(lambda: first.guests() == ["mine"] and second.guests() == ["mine"], 10, "its guest")
    lab.wait_for_equal_stores()
    assert [each["name"] for each in first.status()["nodes"]] == ["node1", "node2"]


@needs_failpoints
@pytest.mark.parametrize("place", ["init.recorded", "init.saved"])
def test_an_init_that_dies_anywhere_is_finished_or_can_be_repeated(lab, place):
    node = lab.node(failpoints=f"{place}=crash@1")
    node.ask("init", "lab", "--advertise", node.address, code=None)
    assert node.process.wait(timeout=10) != 0
    node.start()
    time.sleep(1.5)
    node.ask("init", "lab", "--advertise", node.address)
    other = lab.node()
    other.join(node.token())
    lab.wait_for_equal_stores()


def expiry(node, name):
    return next(each["certificateExpires"] for each in node.status()["nodes"] if each["name"] == name)


def key_of(node):
    """Which certificate its port shows; none while it is busy."""
    return wait_for(lambda: shown_key(node), 10, f"the certificate of {node.name}")


def shown_key(node):
    said = subprocess.run(["gnutls-cli", "--insecure", "--print-cert", "--alpn", "vq-mesh", "-p", str(node.port), "127.0.0.1"],
                          input="", capture_output=True, text=True, timeout=20).stdout
    return next((line for line in said.splitlines() if "Public Key ID" in line or "pin-sha256" in line), None)


def test_a_certificate_is_renewed_without_losing_a_connection(lab):
    nodes = lab.cluster(3)
    before, online = key_of(nodes[1]), nodes[0].status()
    time.sleep(1.1)                        # dates of certificates have seconds
    assert "node2 has a new certificate, good until" in nodes[0].ask("cert", "renew", "node2")
    assert key_of(nodes[1]) != before
    assert "node1 has a new certificate" in nodes[0].ask("cert", "renew")
    wait_for(lambda: expiry(nodes[2], "node2") > next(each["certificateExpires"] for each in online["nodes"] if each["name"] == "node2"),
             10, "the table to have it")
    for number in range(20):
        nodes[number % 3].define(f"web{number}")
    assert "offline" not in nodes[0].ask("status") and "→" not in nodes[0].ask("status")
    logs = [(node.directory / "log").read_text() for node in nodes]
    assert not any("mesh.offline" in log for log in logs), "a connection between nodes was lost"
    for node in nodes:                     # and it is the certificate that it begins with the next time
        node.kill()
        node.start()
    lab.wait_for_equal_stores()
    assert "there is no node 'node9'" in nodes[0].ask("cert", "renew", "node9", code=3)
    nodes[2].kill()
    wait_for(lambda: "node3 is not reachable" in nodes[0].ask("status", code=None)[1], 10, "the loss to be seen")
    nodes[0].ask("cert", "renew", "node3", code=5)
    nodes[0].ask("cert", "sign", code=2)


@needs_failpoints
def test_a_certificate_that_is_due_is_renewed_by_itself_or_status_says_why_not(lab):
    first, second = lab.cluster(1)[0], lab.node()
    second.join(first.token())
    before = key_of(second)
    second.kill()
    second.start(failpoints="cluster.certificate.due=error")
    wait_for(lambda: key_of(second) != before, 10, "a new certificate")
    second.kill()
    second.start(failpoints="cluster.certificate.due=error cluster.certificate.sign=error")
    wait_for(lambda: "renewal failed: failure point cluster.certificate.sign → virtquorum cert renew node2" in first.ask("status", code=None)[1],
             10, "the other node to tell of it")
    assert "failure point" in first.ask("cert", "renew", "node2", code=1)
    second.kill()
    second.start()
    wait_for(lambda: "renewal failed" not in first.ask("status", code=None)[1], 10, "the problem to be over")


def test_errors_have_numbers(lab):
    node = lab.node()
    assert "error VQ-0201: this host is in no cluster yet" in node.ask("token", code=1)
    assert "error VQ-0101: there is no command 'frob'" in node.ask("frob", code=2)
    assert "error VQ-0306: " in node.join("hello", code=2)
    node.kill()
    assert "error VQ-0103: virtquorumd does not answer" in node.ask("status", code=5)


def off_and_removed(lab, node):
    node.kill()
    other = next(each for each in lab.nodes if each.process.poll() is None)
    wait_for(lambda: f"{node.name} is not reachable" in other.ask("status", code=None)[1], 10, "the loss to be seen")
    other.ask("remove", node.name, "--force")
    wait_for(lambda: len(other.status()["nodes"]) == len(lab.nodes) - 1, 10, "it to be gone")


def owners(node):
    said = json.loads(node.ask("guests", "-o", "json"))
    return {guest["name"]: guest["node"] for guest in said["guests"]}


def test_what_a_removed_node_has_left_is_taken_over(lab):
    first, second, third = lab.cluster(3)
    first.define("mine")
    third.define("web")
    third.define("db")
    assert "error VQ-0408: 'web' belongs to node3, which is here: virtquorum migrate --offline web node1" in first.ask("takeover", "web", code=7)
    assert "belongs to this node already" in first.ask("takeover", "mine", code=7)
    assert "error VQ-0401" in first.ask("takeover", "nothing", code=3)
    assert "wants the name of a guest, or --all" in first.ask("takeover", code=2)
    third.kill()
    wait_for(lambda: "node3 is not reachable" in first.ask("status", code=None)[1], 10, "the loss to be seen")
    said = first.ask("takeover", "web", "--force", code=7)
    assert "no proof that it has stopped" in said and "virtquorum remove node3 --force" in said
    assert owners(first)["web"] == "node3"
    off_and_removed(lab, third)
    wait_for(lambda: first.ask("takeover", "web", code=None)[0] == 0, 10, "web to be taken over")
    assert "1 guest taken over: db" in second.ask("takeover", "--all")
    assert "0 guests taken over" in second.ask("takeover", "--all")
    assert owners(second) == {"mine": "node1", "web": "node1", "db": "node2"}
    second.virsh("undefine", "db")


def test_a_removed_node_that_is_up_keeps_its_guests(lab):
    first, second, third = lab.cluster(3)
    third.define("web")
    first.ask("remove", "node3", "--force")
    wait_for(lambda: third.status().get("standalone"), 20, "it to stand alone")
    wait_for(lambda: third.guests() == ["web"], 10, "its guest to have come along")
    said = wait_for(lambda: (lambda text: "it stands alone, and may run it" in text and text)(first.ask("takeover", "web", code=7)), 10,
                    "it to be known that it is up")
    assert "VQ-0408" in said
    first.kill()
    first.start()           # and that is not forgotten
    wait_for(lambda: "may run it" in first.ask("takeover", "web", code=None)[1], 10, "the memory of it")
    third.kill()            # the operator has seen to it
    assert "1 guest taken over: web" in first.ask("takeover", "web", "--force")
