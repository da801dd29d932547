"""Random daemons are killed at random moments under load; after each kill all stores agree and every guest is where it
should be. VQ_KILLS says how often; VQ_SEED repeats a run's choices."""
import os
import random
import time

import libvirt

import leftovers
from client import Writer, definitions, record_final_state
from history import History
from host import Hosts, guest_xml, wait_for

# Whether they agree is asked here; how soon, test_failures.py asks. libraft reads a log of some ten thousand entries entry by entry
# into arrays that grow: a matter of milliseconds, but of seconds of processor time under the address sanitizer, and of a minute when
# the machine has others to serve.
AGREE_S = 120
KILLS = int(os.environ.get("VQ_KILLS", "10"))
SEED = int(os.environ.get("VQ_SEED") or random.randrange(1 << 31))


def views(hosts):
    shown = {}
    for node in hosts.nodes:
        connection = hosts.libvirt(node)
        shown[node] = (definitions(connection),
                       {domain.name(): (domain.ID(), domain.state()[0]) for domain in connection.listAllDomains()})
        connection.close()
    return shown


def agree(hosts):
    try:
        shown = list(views(hosts).values())
    except libvirt.libvirtError:
        return False        # a domain vanished between two calls: the writers are at work
    return all(view == shown[0] for view in shown)


def check_guests(hosts, guests):
    for name, (node, pid) in guests.items():
        assert pid in leftovers.qemus_of(hosts, node), f"{name} is not on {node} any more"
        for other in hosts.nodes:
            assert hosts.virsh(other, "domstate", name) == "running", f"{name} as {other} sees it"
    for node in hosts.nodes:
        assert leftovers.while_running(hosts, node) == []
    assert leftovers.twice(hosts) == []


def churn(hosts, node):
    """A guest that starts and stops all the time: kills meet it half-started and half-stopped."""
    name = f"churn-{node}"
    try:
        connection = hosts.libvirt(node)
        domain = connection.lookupByName(name)
        (domain.destroy if domain.isActive() else domain.create)()
        connection.close()
    except libvirt.libvirtError:
        pass                # its daemon may just have been killed


def test_kills_at_random_moments_under_load():
    choose = random.Random(SEED)
    print(f"VQ_SEED={SEED} VQ_KILLS={KILLS}")
    with Hosts("kills", 3) as hosts:
        record, guests = History(), {}
        for node in hosts.nodes:
            connection = hosts.libvirt(node)
            connection.defineXML(guest_xml(f"steady-{node}")).create()
            (pid, _), = leftovers.qemus_of(hosts, node).items()
            guests[f"steady-{node}"] = (node, pid)
            connection.defineXML(guest_xml(f"churn-{node}", memory="96"))
            connection.close()
        for turn in range(KILLS):
            # Names of their own for each turn keep the histories short enough to be searched.
            names = [f"turn{turn}-{i}" for i in range(4)]
            writers = [Writer(hosts, node, record, names, pause=0.005) for node in hosts.nodes]
            for writer in writers:
                writer.start()
            victim = choose.choice(hosts.nodes)
            churn(hosts, victim)
            time.sleep(choose.random() * 0.5)
            hosts.kill(victim)
            time.sleep(choose.random() * 0.5)
            hosts.restart(victim)
            for writer in writers:
                writer.stop()
            wait_for(lambda: agree(hosts), AGREE_S, f"turn {turn}: all nodes showing the same")
            check_guests(hosts, guests)
            record_final_state(hosts, record, names)
            assert record.check() == [], f"turn {turn}, VQ_SEED={SEED}"
            record = History()
        clear(hosts)
        for node in hosts.nodes:
            assert leftovers.at_rest(hosts, node) == []


def clear(hosts):
    connection = hosts.libvirt("node1")
    for domain in connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    connection.close()
