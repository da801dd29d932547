"""A guest moves from node to node while it runs: it never loses, repeats or doubles a count, a TCP connection to it stays open,
and every node says the same about it as soon as virsh has returned.

VQ_MIGRATIONS=N: how often round over three hosts (tests/cluster/long takes 200)."""
import os
import pathlib
import re
import time

import libvirt
import pytest

import leftovers
from client import Listener, error_of
from guest import Guest, Line, Watch, read_disk
from host import wait_for
from migration import (EVENTS, PAUSED, RUNNING, SLOW, Move, check_left, following, home, job_info, move, processes, third, tls)

LIVE = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_UNSAFE
MIGRATIONS = int(os.environ.get("VQ_MIGRATIONS", "6"))
only_long = pytest.mark.skipif(MIGRATIONS < 100, reason="takes minutes: tests/cluster/long has it")


@pytest.fixture(scope="module")
def watch(hosts):
    with Watch(hosts) as made:
        yield made


@pytest.fixture(scope="module")
def web(hosts, watch):
    guest = Guest(hosts, watch, "web1", 1)
    guest.start("node1")
    return guest


@pytest.fixture
def guest(hosts, web):
    """The one guest of these tests: running before, and right after each."""
    web.revive("node1")
    yield web
    owner = home(hosts, web)
    web.wait_counting(seconds=20)
    assert web.faults() == []
    check_left(hosts, owner)


def check_shown(hosts, guest, owner, state=RUNNING):
    """Without waiting: whoever asks after virsh has returned is told the new state."""
    shown = {node: (guest.owner(node), guest.state(node)[0], hosts.virsh(node, "domid", guest.name)) for node in hosts.nodes}
    assert {entry[:2] for entry in [(tuple(owners), seen) for owners, seen, _ in shown.values()]} == {((owner,), state)}, shown
    assert len({number for *_, number in shown.values()}) == 1, shown
    return shown["node1"][2]


def test_round_and_round(hosts, watch, guest):
    line = Line(watch, guest)
    listener = Listener(hosts, "node3")
    number = hosts.virsh("node1", "domid", guest.name)
    gaps = []
    for turn in range(MIGRATIONS):
        source = home(hosts, guest)
        target = following(hosts, source)
        line.wait_answers()
        before = time.monotonic()
        move(guest, source, target)
        assert check_shown(hosts, guest, target) == number
        assert processes(hosts, guest) == [target]
        guest.wait_counting(seconds=20)
        line.wait_answers()
        gaps.append(guest.longest_silence(before))
        wait_for(lambda: len(listener.events) >= 4 * (turn + 1), 5, "all events")
    assert [(kind, detail) for _, _, kind, detail in listener.events] == EVENTS * MIGRATIONS
    listener.close()
    line.close()
    assert line.faults() == [] and guest.faults() == []
    print(f"{MIGRATIONS} migrations, longest silences in ms: {', '.join(f'{gap:.0f}' for gap in gaps)}")


def test_whichever_node_the_client_talks_to(hosts, guest):
    for via in ("source", "target"):
        source = home(hosts, guest)
        target = following(hosts, source)
        move(guest, source, target, via={"source": source, "target": target}[via])
        check_shown(hosts, guest, target)


def test_what_the_cluster_does_anyway_makes_no_difference(hosts, guest):
    source = home(hosts, guest)
    target = following(hosts, source)
    hosts.virsh("node1", "autostart", guest.name)
    move(guest, source, target, "--persistent", "--undefinesource", "--change-protection")
    check_shown(hosts, guest, target)
    assert re.search(r"Persistent:\s+yes[\s\S]*Autostart:\s+enable", hosts.virsh("node1", "dominfo", guest.name))
    hosts.virsh("node2", "autostart", guest.name, "--disable")


def test_peer_to_peer(hosts, guest):
    for target_uri in (tls, lambda node: f"{tls(third(hosts, node))}?node={node}"):
        source = home(hosts, guest)
        target = following(hosts, source)
        move(guest, source, target, "--p2p", target_uri=target_uri(target))
        check_shown(hosts, guest, target)


