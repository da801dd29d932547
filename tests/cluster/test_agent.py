"""The agent of a real guest: virsh on a lone host of ours and on a stock libvirtd must say the same; and what a cluster adds."""
import os
import pathlib
import re
import tempfile

import pytest

from agent_guest import AgentGuest, Events, readable
from host import Hosts, wait_for

# In this order: each stands on what those before it have done.
COMMANDS = """
domfsinfo a1
domhostname a1
domhostname a1 --source agent
domhostname a1 --source lease
domtime a1
domtime a1 --pretty
domtime a1 1600000000
domtime a1 --time 1600000000
domtime a1 --sync
guestinfo a1
guestinfo a1 --user
guestinfo a1 --os
guestinfo a1 --timezone
guestinfo a1 --hostname
guestinfo a1 --filesystem
guestinfo a1 --disk
guestinfo a1 --interface
guestvcpus a1
guestvcpus a1 --disable --cpulist 1
guestvcpus a1
guestvcpus a1 --enable --cpulist 1
guestvcpus a1 --enable --cpulist 9
guestvcpus a1 --enable
vcpucount a1 --guest
setvcpus a1 1 --guest
vcpucount a1 --guest
vcpucount a1 --live --active
setvcpus a1 2 --guest
setvcpus a1 3 --guest
setvcpus a1 1 --guest --config
domfsfreeze a1
domfsfreeze a1
domfsthaw a1
domfsthaw a1
domfsfreeze a1 --mountpoint /mnt
domfsthaw a1
domfstrim a1
domfstrim a1 --minimum 1M
domfstrim a1 --mountpoint /mnt
set-user-password a1 me secret
set-user-password a1 me $6$abcdefgh$x --encrypted
set-user-password a1 nobody-here secret
get-user-sshkeys a1 me
set-user-sshkeys a1 me --file {dir}/keys
get-user-sshkeys a1 me
set-user-sshkeys a1 me --file {dir}/more-keys
get-user-sshkeys a1 me
set-user-sshkeys a1 me --file {dir}/keys --remove
get-user-sshkeys a1 me
set-user-sshkeys a1 me --file {dir}/keys --reset
get-user-sshkeys a1 me
set-user-sshkeys a1 me --reset
get-user-sshkeys a1 me
get-user-sshkeys a1 not-there
domifaddr a1 --source agent
domifaddr a1 --source lease
domifaddr a1 --source arp
domifaddr a1 --source agent --full
qemu-agent-command a1 {"execute":"guest-ping"}
qemu-agent-command a1 {"execute":"guest-ping"} --timeout 5
qemu-agent-command a1 {"execute":"guest-ping"} --async
qemu-agent-command a1 {"execute":"guest-ping"} --block
qemu-agent-command a1 {"execute":"no-such-command"}
qemu-agent-command a1 {"execute":"guest-get-host-name"} --pretty
qemu-agent-command a1 guest-ping
qemu-agent-command a1 {"nothing":1}
guest-agent-timeout a1 --timeout 7
guest-agent-timeout a1
guest-agent-timeout a1 --timeout -5
domtime a1
dompmsuspend a1 mem --duration 5
suspend a1
domtime a1
guestinfo a1
qemu-agent-command a1 {"execute":"guest-ping"}
resume a1
domhostname a1
channel a1
domtime none
guestinfo none
domfsinfo none
domfsfreeze none
domfsthaw none
domfstrim none
guestvcpus none
vcpucount none --guest
setvcpus none 1 --guest
domhostname none
set-user-password none me secret
get-user-sshkeys none me
domifaddr none --source agent
domifaddr none
qemu-agent-command none {"execute":"guest-ping"}
shutdown none --mode agent
reboot none --mode agent
shutdown none --mode initctl
shutdown none --mode signal
shutdown none --mode paravirt
reboot none --mode initctl
dompmsuspend none mem
dompmsuspend none disk
dompmwakeup none
domtime off
guestinfo off
domhostname off
guest-agent-timeout off --timeout 5
domifaddr off
qemu-agent-command off {"execute":"guest-ping"}
""".strip().splitlines()

# The answer differs for a good reason.
DIFFERENT = {
    "domifaddr a1 --source arp": "libvirtd cannot read the kernel's answer here: 'wrong nlmsg len'",
    "qemu-agent-command a1 guest-ping": "the words of another JSON library",
    "shutdown none --mode initctl": "libvirtd names its own function",
    "shutdown none --mode signal": "libvirtd names its own function",
    "shutdown none --mode paravirt": "libvirtd names its own function",
    "reboot none --mode initctl": "libvirtd names its own function",
}


def plain(text):
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"Time: \d+", "Time: T", text)
    text = re.sub(r"(bytes\s*: )\d+", r"\1N", text)
    text = re.sub(r"(login-time\s*: )\d+", r"\1N", text)
    return re.sub(r"\s+$", "", text)


