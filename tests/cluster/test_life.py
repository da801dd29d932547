"""The life of real guests: virsh and the events on a lone host of ours and on a stock libvirtd must say the same."""
import re

import pytest

from agent_guest import AgentGuest, Events
from host import Hosts

# On a guest that runs its firmware and nothing else. In this order.
COMMANDS = """
start f1 --paused
domstate f1 --reason
reset f1
resume f1
domstate f1 --reason
send-key f1 KEY_LEFTCTRL KEY_LEFTALT KEY_F1
send-key f1 --codeset linux 30
send-key f1 --codeset xt 0x1e 0xe053
send-key f1 --codeset atset1 0x1e
send-key f1 --codeset atset2 0x1c
send-key f1 --codeset atset3 28
send-key f1 --codeset os_x 0
send-key f1 --codeset xt_kbd 0x153
send-key f1 --codeset win32 VK_SHIFT 65
send-key f1 --codeset usb 4
send-key f1 --codeset rfb 0x1e --holdtime 10
send-key f1 --codeset qnum 0x1e
send-key f1 --codeset usb 1
send-key f1 --codeset linux 0xffff
send-key f1 --codeset qnum 0xfffff
inject-nmi f1
reset f1
suspend f1
suspend f1
inject-nmi f1
reset f1
resume f1
resume f1
reboot f1 --mode acpi
reboot f1 --mode signal
reboot f1 --mode paravirt
reboot f1 --mode initctl
reboot f1 --mode agent
shutdown f1 --mode agent
shutdown f1 --mode initctl
shutdown f1 --mode signal
shutdown f1 --mode paravirt
send-process-signal f1 1 sighup
dompmwakeup f1
dompmsuspend f1 mem
dompmsuspend f1 disk
dompmsuspend f1 hybrid
dompmsuspend f1 mem --duration 3
set-lifecycle-action f1 poweroff restart
set-lifecycle-action f1 crash preserve
set-lifecycle-action f1 reboot rename-restart
set-lifecycle-action f1 poweroff coredump-destroy
set-lifecycle-action f1 crash coredump-restart --config
console f1 --devname nope
console f1 --devname serial7
destroy f1 --graceful
domstate f1 --reason
start f1 --force-boot
destroy f1
start f1 --bypass-cache
destroy f1 --remove-logs
start f1
domstate f1 --reason
destroy f1
destroy f1
reset f1
inject-nmi f1
send-key f1 30
dompmwakeup f1
shutdown f1
reboot f1
send-process-signal f1 1 sighup
""".strip().splitlines()

# The answer differs for a good reason.
DIFFERENT = {
    "reboot f1 --mode initctl": "libvirtd names its own function",
    "shutdown f1 --mode initctl": "libvirtd names its own function",
    "shutdown f1 --mode signal": "libvirtd names its own function",
    "shutdown f1 --mode paravirt": "libvirtd names its own function",
    "reboot f1 --mode signal": "libvirtd names its own function",
    "reboot f1 --mode paravirt": "libvirtd names its own function",
}


def plain(text):
    return re.sub(r"\s+$", "", text)


@pytest.fixture(scope="module")
def both():
    with Hosts("lifestock", 1, stock=True) as stock, Hosts("lifeours", 1, formed=False) as ours:
        yield stock, ours


def test_virsh_says_the_same_of_a_guest_without_a_system(both):
    faults, told = [], []
    for hosts in both:
        AgentGuest(hosts, "f1", 1, boots=False, channel=False).define()
    # Not "reboot": what the firmware does about keys and interrupts depends on how far it is.
    events = [Events(hosts, "node1", "lifecycle", "agent-lifecycle", "pmsuspend", "pmwakeup") for hosts in both]
    for line in COMMANDS:
        stock, ours = ((result.returncode, plain(result.stdout), plain(result.stderr)) for result in
                       (hosts.exec("node1", "virsh", *line.split(), check=False, timeout=60, input="") for hosts in both))
        if stock != ours and line not in DIFFERENT:
            faults.append(f"virsh {line}\n  libvirtd: {stock}\n  ours:     {ours}")
    # libvirtd tells no "Updated" of a changed life cycle; and whether QEMU's last word is heard before its end is chance there.
    told = [[line for line in event.close() if "Defined" not in line and "after host request" not in line] for event in events]
    for hosts in both:
        hosts.virsh("node1", "undefine", "f1")
    assert not faults, f"{len(faults)} of {len(COMMANDS)} differ:\n" + "\n".join(faults)
    assert told[1] == told[0]


def test_a_reset_ends_a_guest_whose_reboot_is_its_end(both):
    told = []
    for hosts in both:
        guest = AgentGuest(hosts, "r1", 4, boots=False, channel=False,
                           on="<on_reboot>destroy</on_reboot><on_crash>restart</on_crash>").define()
        events = Events(hosts, "node1", "lifecycle", "reboot")
        guest.start()
        hosts.virsh("node1", "reset", "r1")
        guest.wait_state("shut off", seconds=20)
        told.append((guest.state(reason=True), events.close()))
        hosts.virsh("node1", "undefine", "r1")
    assert told[1] == told[0]