def test_a_paused_guest_goes_there_and_back(hosts, guest):
    source = home(hosts, guest)
    target = following(hosts, source)
    hosts.virsh("node1", "suspend", guest.name)
    for before, after in ((source, target), (target, source)):
        move(guest, before, after)
        check_shown(hosts, guest, after, PAUSED)
        assert guest.is_still()
    hosts.virsh("node2", "resume", guest.name)
    guest.wait_counting(seconds=20)


def test_another_client_cancels_it(hosts, watch, guest):
    source = home(hosts, guest)
    target = following(hosts, source)
    line = Line(watch, guest)
    moving = Move(guest, source, target, *SLOW)
    info = moving.wait_sending()
    assert info["operation"] == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT and info["memory_total"] > 64 << 20
    assert re.search(r"Job type:\s+Unbounded", hosts.virsh(target, "domjobinfo", guest.name))
    # Whatever is asked of a guest that moves is answered.
    assert guest.state(moving.third)[0] == RUNNING
    assert "<domain" in hosts.virsh(moving.third, "dumpxml", guest.name)
    hosts.virsh(moving.third, "domjobabort", guest.name)
    moving.fails("operation aborted", seconds=10)
    check_shown(hosts, guest, source)
    check_left(hosts, source)
    assert job_info(hosts, moving.third, guest).get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE
    line.wait_answers()
    line.close()
    assert line.faults() == []
    # And it can be tried again.
    move(guest, source, target)
    check_shown(hosts, guest, target)


def test_a_second_migration_is_refused_while_one_runs(hosts, guest):
    source = home(hosts, guest)
    moving = Move(guest, source, following(hosts, source), *SLOW)
    moving.wait_sending()
    Move(guest, source, moving.third, via=source).fails(seconds=40)
    assert job_info(hosts, moving.third, guest)["type"] != libvirt.VIR_DOMAIN_JOB_NONE
    hosts.virsh(moving.third, "domjobabort", guest.name)
    moving.fails("operation aborted", seconds=10)


def test_progress_is_shown_and_moves(hosts, guest):
    source = home(hosts, guest)
    moving = Move(guest, source, following(hosts, source), "--bandwidth", "16", "--verbose")
    code, text = moving.end()
    assert code == 0, text
    shown = [float(found) for found in re.findall(r"\[\s*([0-9.]+)\s*%\]", text)]
    assert len(set(shown)) >= 3 and shown == sorted(shown) and shown[-1] == 100, shown


