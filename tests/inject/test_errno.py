"""Each call into the kernel, and each allocation, may fail: the daemon answers an error or ends cleanly, comes back, has lost
nothing that it acknowledged, and leaves nothing behind.

For each phase of the daemon's work and each kind of call the calls are counted in a first run; then one of them fails. In a
short run that is one call of each of some kinds, chosen by VQ_SEED; VQ_INJECT_EVERY=N takes up to N calls of all kinds, and
VQ_INJECT_KINDS="open write" narrows it."""
import ctypes
import errno
import mmap
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "membership"))

from daemons import BUILD, Lab, WAIT_S, wait_for  # noqa: E402  (its folder has only now become known)

# In the order of enum kind in inject.c, with an error that the kernel may give for it.
KINDS = {"open": errno.EMFILE, "read": errno.EIO, "write": errno.ENOSPC, "flush": errno.EIO, "rename": errno.EIO, "remove": errno.EIO,
         "mkdir": errno.ENOSPC, "allocate": errno.ENOSPC, "map": errno.ENOMEM, "aio": errno.EAGAIN, "socket": errno.EMFILE,
         "bind": errno.EADDRINUSE, "listen": errno.EADDRINUSE, "connect": errno.ECONNREFUSED, "accept": errno.EMFILE,
         "send": errno.ECONNRESET, "receive": errno.ECONNRESET, "fork": errno.EAGAIN, "descriptor": errno.EMFILE,
         "malloc": errno.ENOMEM}
NUMBERS = {name: number for number, name in enumerate(KINDS)}
EVERY = int(os.environ.get("VQ_INJECT_EVERY", "1"))
KINDS_SHORT = 7             # of a phase, in a short run
SEED = int(os.environ.get("VQ_SEED", str(random.randrange(1 << 30))))
EXIT_GUARD = 76             # raft/guard.c: what cannot be stored ends the process
STARTED_S = 10


class Control(ctypes.Structure):
    """struct control of inject.c"""
    _fields_ = [("kinds", ctypes.c_uint32), ("error", ctypes.c_int32), ("at", ctypes.c_uint64), ("and_all_later", ctypes.c_uint32),
                ("is_log_only", ctypes.c_uint32), ("hits", ctypes.c_uint64), ("failed", ctypes.c_uint64), ("site", ctypes.c_char * 240)]


class Injector:
    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(4096))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)
        self.control = Control.from_buffer(self.map)

    def arm(self, kind, at, error=None, and_all_later=False, is_log_only=False):
        control = self.control
        control.kinds = control.hits = control.failed = 0
        control.site = b""
        control.error = error or KINDS[kind]
        control.at, control.and_all_later, control.is_log_only = at, and_all_later, is_log_only
        control.kinds = 1 << NUMBERS[kind]

    def disarm(self):
        self.control.kinds = 0
        return self.control.failed

    @property
    def site(self):
        return self.control.site.decode()


