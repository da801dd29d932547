"""What the cluster tests do as clients: events, loops of calls that go into a History, consoles."""
import os
import pty
import select
import signal
import subprocess
import threading
import time
import uuid as uuids
from xml.etree import ElementTree

import libvirt

import history
from host import small_xml, wait_for

KINDS = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined", libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started", libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended", libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
}

_loop = None


def event_loop():
    """libvirt's own default event loop, on a thread of its own; it must be there before a connection is opened."""
    global _loop
    if _loop is None:
        libvirt.virEventRegisterDefaultImpl()
        _loop = threading.Thread(target=_run_events, daemon=True)
        _loop.start()


def _run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


class Listener:
    """Lifecycle events of one node, as (name, uuid, kind, detail)."""

    def __init__(self, hosts, node, record=None):
        event_loop()
        self.node, self.record, self.events = node, record, []
        self.arrived = threading.Condition()
        self.connection = hosts.libvirt(node)
        self.callback = self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)

    def _lifecycle(self, connection, domain, event, detail, opaque):
        kind = KINDS.get(event)
        if kind is None:
            return
        if self.record is not None:
            self.record.event(self.node, domain.UUIDString(), kind)
        with self.arrived:
            self.events.append((domain.name(), domain.UUIDString(), kind, detail))
            self.arrived.notify_all()

    def kinds(self, name):
        return [kind for found, _, kind, _ in self.events if found == name]

    def wait(self, name, kinds, seconds=10):
        """Until exactly these kinds have come for the name, in this order."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.kinds(name)) >= len(kinds), seconds)
        assert self.kinds(name) == kinds, f"{self.node} was told of {name}: {self.kinds(name)}, not {kinds}"

    def close(self):
        self.connection.domainEventDeregisterAny(self.callback)
        self.connection.close()


def leader_of(hosts):
    """The node that the others call their leader, once they agree."""
    def agreed():
        said = set()
        for node in hosts.nodes:
            try:
                said.add(hosts.status(node).get("leader"))
            except (ValueError, AssertionError):
                pass        # a daemon that is down says nothing
        return said.pop() if len(said) == 1 else None
    return wait_for(agreed, 10, "one leader")


def error_of(call, *arguments):
    """The libvirtError that a call must raise."""
    try:
        call(*arguments)
    except libvirt.libvirtError as error:
        return error
    raise AssertionError(f"{call.__name__} was accepted")


# The connection broke or the daemon gave up waiting: whether the change was made is not known.
UNKNOWN_CODES = {libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_INVALID_CONN,
                 libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_NO_CONNECT}


class Writer(threading.Thread):
    """Defines, redefines and undefines through one node until told to stop; goes on after a lost connection."""

    def __init__(self, hosts, node, record, names, keep=False, pause=0.0):
        super().__init__(daemon=True)
        self.hosts, self.node, self.record, self.names, self.keep, self.pause = hosts, node, record, names, keep, pause
        self.stopping = threading.Event()
        self.acknowledged = []      # times
        self.refusals = []
        self.connection = None
        self.revision = 0

    def run(self):
        turn = 0
        while not self.stopping.is_set():
            name = self.names(turn) if callable(self.names) else self.names[turn % len(self.names)]
            turn += 1
            try:
                if self.connection is None:
                    self.connection = self.hosts.libvirt(self.node)
            except (libvirt.libvirtError, OSError, ValueError):
                time.sleep(0.05)
                continue
            self.define(name)
            if not self.keep and turn % 3 == 0 and self.connection is not None:
                self.undefine(name)
            if self.pause:
                time.sleep(self.pause)

    def define(self, name):
        self.revision += 1
        # One UUID for each name and node: redefinitions of one's own are right, those of another node's clash.
        uuid = str(uuids.uuid5(uuids.NAMESPACE_DNS, f"{self.node}/{name}"))
        value = (uuid, f"{self.node}-{self.revision}")
        call = self.record.begin(self.node, "define", name, value)
        self.finish(call, lambda: self.connection.defineXML(small_xml(name, uuid, description=value[1])), libvirt.VIR_ERR_OPERATION_FAILED)

    def undefine(self, name):
        call = self.record.begin(self.node, "undefine", name)
        self.finish(call, lambda: self.connection.lookupByName(name).undefine(), libvirt.VIR_ERR_NO_DOMAIN)

    def finish(self, call, action, refusal):
        try:
            action()
        except libvirt.libvirtError as error:
            code, text = error.get_error_code(), str(error)
            if code == refusal and (call.verb == "undefine" or "already exists" in text):
                self.record.end(call, history.REFUSED)
            else:
                # Also "no quorum": the change was perhaps already on its way.
                self.record.end(call, history.UNKNOWN)
                self.refusals.append(text)
                if code in UNKNOWN_CODES:
                    self.drop()
                time.sleep(0.02)
            return
        self.record.end(call, history.OK)
        self.acknowledged.append(time.monotonic())

    def drop(self):
        connection, self.connection = self.connection, None
        try:
            if connection is not None:
                connection.close()
        except libvirt.libvirtError:
            pass

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), f"the client of {self.node} waits for an answer without end"
        self.drop()


def definitions(connection):
    """name -> (uuid, revision), as one node shows them."""
    found = {}
    for domain in connection.listAllDomains(0):
        root = ElementTree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        found[domain.name()] = (domain.UUIDString(), root.findtext("description") or "")
    return found


def record_final_state(hosts, record, names):
    """What every node shows at the end; the views must be equal, or the checker hears of both."""
    for node in hosts.nodes:
        connection = hosts.libvirt(node)
        shown = definitions(connection)
        connection.close()
        for name in names:
            record.saw(f"final-{node}", name, shown.get(name), is_final=True)


class Console:
    """virsh console on a terminal of its own."""

    def __init__(self, hosts, node, domain, uri="qemu:///system"):
        master, slave = pty.openpty()
        self.process = hosts.popen(node, "setsid", "-c", "virsh", "-c", uri, "console", "--force", domain, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.master, self.text = master, ""

    def expect(self, word, seconds=120, press=None):
        deadline = time.monotonic() + seconds
        while word not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"console: no {word!r} within {seconds} s, but {self.text[-500:]!r}"
            if select.select([self.master], [], [], min(left, 1))[0]:
                try:
                    self.text += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"console ended: {self.text[-500:]!r}") from None
            elif press:
                os.write(self.master, press.encode())

    def send(self, text):
        os.write(self.master, text.encode())

    def close(self):
        try:
            os.write(self.master, b"\x1d")
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