def test_the_numbers_of_a_finished_migration_are_known(hosts, guest):
    source = home(hosts, guest)
    target = following(hosts, source)
    move(guest, source, target)
    for node in hosts.nodes:
        info = job_info(hosts, node, guest, libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
        assert info.get("type") == libvirt.VIR_DOMAIN_JOB_COMPLETED and info["downtime"] > 0 and info["memory_processed"] > 0, (node, info)


def test_the_speed_is_set_and_changed_while_it_runs(hosts, guest):
    source = home(hosts, guest)
    moving = Move(guest, source, following(hosts, source), "--bandwidth", "1")
    moving.wait_sending()
    hosts.virsh(moving.third, "migrate-setspeed", guest.name, "2")
    assert hosts.virsh(moving.source, "migrate-getspeed", guest.name) == "2"
    hosts.virsh(moving.third, "migrate-setspeed", guest.name, "500")
    moving.succeeds(30)


def test_python_moves_it(hosts, guest):
    source = home(hosts, guest)
    target = following(hosts, source)
    near, there = hosts.libvirt(source), hosts.libvirt(target)
    domain = near.lookupByName(guest.name)
    arrived = domain.migrate3(there, {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 500}, LIVE)
    assert arrived.UUIDString() == guest.uuid
    check_shown(hosts, guest, target)
    arrived.migrateToURI3(tls(source), {}, LIVE | libvirt.VIR_MIGRATE_PEER2PEER)
    check_shown(hosts, guest, source)
    domain.migrateToURI2(tls(target), None, None, LIVE | libvirt.VIR_MIGRATE_PEER2PEER, None, 0)
    check_shown(hosts, guest, target)
    error = error_of(domain.migrate3, there, {"no-such-parameter": 1}, LIVE)
    assert error.get_error_code() == libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED
    near.close()
    there.close()


def test_images_that_both_hosts_see_need_no_word_for_it(hosts, guest):
    source = home(hosts, guest)
    Move(guest, source, following(hosts, source), unsafe=False).succeeds()
    check_shown(hosts, guest, following(hosts, source))


def test_where_it_is_already_it_does_not_go(hosts, guest):
    source = home(hosts, guest)
    Move(guest, source, following(hosts, source), target_uri=tls(source)).fails()
    check_shown(hosts, guest, source)


@only_long
def test_who_dirties_faster_than_the_link(hosts, watch, guest):
    dirty = Guest(hosts, watch, "dirty", 2, memory=192, area=96)
    dirty.start("node1")
    line = Line(watch, dirty)
    try:
        line.dirty(100)
        for options, seconds in ((("--auto-converge", "--auto-converge-initial", "60", "--auto-converge-increment", "20"), 90),
                                 (("--postcopy", "--postcopy-after-precopy"), 60),
                                 (("--timeout", "4", "--timeout-suspend"), 60)):
            source = home(hosts, dirty)
            target = third(hosts, source, home(hosts, guest)) if home(hosts, guest) != source else following(hosts, source)
            moving = Move(dirty, source, target, "--bandwidth", "40", *options)
            moving.succeeds(seconds)
            print(f"{' '.join(options)}: {moving.took:.1f} s")
            check_shown(hosts, dirty, target)
            dirty.wait_counting(seconds=30)
            line.wait_answers()
        line.close()
        assert line.faults() == [] and dirty.faults() == []
    finally:
        dirty.destroy("node1")


@only_long
def test_four_guests_at_once(hosts, watch, guest):
    guests = [Guest(hosts, watch, f"many{i}", 10 + i, interval=50) for i in range(4)]
    connection = hosts.libvirt("node1")
    for each in guests:
        connection.defineXML(each.xml()).create()
    connection.close()
    try:
        for each in guests:
            each.wait_counting()
        lines = [Line(watch, each, pause=0.05) for each in guests]
        for source, target in (("node1", "node2"), ("node2", "node3")):
            for moving in [Move(each, source, target) for each in guests]:
                moving.succeeds(120)
            for each in guests:
                check_shown(hosts, each, target)
        for each, line in zip(guests, lines):
            each.wait_counting(seconds=30)
            line.wait_answers()
            line.close()
            assert each.faults() + line.faults() == []
    finally:
        for each in guests:
            each.destroy("node1")


def test_its_disk_goes_along(hosts, watch, guest):
    """The images are files of one host each, under one path."""
    path = pathlib.Path("/var/lib/libvirt/images/local.img")

    def image(node):
        return pathlib.Path(f"/proc/{hosts.pid(node)}/root{path}")
    local = Guest(hosts, watch, "local", 3, disk_mib=8, interval=50, disk=path)
    for node in ("node1", "node2"):
        image(node).parent.mkdir(parents=True, exist_ok=True)
    with open(image("node1"), "wb") as file:    # where there is none, it is made
        file.truncate(8 << 20)
    local.start("node1")
    try:
        for source, target in (("node1", "node2"), ("node2", "node1")):
            move(local, source, target, "--copy-storage-all")
            check_shown(hosts, local, target)
            local.wait_counting(seconds=30)
            assert local.faults(disk=image(target)) == []
            # What was counted here since is not on the other disk.
            assert len(read_disk(image(source))[0]) < len(read_disk(image(target))[0])
    finally:
        local.destroy("node1")
        for node in ("node1", "node2"):
            image(node).unlink(missing_ok=True)


def test_without_its_disk_it_does_not_go(hosts, watch, guest):
    path = pathlib.Path("/var/lib/libvirt/images/only-here.img")
    source = pathlib.Path(f"/proc/{hosts.pid('node1')}/root{path}")
    source.parent.mkdir(parents=True, exist_ok=True)
    with open(source, "wb") as file:
        file.truncate(8 << 20)
    local = Guest(hosts, watch, "only-here", 3, disk=path)
    local.start("node1")
    try:
        Move(local, "node1", "node2").fails("only-here.img")
        check_shown(hosts, local, "node1")
        local.wait_counting(seconds=10)
    finally:
        local.destroy("node1")
        source.unlink()


def test_at_last_nothing_is_left(hosts, web):
    web.destroy("node2")
    for node in hosts.nodes:
        wait_for(lambda: not leftovers.at_rest(hosts, node), 5, f"nothing left: {leftovers.at_rest(hosts, node)}")