def libasan():
    """Sanitizers insist on being first."""
    said = subprocess.run(["ldd", BUILD / "node" / "virtquorumd"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"libasan\S* => (\S+)", said)
    return found.group(1) if found else ""


HAS_ASAN = libasan()


class Subject:
    """One daemon, a fake QEMU, and what it has acknowledged."""

    def __init__(self, directory):
        self.directory = directory
        self.lab = Lab(directory)
        self.injector = Injector(directory / "control")
        self.environment = {"VQ_INJECT": str(self.injector.path),
                            "LD_PRELOAD": f"{HAS_ASAN} {(BUILD / 'tests' / 'libinject.so').resolve()}".strip()}
        self.emulator = directory / "qemu"
        self.emulator.symlink_to((BUILD / "tests" / "fake_qemu").resolve())
        self.node = self.lab.node()
        self.node.kill()
        self.defined = set()
        self.doubtful = set()       # neither acknowledged nor refused by somebody who knows
        self.count = 0
        self.began = 0              # where the log was when the last call was armed
        self.start()
        self.define("guest")
        self.virsh("start", "guest")
        self.virsh("destroy", "guest")
        self.at_rest = self.files()

    # --- the daemon

    def start(self, must_start=True):
        self.node.start(environment=self.environment, must_start=must_start)

    def is_alive(self):
        return self.node.process.poll() is None

    def said(self):
        return (self.node.directory / "log").read_text(errors="replace")[self.began:]

    def how_it_ended(self):
        """None: well."""
        code, said = self.node.process.wait(), self.said()
        if code in (0, 1, EXIT_GUARD) or (code == -6 and "out of memory" in said):
            return None if code == 0 or said.strip() else f"exit code {code} without a word"
        if code == -6 and "/libuv.so" in self.injector.site:
            return None         # the library gives up where it cannot make its own pipe
        return f"exit code {code}: {said[-1500:]}"

    # --- clients

    def virsh(self, *arguments):
        try:
            return True, self.node.virsh(*arguments)
        except AssertionError as refused:
            return False, str(refused)

    def xml(self, name):
        path = self.directory / f"{name}.xml"
        path.write_text(f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
                        "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
                        f"<devices><emulator>{self.emulator}</emulator></devices></domain>")
        return path

    def define(self, name=None):
        self.count += 1
        name = name or f"d{self.count}"
        is_done, said = self.virsh("define", self.xml(name))
        (self.defined if is_done else self.doubtful).add(name)
        return is_done, said

    # --- what is left

    def files(self):
        roots = [self.node.directory / name for name in ("run", "libvirt-run", "libvirt-state", "libvirt-config")]
        return {str(path) for root in roots for path in root.rglob("*")}

    def emulators(self):
        listed = subprocess.run(["pgrep", "-f", f"^{self.emulator} "], capture_output=True, text=True).stdout.split()
        return [pid for pid in listed if "-name" in pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")]

    def leads(self):
        if not self.is_alive():     # it may have been about to end
            self.start()
        return self.node.status().get("leader") == self.node.name

    def settle(self):
        """After a fault: the daemon runs again without any, and must be as if nothing had been."""
        self.injector.disarm()
        if self.is_alive() and not (self.node.directory / "run" / "control").exists():
            self.node.kill()        # its control socket is what failed
        wait_for(self.leads, STARTED_S, f"the daemon to lead again: {self.said()[-1500:]}")
        # A socket that could not be opened is tried again each second.
        wait_for(lambda: self.virsh("list")[0], 5, "clients to be served")
        guests = set(self.node.guests())
        assert self.defined <= guests, f"acknowledged, and lost: {self.defined - guests}"
        assert guests <= self.defined | self.doubtful, f"never asked for: {guests - self.defined - self.doubtful}"
        self.defined, self.doubtful = guests, set()
        if self.virsh("domstate", "guest")[1] != "shut off":
            assert len(self.emulators()) == 1
            self.node.virsh("destroy", "guest")
        wait_for(lambda: not self.emulators(), 5, f"no emulator to be left of a guest that is {self.virsh('domstate', 'guest')}")
        for name in guests - {"guest"}:
            self.node.virsh("undefine", name)
            self.defined.discard(name)
        for path in re.findall(r"'(\S+)' cannot be removed, it stays", self.said()):
            shutil.rmtree(path, ignore_errors=True)     # it was told: the operator's turn
        wait_for(lambda: not self.files() - self.at_rest, 5, f"no file to be left: {sorted(self.files() - self.at_rest)}")

    def recover(self):
        """After a fault that was found, so that the next can be looked for."""
        self.injector.disarm()
        if self.is_alive():
            self.node.kill()
        wait_for(self.leads, STARTED_S, "the daemon to lead again")
        self.virsh("destroy", "guest")
        self.defined, self.doubtful = set(self.node.guests()), set()
        self.at_rest |= self.files()

    # --- one fault

    def phase_start(self):
        self.node.kill()

        def act():
            self.start(must_start=False)
            if self.is_alive():
                self.define()
        return act

    def phase_define(self):
        return self.define

    def phase_guest_start(self):
        return lambda: self.virsh("start", "guest")

    def phase_guest_stop(self):
        assert self.virsh("start", "guest")[0]
        return lambda: self.virsh("destroy", "guest")

    def phase_stop(self):
        def act():
            self.define()
            try:
                self.node.stop()
            except subprocess.TimeoutExpired:
                pytest.fail("it does not end")
        return act

    def count_calls(self, phase, kind):
        act = getattr(self, f"phase_{phase}")()
        self.injector.arm(kind, 0)
        act()
        self.injector.disarm()
        hits = self.injector.control.hits
        self.settle()
        return hits

    def fail_one(self, phase, kind, at):
        act = getattr(self, f"phase_{phase}")()
        self.began = (self.node.directory / "log").stat().st_size
        self.injector.arm(kind, at)
        act()
        # Whoever is in the middle of something goes on with it for a moment, and may come upon the fault then.
        if self.is_alive():
            try:
                self.node.process.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
        has_failed = self.injector.disarm()
        wrong = None if self.is_alive() else self.how_it_ended()
        assert wrong is None, f"{wrong}\nafter {kind} {at} of {phase}, at {self.injector.site}"
        try:
            self.settle()
        except (AssertionError, ValueError) as fault:
            raise AssertionError(f"after {kind} {at} of {phase}, at {self.injector.site}: {fault}\n{self.said()[-3000:]}") from fault
        return has_failed


@pytest.fixture(scope="module")
def subject():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="vqerr"))
    made = Subject(directory)
    try:
        yield made
        made.lab.close()
    finally:
        made.injector.disarm()
        if made.is_alive():
            made.node.kill()
        for pid in made.emulators():
            os.kill(int(pid), 9)
        if not os.environ.get("VQ_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)


PHASES = ("start", "define", "guest_start", "guest_stop", "stop")


def wanted(dice):
    named = os.environ.get("VQ_INJECT_KINDS", "").split()
    usable = [kind for kind in KINDS if not (HAS_ASAN and kind == "malloc")]      # the sanitizer keeps memory to itself
    return named or (usable if "VQ_INJECT_EVERY" in os.environ else dice.sample(usable, KINDS_SHORT))


@pytest.mark.parametrize("phase", PHASES)
def test_calls_may_fail_during(subject, phase):
    dice, tried, failed, faults = random.Random(f"{SEED} {phase}"), 0, 0, []
    print(f"VQ_SEED={SEED}")
    for kind in wanted(dice):
        hits = subject.count_calls(phase, kind)
        for at in sorted(dice.sample(range(1, hits + 1), min(EVERY, hits))):
            tried += 1
            began = time.monotonic()
            try:
                failed += subject.fail_one(phase, kind, at)
            except AssertionError as fault:
                faults.append(str(fault))
                if len(faults) >= 10:
                    break
                subject.recover()
            if time.monotonic() - began > 5:
                print(f"{phase}: {time.monotonic() - began:.0f} s for {kind} {at}, at {subject.injector.site}", flush=True)
    print(f"{phase}: {failed} calls failed in {tried} tries")
    assert not faults, f"VQ_SEED={SEED}: {len(faults)} faults\n" + "\n----\n".join(faults)
    assert failed >= tried // 2, "hardly any call was made a second time: this has shown nothing"


@pytest.mark.parametrize("kind", ["write", "flush", "allocate", "aio", "open"])
def test_the_log_cannot_be_written(subject, kind):
    """From some moment on, for good: what was acknowledged before is there afterwards."""
    if not subject.is_alive():
        subject.recover()       # the fault of another test
    error = {"write": errno.ENOSPC, "aio": errno.EIO}.get(kind, errno.EIO)
    subject.began = (subject.node.directory / "log").stat().st_size
    subject.injector.arm(kind, random.Random(f"{SEED} {kind}").randrange(1, 8), error, and_all_later=True, is_log_only=kind == "write")
    for _ in range(8):
        subject.define()
        if not subject.is_alive():
            break
    subject.injector.disarm()
    wrong = None if subject.is_alive() else subject.how_it_ended()
    assert wrong is None, f"VQ_SEED={SEED}: {wrong}"
    subject.settle()