@pytest.fixture(scope="module")
def both():
    with Hosts("agentstock", 1, stock=True) as stock, Hosts("agentours", 1, formed=False) as ours:
        yield stock, ours


@pytest.fixture(scope="module")
def directory():
    """libvirtd's QEMU runs as a user who cannot look into pytest's directories."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@pytest.fixture(scope="module")
def guests(both, directory):
    """On each: a1 with an agent, "none" without a channel, "off" that does not run. And what the start of a1 was told as."""
    (directory / "keys").write_text("ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n")
    (directory / "more-keys").write_text("ssh-ed25519 CCCC three\n")
    made = []
    for number, hosts in enumerate(both):
        events = Events(hosts, "node1", "agent-lifecycle", "lifecycle")
        guest = AgentGuest(hosts, "a1", 1, disk=readable(directory, f"{number}.img")).define()
        AgentGuest(hosts, "none", 2, channel=False, boots=False).define().start()
        AgentGuest(hosts, "off", 3, boots=False).define()
        made.append((guest, events))
        guest.start()
    for guest, events in made:
        guest.wait_agent()
        guest.started = events.close()
    yield [guest for guest, _ in made]
    for hosts in both:
        for name in ("a1", "none"):
            hosts.virsh("node1", "destroy", name, check=False)
        for name in ("a1", "none", "off"):
            hosts.virsh("node1", "undefine", name, check=False)


def test_the_start_is_told_in_the_same_order(guests):
    stock, ours = [[line for line in guest.started if line.startswith("a1 ")] for guest in guests]
    assert ours == stock
    assert any("agent-lifecycle" in line for line in ours), ours


def test_the_channel_shows_who_is_connected(guests):
    for guest in guests:
        assert "state='connected'" in guest.hosts.virsh("node1", "dumpxml", "a1")


def test_virsh_says_the_same(both, guests, directory):
    faults = []
    for line in COMMANDS:
        words = line.replace("{dir}", str(directory)).split()
        stock, ours = ((result.returncode, plain(result.stdout), plain(result.stderr)) for result in
                       (hosts.exec("node1", "virsh", *words, check=False, timeout=60, input="") for hosts in both))
        if stock != ours and line not in DIFFERENT:
            faults.append(f"virsh {line}\n  libvirtd: {stock}\n  ours:     {ours}")
    assert not faults, f"{len(faults)} of {len(COMMANDS)} differ:\n" + "\n".join(faults)


def test_an_agent_that_is_stopped_fails_its_calls_and_comes_back(both, guests):
    answers = []
    for hosts, guest in zip(both, guests):
        events = Events(hosts, "node1", "agent-lifecycle")
        hosts.virsh("node1", "guest-agent-timeout", "a1", "--timeout", "2")
        guest.type("kill -STOP $(pidof qemu-ga)")
        result = []

        def times_out():
            answer = hosts.exec("node1", "virsh", "domhostname", "a1", check=False, timeout=30)
            result[:] = [answer.returncode, answer.stderr.strip()]
            return answer.returncode != 0
        wait_for(times_out, 20, "an agent that does not answer")
        guest.type("touch /tmp/no-agent; kill -KILL $(pidof qemu-ga)")
        events.wait("disconnected", 30)
        gone = hosts.exec("node1", "virsh", "domhostname", "a1", check=False)
        guest.type("rm /tmp/no-agent")
        events.wait("state: 'connected'", 30)
        guest.wait_agent(20)
        assert hosts.virsh("node1", "domhostname", "a1") == "inside"
        answers.append((result, gone.returncode, gone.stderr.strip(), events.close()))
    assert answers[1] == answers[0]


def test_a_daemon_that_comes_back_asks_the_agent_again(both, guests):
    ours = both[1]
    ours.virsh("node1", "guest-agent-timeout", "a1", "--timeout", "9")
    ours.kill("node1")
    ours.restart("node1")
    guests[1].wait_agent(20)
    assert ours.virsh("node1", "domhostname", "a1") == "inside"


def test_a_reboot_and_a_shutdown_by_the_agent_say_the_same(both, guests):
    told = []
    for hosts, guest in zip(both, guests):
        events = Events(hosts, "node1", "lifecycle", "reboot", "agent-lifecycle")
        answers = [hosts.virsh("node1", "reboot", "a1", "--mode", "agent")]
        events.wait(" reboot ", 30)
        guest.wait_agent()
        answers.append(hosts.virsh("node1", "shutdown", "a1", "--mode", "agent"))
        guest.wait_state("shut off", seconds=30)
        answers.append(guest.state(reason=True))
        told.append((answers, events.close()))
    assert told[1] == told[0]
    assert any("reboot" in line for line in told[1][1])
