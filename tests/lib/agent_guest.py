"""The guest that has an agent and a shell on its serial console (tests/guest/agent)."""
import fcntl
import os
import re
import subprocess
import time

from host import SOURCE, run, wait_for


def images(hosts):
    """Kernel and initramfs, made anew when their sources are newer; the tests of one build share them."""
    directory = SOURCE / "build" / "agent-guest"
    sources = [SOURCE / "tests" / "guest" / "agent", SOURCE / "deploy" / "guest"]
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = directory / "initramfs"
        if not made.exists() or made.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            run([sources[0], directory], env=hosts.environment, timeout=120)
    return directory


def readable(directory, name, mib=16):
    """An empty ext4 image that whoever QEMU runs as may write to."""
    path = directory / name
    with open(path, "wb") as file:
        file.truncate(mib << 20)
    run(["mke2fs", "-q", "-t", "ext4", path])
    os.chmod(path, 0o666)
    return path


class AgentGuest:
    """devices, more: further XML within <devices> and beside it. boots: not set, there is nothing to run but the firmware."""

    def __init__(self, hosts, name, number, disk=None, devices="", more="", channel=True, on="", cpus=2, boots=True):
        self.hosts, self.name = hosts, name
        made = images(hosts)
        channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>" if channel else ""
        if disk:
            devices += f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/><serial>serial-1</serial></disk>"
        kernel = (f"<kernel>{made}/kernel</kernel><initrd>{made}/initramfs</initrd>"
                  "<cmdline>console=ttyS0 quiet cryptomgr.notests panic=0</cmdline>") if boots else ""
        self.xml = f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{name}</name>
  <uuid>{str(number) * 8}-2222-3333-4444-666666666666</uuid>
  <memory unit='MiB'>128</memory><vcpu>{cpus}</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>{kernel}</os>
  <features><acpi/></features>{on}{more}
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='pty'/><console type='pty'/>{channel}{devices}</devices>
</domain>"""

    def define(self):
        self.hosts.exec("node1", "virsh", "define", "/dev/stdin", input=self.xml)
        return self

    def start(self, *flags):
        self.hosts.virsh("node1", "start", self.name, *flags)
        return self

    def state(self, reason=False):
        return self.hosts.virsh("node1", "domstate", self.name, *(["--reason"] if reason else []))

    def wait_state(self, *states, seconds=60):
        wait_for(lambda: self.state() in states, seconds, f"{self.name}: {states}, is {self.state()}")

    def pty(self):
        return re.search(r"<console type='pty' tty='([^']*)'", self.hosts.virsh("node1", "dumpxml", self.name)).group(1)

    def type(self, line):
        """A line into the shell of the guest. QEMU looks once a second whether somebody has the terminal open, and reads it then only."""
        self.hosts.exec("node1", "sh", "-c", f"{{ sleep 1.5; printf '%s\\n' \"$1\"; sleep 1.5; }} > {self.pty()}", "sh", line)

    def answers(self):
        return "pong" == self.hosts.exec("node1", "sh", "-c", f"virsh qemu-agent-command {self.name} "
                                         "'{\"execute\":\"guest-ping\"}' > /dev/null 2>&1 && echo pong", check=False).stdout.strip()

    def wait_agent(self, seconds=300):
        wait_for(self.answers, seconds, f"{self.name}: an answer of its agent")
        return self


class Events:
    """virsh event on a host: what it has said of these kinds ("lifecycle"), or of all."""

    def __init__(self, hosts, node, *kinds):
        self.kinds = kinds
        self.process = hosts.popen(node, "stdbuf", "-oL", "virsh", "event", "--all", "--loop", stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""
        time.sleep(0.7)

    def _read(self):
        try:
            return os.read(self.process.stdout.fileno(), 1 << 20).decode()
        except BlockingIOError:
            return ""

    def lines(self):
        """The words of each, with the domain in front: "a1 lifecycle Started Booted"."""
        self.text += self._read()
        found = re.findall(r"^event '([^']*)' for domain '([^']*)':? ?(.*)$", self.text, re.MULTILINE)
        return [f"{domain} {kind} {rest}" for kind, domain, rest in found if not self.kinds or kind in self.kinds]

    def wait(self, wanted, seconds=60):
        wait_for(lambda: any(wanted in line for line in self.lines()), seconds, f"event {wanted}; heard {self.lines()}")

    def close(self):
        lines = self.lines()
        self.process.terminate()
        self.process.wait()
        return lines
