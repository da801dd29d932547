"""The counting guest (tests/guest/counting.c): made, started, watched, and judged.

    with Watch(hosts) as watch:
        guest = Guest(hosts, watch, "web1", 1)
        guest.start("node1")
        line = Line(watch, guest)       # a TCP connection that stays open
        ... migrate, kill, cut ...
        line.close()
        assert guest.faults() + line.faults() == []

faults() says what can only have come of two copies that ran at once, of one that went on from old memory, or of a lost write.
"""
import collections
import ctypes
import fcntl
import os
import re
import socket
import struct
import threading
import time
import uuid as uuids
from xml.etree import ElementTree

import pytest

from host import SOURCE, run, wait_for

SECTOR = 512
ADDRESS = "198.51.100."                 # of the guests' network; .254 is this process in the bridges' namespace
COLLECTOR_PORT, ECHO_PORT, LINE_PORT = 9000, 7, 7777
CLONE_NEWNET = 0x40000000


def image_directory(hosts):
    """Kernel and initramfs, made anew when their sources are newer; the tests of one build share them."""
    directory = SOURCE / "build" / "counting-guest"
    sources = [SOURCE / "tests" / "guest" / name for name in ("make", "counting.c")] + [SOURCE / "deploy" / "guest"]
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = directory / "initramfs"
        if not made.exists() or made.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            run([sources[0], directory], env=hosts.environment, timeout=120)
    return directory


def perhaps_the_emulator(what):
    """QEMU's emulated processors lose dirtied pages in a live migration when the machine has far too much to do: shown with QEMU
    alone, without any daemon, at one of ten migrations. A guest that hangs or forgets then says nothing about us."""
    load = os.getloadavg()[0]
    if load > 3 * os.cpu_count():
        pytest.skip(f"{what}: at a load of {load:.0f}, pages are lost by the emulator")


class GuestHangs(AssertionError):
    """QEMU says that it runs, and it does nothing. That is also what is left when the emulator lost a page, which it does at times on
    a machine with nothing to do as well; so conftest.py tries the test anew, with another guest. A fault of ours hangs again."""


