"""Guests that change their host: how it is asked for, and what must hold when it is over."""
import os
import signal
import subprocess
import time

import libvirt

import leftovers
from host import wait_for

RUNNING, PAUSED, SHUTOFF = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_SHUTOFF
# What a listener hears of one migration, in this order.
EVENTS = [("suspended", libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED), ("stopped", libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED),
          ("started", libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED), ("resumed", libvirt.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)]
SLOW = ("--bandwidth", "2")             # MiB/s: half a minute for the smallest guest


def tls(node):
    return f"qemu+tls://{node}/system"


def third(hosts, *others):
    """A node that is none of these; with a cluster of three, the one that is not concerned."""
    return next(node for node in hosts.nodes if node not in others)


def following(hosts, node):
    return hosts.nodes[(hosts.nodes.index(node) + 1) % len(hosts.nodes)]


class Move:
    """virsh migrate, as a process; the connection to the source is to a node that is not concerned, unless said otherwise.

    The images are shared by all test hosts, which nodes see by themselves; libvirtd cannot know it: hence --unsafe."""

    def __init__(self, guest, source, target, *options, via=None, target_uri=None, unsafe=True):
        self.guest, self.hosts, self.source, self.target = guest, guest.hosts, source, target
        self.third = third(self.hosts, source, target)
        self.begin = time.monotonic()
        self.process = self.hosts.popen(self.third, "virsh", "-q", "-c", tls(via or self.third), "migrate", "--live", guest.name,
                                        target_uri or tls(target), *(["--unsafe"] if unsafe else []), *options, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)

    def end(self, seconds=60):
        """(exit code, what it said); it must end in time."""
        try:
            text = self.process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"virsh migrate {self.source} {self.target} does not end within {seconds} s") from None
        self.took = time.monotonic() - self.begin
        return self.process.returncode, text.strip()

    def succeeds(self, seconds=60):
        code, text = self.end(seconds)
        assert code == 0, text
        return self

    def fails(self, *words, seconds=60):
        code, text = self.end(seconds)
        assert code != 0, "the migration was to fail"
        for word in words:
            assert word in text, text
        return text

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def wait_sending(self, mib=1, seconds=20):
        """Until so much has been sent, as a node that is not concerned tells; the migration still runs then."""
        def sent():
            assert self.process.poll() is None, f"it is over already: {self.end()}"
            info = job_info(self.hosts, self.third, self.guest)
            return info if info.get("memory_processed", 0) >= mib << 20 else None
        return wait_for(sent, seconds, f"{mib} MiB sent")


def job_info(hosts, node, guest, flags=0):
    connection = hosts.libvirt(node)
    try:
        return connection.lookupByUUIDString(guest.uuid).jobStats(flags)
    except libvirt.libvirtError:
        return {}
    finally:
        connection.close()


def move(guest, source, target, *options, seconds=60, **how):
    return Move(guest, source, target, *options, **how).succeeds(seconds)


def processes(hosts, guest):
    """The nodes on which a QEMU of the guest is, one entry for each."""
    return [node for node in hosts.nodes for command in leftovers.qemus_of(hosts, node).values() if guest.uuid in command]


def home(hosts, guest, seconds=30):
    """The node that has the guest, once all nodes agree on it and on its state, and no QEMU of it is anywhere else."""
    last = {}

    def agreed():
        try:
            shown = {node: (guest.owner(node), guest.state(node)) for node in hosts.nodes}
        except AssertionError as error:
            shown = {"none": (str(error), None)}        # a node that does not answer yet
        last.update(shown=shown, processes=processes(hosts, guest))
        owners, state = next(iter(shown.values()))
        if any(other != (owners, state) for other in shown.values()) or len(owners) != 1 or state is None:
            return None
        lives = state[0] in (RUNNING, PAUSED)
        return owners[0] if last["processes"] == (owners if lives else []) else None
    try:
        return wait_for(agreed, seconds, f"all nodes agreeing on {guest.name}")
    except AssertionError as error:
        raise AssertionError(f"{error}; last: {last}") from None


def left_elsewhere(hosts, owner):
    """What is left on the nodes that do not have the guest, which must be the only one of these hosts."""
    return [fault for node in hosts.nodes for fault in (leftovers.while_running if node == owner else leftovers.at_rest)(hosts, node)]


def check_left(hosts, owner, seconds=10):
    wait_for(lambda: not left_elsewhere(hosts, owner), seconds, f"nothing left: {left_elsewhere(hosts, owner)}")


def kill_qemu(hosts, node, guest):
    (pid,) = [pid for pid, command in leftovers.qemus_of(hosts, node).items() if guest.uuid in command]
    hosts.exec(node, "kill", "-9", pid)
