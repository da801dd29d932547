#!/usr/bin/env python3
"""What a test left behind.

On a host: what `look` saw when the host was new, against what is there once its guests are gone (at_rest), or against the
guests that the daemon says are running (while_running). On this machine, after `down`: processes in the namespaces
of the hosts, mounts, and files.
"""
import glob
import os
import re
import time

# Files that stay when a guest has gone, and should: logs, what was probed about QEMU, the daemon's own stores and keys.
STAYING = re.compile(r"^/(run/virtquorum-demo\.pid|var/log/.*|var/lib/virtquorum(/.*)?|run/lock(/.*)?|run/user(/.*)?|run/utmp|etc/libvirt/qemu(/(networks(/autostart)?|autostart))?|"
                     r"var/lib/libvirt/(qemu|qemu/(nvram|channel|dump|save|snapshot|checkpoint|ram|capabilities.*)|images|dnsmasq(/.*)?|boot)|"
                     r"run/(libvirt|virtquorum)(/(qemu|common|node|network|lxc|hostdevmgr|secrets|storage|nodedev|interface|nwfilter.*))?)$")
FOLDERS = ("/run", "/var/lib/libvirt", "/etc/libvirt", "/tmp/.vq")


def files_of(hosts, node):
    script = "find " + " ".join(FOLDERS) + " -xdev 2> /dev/null; true"
    return {path for path in hosts.exec(node, "sh", "-c", script).stdout.splitlines() if not STAYING.match(path)}


def processes_of(hosts, node):
    """pid in the host -> command line, of everything but tini's own and the daemon."""
    listing = hosts.exec(node, "sh", "-c", "for p in /proc/[0-9]*; do printf '%s\\t' \"${p#/proc/}\"; tr '\\0' ' ' < $p/cmdline; echo; done")
    found = {}
    for line in listing.stdout.splitlines():
        pid, _, command = line.partition("\t")
        found[int(pid)] = command.strip()
    return found


def is_guest(command):
    """Not the short-lived ones by which a daemon asks what an emulator can do."""
    return "qemu-system" in command.split(" ")[0] and "-name guest=" in command


def qemus_of(hosts, node):
    return {pid: command for pid, command in processes_of(hosts, node).items() if is_guest(command)}


def links_of(hosts, node):
    return {line.split(":")[1].strip().split("@")[0] for line in hosts.exec(node, "ip", "-o", "link").stdout.splitlines()}


def mounts_of(hosts, node):
    return {line.split(" ")[4] for line in hosts.exec(node, "cat", "/proc/self/mountinfo").stdout.splitlines()}


def look(hosts, node):
    return {"file": files_of(hosts, node), "link": links_of(hosts, node), "mount": mounts_of(hosts, node)}


def at_rest(hosts, node):
    """Faults of a host whose guests are all gone and undefined."""
    faults = [f"{node}: process {pid} is left: {command[:120]}" for pid, command in qemus_of(hosts, node).items()]
    now = look(hosts, node)
    for kind, before in hosts.baseline[node].items():
        faults += [f"{node}: {kind} {thing} is left" for thing in sorted(now[kind] - before)]
    return faults


def while_running(hosts, node):
    """Records against processes: each running guest has one QEMU, each QEMU one guest."""
    listed = hosts.virsh(node, "list", "--uuid", "--state-running", uri="qemu:///system?node=.").split()
    listed += hosts.virsh(node, "list", "--uuid", "--state-paused", uri="qemu:///system?node=.").split()
    faults = []
    qemus = qemus_of(hosts, node)
    for uuid in listed:
        count = sum(uuid in command for command in qemus.values())
        if count != 1:
            faults.append(f"{node}: guest {uuid} is listed as active and has {count} processes")
    for pid, command in qemus.items():
        if not any(uuid in command for uuid in listed):
            faults.append(f"{node}: process {pid} belongs to no guest: {command[:120]}")
    return faults


UUID_WORD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def twice(hosts):
    """Guests that run on two hosts at once: the one thing that must never be."""
    found = {}
    for node in hosts.nodes:
        for command in qemus_of(hosts, node).values():
            match = re.search(r"-uuid (" + UUID_WORD.pattern + ")", command)
            if match:
                found.setdefault(match.group(1), []).append(node)
    return [f"guest {uuid} runs on {' and '.join(nodes)}" for uuid, nodes in found.items() if len(nodes) > 1]


# --- this machine ----------------------------------------------------------------------------------------------------

KINDS = ("net", "mnt", "pid", "uts")


def namespaces_of(pid):
    found = set()
    for kind in KINDS:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
        except OSError:
            pass
    return found


def start_time(pid):
    """In the kernel's ticks since it booted; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(") ", 1)[1].split()[19])
    except OSError:
        return 0


def marks_of(hosts):
    """The namespaces of a set that is up, each with the time of this look: to be called before down, to be looked for
    afterwards. The kernel gives the numbers of ended namespaces to new ones: what began later is of another set."""
    marks = set()
    for path in [*glob.glob(str(hosts.directory / "node*" / "pid")), *glob.glob(str(hosts.directory / "hub.pid"))]:
        with open(path, encoding="ascii") as file:
            marks |= namespaces_of(int(file.read().split()[0]))
    now = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
    return dict.fromkeys(marks - namespaces_of("self"), now)


def after_down(hosts, marks):
    faults = []
    marked = max(marks.values(), default=0)
    for path in glob.glob("/proc/[0-9]*"):
        pid = os.path.basename(path)
        if namespaces_of(pid) & marks.keys() and start_time(pid) <= marked:
            try:
                with open(f"{path}/status", encoding="ascii", errors="replace") as file:
                    state = next((line.split()[1] for line in file if line.startswith("State:")), "?")
                with open(f"{path}/comm", encoding="ascii", errors="replace") as file:
                    faults.append(f"process {pid} ({file.read().strip()}, {state}) is left in a host's namespace")
            except OSError:
                pass        # it was just ending
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        faults += [f"mount {line.split(' ')[4]} is left" for line in file if str(hosts.directory) in line]
    if hosts.directory.exists() and not os.environ.get("VQ_KEEP"):
        faults.append(f"{hosts.directory} is left")
    return faults


def outer_qemus(hosts, node):
    """The QEMUs of a host as this machine knows them, to be stopped and killed from outside."""
    home = os.readlink(f"/proc/{hosts.pid(node)}/ns/pid")
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                if is_guest(file.read().replace("\0", " ")) and os.readlink(f"/proc/{pid}/ns/pid") == home:
                    found.append(int(pid))
        except OSError:
            pass
    return found