class Watch:
    """This process in the guests' network, and what it has heard there: each count that a guest sends after writing it."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.heard = collections.defaultdict(list)      # address -> (time, epoch, count, nonce)
        self.collector = self.socket(socket.SOCK_DGRAM)
        self.collector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.collector.bind((ADDRESS + "254", COLLECTOR_PORT))
        self.collector.settimeout(0.2)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stopping.set()
        self.thread.join()
        self.collector.close()

    def socket(self, kind):
        """Of the namespace that the bridges have; a socket stays where it was made, so only one thread has to go there."""
        made = []

        def make():
            hub = int((self.hosts.directory / "hub.pid").read_text().split()[0])
            with open(f"/proc/{hub}/ns/net", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.socket(socket.AF_INET, kind))
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def _collect(self):
        while not self.stopping.is_set():
            try:
                text, (address, _) = self.collector.recvfrom(256)
            except socket.timeout:
                continue
            epoch, count, nonce = text.decode("ascii").split()
            self.heard[address].append((time.monotonic(), epoch, int(count), nonce))


class Guest:
    """number: the last byte of its address, one for each guest of a set of hosts.

    memory and area in MiB, interval in ms; area is what it can dirty, dirty how much of that each second. extra: more devices."""

    def __init__(self, hosts, watch, name, number, memory=96, area=0, dirty=0, interval=20, disk_mib=32, disk=None,
                 extra="", shareable=False):
        self.hosts, self.watch, self.name, self.memory, self.extra = hosts, watch, name, memory, extra
        self.uuid = str(uuids.uuid4())
        self.address = f"{ADDRESS}{number}"
        self.mac = f"52:54:00:00:01:{number:02x}"
        self.command = f"vq.address={self.address} vq.collector={ADDRESS}254:{COLLECTOR_PORT} vq.interval={interval} vq.area={area} vq.dirty={dirty}"
        self.shareable = "<shareable/>" if shareable else ""       # without it QEMU itself keeps a second writer away
        self.disk = disk or hosts.directory / "shared" / f"{name}.img"
        self.disk_bytes = disk_mib << 20
        self.boots = 1                  # how often it may have been started on this disk
        if disk is None:
            self.disk.parent.mkdir(exist_ok=True)
            self.new_disk()

    def new_disk(self):
        with open(self.disk, "wb") as file:
            file.truncate(self.disk_bytes)

    def xml(self):
        images = image_directory(self.hosts)
        # QEMU before 9.0 loses what an emulated processor writes while dirty pages are collected from a block of memory whose size
        # is a multiple of 64 pages: those pages stay in the processor's TLB as if they were dirty already. The guest's memory is
        # another block, two pages larger; from that they are collected one by one, and nothing is lost.
        odd = (self.memory << 20) + 8192
        return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{self.name}</name><uuid>{self.uuid}</uuid>
  <memory unit='MiB'>{self.memory}</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{images}/kernel</kernel><initrd>{images}/initramfs</initrd>
    <cmdline>console=ttyS0 quiet cryptomgr.notests panic=0 {self.command}</cmdline></os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='{self.disk}'/><target dev='vda' bus='virtio'/>{self.shareable}</disk>
    <interface type='bridge'><mac address='{self.mac}'/><source bridge='br-guests'/><model type='virtio'/></interface>
    <serial type='pty'/><console type='pty'/>{self.extra}
  </devices>
  <qemu:commandline>
    <qemu:arg value='-object'/><qemu:arg value='memory-backend-ram,id=odd.ram,size={odd}'/>
    <qemu:arg value='-m'/><qemu:arg value='size={odd}b'/>
    <qemu:arg value='-machine'/><qemu:arg value='memory-backend=odd.ram'/>
  </qemu:commandline>
</domain>"""

    # --- life

    def start(self, node, transient=False):
        connection = self.hosts.libvirt(node)
        (connection.createXML(self.xml()) if transient else connection.defineXML(self.xml()).create())
        connection.close()
        self.wait_counting()

    def destroy(self, node):
        connection = self.hosts.libvirt(node)
        domain = connection.lookupByUUIDString(self.uuid)
        if domain.isActive():
            domain.destroy()
        if self.uuid in [found.UUIDString() for found in connection.listAllDomains()]:
            domain.undefine()
        connection.close()

    def revive(self, node):
        """Running and counting, for the next test: started anew, on an empty disk, if it does not."""
        # What a failed test has begun ends first.
        self.hosts.virsh(node, "domjobabort", self.name, check=False)
        try:
            if self.state(node)[0] == 1:        # VIR_DOMAIN_RUNNING
                self.wait_counting(seconds=10)
                return
        except (AssertionError, TypeError, pytest.skip.Exception):
            pass
        if self.state(node) is not None:
            self.destroy(node)
        self.heard().clear()
        self.new_disk()
        self.boots = 1
        self.start(node)

    def state(self, node):
        """(state, reason), or None where it is not known."""
        import libvirt
        connection = self.hosts.libvirt(node)
        try:
            return tuple(connection.lookupByUUIDString(self.uuid).state())
        except libvirt.libvirtError:
            return None
        finally:
            connection.close()

    # --- what it counts

    def heard(self):
        """(time, epoch, count, nonce) of the counts that came over the network."""
        return self.watch.heard[self.address]

    def wait_counting(self, more=5, seconds=180):
        """Until it has sent some more counts than now; a guest boots slowly on a machine that has much to do."""
        before = len(self.heard())
        try:
            wait_for(lambda: len(self.heard()) >= before + more, seconds, f"{self.name}: {more} more counts")
        except AssertionError as error:
            written, faults = self.written()
            hangs = not faults and self.runs()
            if hangs:
                perhaps_the_emulator(f"{self.name} runs and does not count any more")
            kind = GuestHangs if hangs else AssertionError
            raise kind(f"{error}; last heard: {self.heard()[-1:]}, last written: {written[-1:]}, {faults}") from None

    def runs(self):
        """QEMU itself says that the processors run, on some host."""
        return any("VM status: running" in self.hosts.virsh(node, "qemu-monitor-command", "--hmp", self.name, "info status", check=False)
                   for node in self.hosts.nodes)

    def is_still(self, seconds=0.5):
        """No count comes any more."""
        before = len(self.heard())
        time.sleep(seconds)
        return len(self.heard()) == before

    def longest_silence(self, since):
        """In ms, of what was heard since then; the downtime, as far as the interval lets it be seen."""
        times = [since, *[moment for moment, *_ in self.heard() if moment >= since]]
        return max((after - before for before, after in zip(times, times[1:])), default=0) * 1000

    def written(self):
        """(epoch, count, nonce) as they are on the disk, and the faults of their order."""
        return read_disk(self.disk)

    def faults(self, disk=None):
        heard = list(self.heard())      # before the disk is read: each of these has to be there by now
        records, faults = read_disk(disk or self.disk)
        faults += check_records(records, self.boots)
        faults += check_heard(heard, records)
        return [f"{self.name}: {fault}" for fault in faults]

    def owner(self, node):
        """Which nodes say that it is theirs."""
        return [other for other in self.hosts.nodes
                if self.name in self.hosts.virsh(node, "list", "--all", "--name", uri=f"qemu:///system?node={other}").split()]