def test_channels_and_consoles_are_streams(both):
    """A channel is written to and read by the test itself, through the daemon; a second stream needs force."""
    import libvirt
    channel = "<channel type='unix'><target type='virtio' name='vq.echo'/></channel>"
    answers = []
    for hosts in both:
        AgentGuest(hosts, "c1", 5, boots=False, channel=False, devices=channel).define().start()
        connection = hosts.libvirt("node1")
        domain = connection.lookupByName("c1")
        result = []

        def attempt(function, *arguments):
            stream = connection.newStream()
            try:
                result.append(function(*arguments[:1], stream, *arguments[1:]))
            except libvirt.libvirtError as error:
                result.append((error.get_error_code(), error.get_error_message()))
                return None
            return stream
        first = attempt(domain.openChannel, "vq.echo", 0)
        attempt(domain.openChannel, "vq.echo", 0)
        second = attempt(domain.openChannel, "vq.echo", libvirt.VIR_DOMAIN_CHANNEL_FORCE)
        attempt(domain.openChannel, "nope", 0)
        console = attempt(domain.openConsole, None, 0)
        attempt(domain.openConsole, None, libvirt.VIR_DOMAIN_CONSOLE_SAFE)
        again = attempt(domain.openConsole, "serial0", libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        attempt(domain.openConsole, "channel0", 0)
        answers.append(result)
        for stream in (first, second, console, again):
            try:
                if stream is not None:
                    stream.abort()
            except libvirt.libvirtError:
                pass                    # taken over
        connection.close()
        hosts.virsh("node1", "destroy", "c1")
        hosts.virsh("node1", "undefine", "c1")
    assert answers[1] == answers[0]


@pytest.fixture(scope="module")
def living(both):
    """On each a guest with a panic device, a watchdog and an agent."""
    devices = "<panic model='isa'/><watchdog model='i6300esb' action='pause'/>"
    guests = [AgentGuest(hosts, "l1", 6, devices=devices, on="<on_crash>restart</on_crash>", cpus=1,
                         more="<pm><suspend-to-mem enabled='yes'/></pm>").define().start() for hosts in both]
    for guest in guests:
        guest.wait_agent()
    yield guests
    for hosts in both:
        hosts.virsh("node1", "destroy", "l1", check=False)
        hosts.virsh("node1", "undefine", "l1", check=False)


def events_of_all(both):
    return [Events(hosts, "node1", "lifecycle", "reboot", "watchdog", "pmsuspend", "pmwakeup") for hosts in both]


def test_a_watchdog_stops_a_guest_that_hangs(both, living):
    told = []
    for guest, events in zip(living, events_of_all(both)):
        guest.type("echo 1 > /dev/watchdog")
        guest.wait_state("paused", seconds=120)
        answers = [guest.state(reason=True), guest.hosts.virsh("node1", "resume", "l1"), guest.state(reason=True)]
        guest.type("(echo -n V > /dev/watchdog)")
        told.append((answers, events.close()))
    assert told[1] == told[0]


def test_a_guest_sleeps_and_wakes(both, living):
    told = []
    for guest, events in zip(living, events_of_all(both)):
        answers = [guest.hosts.virsh("node1", "dompmsuspend", "l1", "mem", timeout=120)]
        guest.wait_state("pmsuspended")
        answers.append(guest.state(reason=True))
        for command in ("suspend", "resume"):
            result = guest.hosts.exec("node1", "virsh", command, "l1", check=False)
            answers.append((result.returncode, result.stderr.strip()))
        answers.append(guest.hosts.virsh("node1", "dompmwakeup", "l1"))
        guest.wait_state("running")
        guest.wait_agent(60)
        told.append((answers, events.close()))
    assert told[1] == told[0]


def test_a_panic_does_what_the_definition_says(both, living):
    told = []
    for guest, events in zip(living, events_of_all(both)):
        guest.wait_agent(60)
        guest.type("echo c > /proc/sysrq-trigger")
        events.wait(" Crashed", 60)
        guest.wait_state("running")
        answers = [guest.state(reason=True), guest.hosts.virsh("node1", "set-lifecycle-action", "l1", "crash", "preserve", "--live")]
        told.append((answers, guest, events))
    for answers, guest, events in told:
        guest.wait_agent()
        guest.type("echo c > /proc/sysrq-trigger")
        guest.wait_state("crashed", seconds=60)
        answers += [guest.state(reason=True), guest.hosts.virsh("node1", "reset", "l1", check=False), guest.state(reason=True)]
        guest.hosts.virsh("node1", "destroy", "l1")
        answers.append(guest.state(reason=True))
    # A watchdog that the test before has armed may fire while the guest boots again: what that tells is not compared.
    stock, ours = [(answers, [line for line in events.close() if "reboot" not in line and "Suspended" not in line])
                   for answers, _, events in told]
    assert ours == stock