def read_disk(path):
    """What the counting guest left on its disk. Read past the cache of this machine, as the guest writes past it."""
    faults, records = [], []
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        content = file.read()
    told = content[:SECTOR].rstrip(b"\0")
    if told:
        faults.append(f"the guest found: {told.decode(errors='replace')}")
    end = None
    for at in range(SECTOR, len(content), SECTOR):
        text = content[at:at + SECTOR].rstrip(b"\0")
        if not text:
            end = end or at
            if not content[at:].strip(b"\0"):
                break
            continue
        if end is not None:
            faults.append(f"sector {at // SECTOR} is written, but {end // SECTOR} before it is empty: a count was lost")
            break
        words = text.decode("ascii", errors="replace").split()
        if len(words) != 3 or not words[1].isdigit():
            faults.append(f"sector {at // SECTOR} holds {text[:60]!r}")
            continue
        records.append((words[0], int(words[1]), words[2]))
    return records, faults


def check_records(records, boots=1):
    faults = []
    epochs = []
    for (epoch, count, nonce), (old_epoch, old_count, _) in zip(records, [(None, 0, None), *records]):
        if epoch != old_epoch:
            if epoch in epochs:
                faults.append(f"epoch {epoch} writes again after {old_epoch}: two copies wrote")
            epochs.append(epoch)
            old_count = 0
        if count != old_count + 1:
            faults.append(f"count {count} follows {old_count} in epoch {epoch}")
    if len({nonce for *_, nonce in records}) != len(records):
        faults.append("two counts have one nonce")
    if len(set(epochs)) > boots:
        faults.append(f"it was booted {len(set(epochs))} times, and should have been {boots}: {epochs}")
    return faults


def check_heard(heard, records):
    """Each count was heard at most once, and whatever was heard had been written."""
    faults = []
    written = {(epoch, count): nonce for epoch, count, nonce in records}
    seen = {}
    for _, epoch, count, nonce in heard:
        if (epoch, count) in seen:
            faults.append(f"count {count} of epoch {epoch} was sent twice: two copies ran, or one went on from old memory")
        seen[(epoch, count)] = nonce
        if written.get((epoch, count)) != nonce:
            faults.append(f"count {count} of epoch {epoch} was sent, but is not on the disk as it was sent")
    return faults[:10]


class Line(threading.Thread):
    """A TCP connection to a guest that stays open: a number goes there every few ms, and must come back, in order."""

    def __init__(self, watch, guest, pause=0.01):
        super().__init__(daemon=True)
        self.guest, self.pause = guest, pause
        self.stopping, self.broken = threading.Event(), []
        self.sent, self.answers, self.counts, self.times = 0, 0, [], []
        self.orders, self.lines = collections.deque(), collections.deque(maxlen=8)
        self.dirtied = 0
        self.socket = watch.socket(socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect((guest.address, LINE_PORT))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                if self.orders:
                    self.socket.sendall((self.orders.popleft() + "\n").encode())
                self.socket.sendall(f"{self.sent}\n".encode())
                self.sent += 1
                time.sleep(self.pause)
        except OSError as error:
            self.broken.append(f"sending: {error}")

    def _read(self):
        try:
            with self.socket.makefile("r", encoding="ascii") as lines:
                for line in lines:
                    self.lines.append(line.strip())
                    *words, epoch, count, dirtied = line.split()
                    self.dirtied = int(dirtied)
                    if words[0] == "dirty":
                        continue
                    if int(words[0]) != self.answers:
                        self.broken.append(f"{words[0]} came back instead of {self.answers}, after {list(self.lines)}")
                        self.answers = int(words[0])
                    self.answers += 1
                    self.counts.append((epoch, int(count)))
                    self.times.append(time.monotonic())
            if not self.stopping.is_set():
                self.broken.append("the guest closed it")
        except (OSError, ValueError) as error:
            if not self.stopping.is_set():
                self.broken.append(f"reading: {error}")

    def dirty(self, mib_s):
        """How much the guest is to dirty each second from now on."""
        self.orders.append(f"dirty {mib_s}")

    def wait_answers(self, more=5, seconds=20):
        before = self.answers
        wait_for(lambda: self.answers >= before + more or self.broken, seconds, f"{more} more answers of {self.guest.name}")
        if self.broken:
            perhaps_the_emulator(f"{self.guest.name}: connection: {self.broken[0]}")
        assert not self.broken, self.broken

    def close(self):
        self.stopping.set()
        self.join()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.reader.join(5)
        self.socket.close()

    def faults(self):
        faults = list(self.broken)
        if len({epoch for epoch, _ in self.counts}) > 1:
            faults.append("the guest was booted anew")
        faults += [f"count {after} was answered after {before}" for (_, before), (_, after) in zip(self.counts, self.counts[1:]) if after < before]
        if faults:
            perhaps_the_emulator(f"{self.guest.name}: connection: {faults[0]}")
        return [f"{self.guest.name}: connection: {fault}" for fault in faults[:10]]


class Pulse(threading.Thread):
    """Datagrams that the guest sends back, for measuring its pauses without TCP's own."""

    def __init__(self, watch, guest, pause=0.002):
        super().__init__(daemon=True)
        self.pause, self.times, self.stopping = pause, [], threading.Event()
        self.socket = watch.socket(socket.SOCK_DGRAM)
        self.socket.connect((guest.address, ECHO_PORT))
        self.socket.settimeout(0.2)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.start()

    def run(self):
        while not self.stopping.is_set():
            try:
                self.socket.send(struct.pack("d", time.monotonic()))
            except OSError:
                pass
            time.sleep(self.pause)

    def _read(self):
        while not self.stopping.is_set():
            try:
                self.socket.recv(64)
            except OSError:
                continue
            self.times.append(time.monotonic())

    def longest_silence(self, since):
        times = [since, *[moment for moment in self.times if moment >= since]]
        return max((after - before for before, after in zip(times, times[1:])), default=0) * 1000

    def close(self):
        self.stopping.set()
        self.join()
        self.reader.join()
        self.socket.close()


def with_disk(xml, path):
    """The same definition with another file for its disk."""
    root = ElementTree.fromstring(xml)
    root.find("devices/disk/source").set("file", str(path))
    return ElementTree.tostring(root, encoding="unicode")
