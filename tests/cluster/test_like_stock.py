"""The same virsh commands on a lone host of ours and on a stock libvirtd: output, errors and exit codes must be the same.

What may differ (UUIDs, times, the daemon's version) is made equal first. A command whose answer differs for a good reason is
in DIFFERENT, with the reason.
"""
import os
import pathlib
import re
import tempfile

import pytest

from host import Hosts, guest_xml, small_xml, wait_for

UUID = "11111111-2222-3333-4444-555555555555"

# In this order: each stands on what those before it have done.
COMMANDS = """
list --all
domstate nobody
dominfo nobody
start nobody
undefine nobody
dumpxml nobody
define {dir}/bad.xml
define {dir}/broken.xml
define {dir}/notype.xml
define {dir}/small.xml
define {dir}/clash.xml
list --all
list
list --all --name
list --all --uuid
list --inactive --name --title
list --all --persistent --no-autostart
domstate small
domstate small --reason
domid small
domuuid small
domname 11111111-2222-3333-4444-555555555555
dominfo small
autostart small
dominfo small
list --autostart --name
autostart small --disable
desc small --config --title A-title
desc small --title
desc small --config Some-words
desc small
destroy small
shutdown small
reboot small
reset small
suspend small
resume small
domcontrol small
domtime small
console small
domrename small renamed
domstate renamed
domrename renamed small
setvcpus small 2 --config
setvcpus small 2 --config --maximum
setmem small 32M --config
setmaxmem small 128M --config
vcpucount small
dominfo small
undefine small
list --all
define {dir}/guest.xml
start guest
start guest
undefine guest
list --all
domstate guest --reason
suspend guest
domstate guest --reason
list --state-paused --name
resume guest
domstate guest --reason
vcpucount guest --live
autostart guest
dominfo guest
destroy guest
destroy guest
domstate guest --reason
list --all
create {dir}/guest.xml
autostart guest --disable
undefine guest
create {dir}/passing.xml
list --all
autostart passing
list --transient --name
destroy passing
list --all
create {dir}/passing.xml --paused
domstate passing --reason
destroy passing
domstate passing
""".strip().splitlines()

DIFFERENT = {
    "define {dir}/bad.xml": "malformed text is VIR_ERR_XML_ERROR here, as most clients expect of bad XML",
    "define {dir}/broken.xml": "two things are missing, and each daemon names another one first",
    "define {dir}/notype.xml": "VIR_ERR_XML_ERROR with the line, where libvirtd says 'internal error'",
}


# Of a running guest with a disk, an interface, a display and a balloon ("busy"), and of one that does not run ("idle").
QUESTIONS = """
domstats busy --enforce
domstats busy --nowait
domstats busy --enforce --perf
domstats busy --enforce --iothread
domstats busy --enforce --memory
domstats busy --enforce --dirtyrate
domstats busy --state
domstats idle --enforce --state --balloon --vcpu
domhostname busy
domhostname idle
domfsinfo busy
domfsfreeze busy
domfsthaw busy
domfstrim busy
guestinfo busy
guestvcpus busy
domifaddr busy
domifaddr busy --source agent
domtime busy
domtime idle
set-user-password busy root secret
get-user-sshkeys busy root
qemu-agent-command busy {{}}
dompmsuspend busy mem
domjobinfo busy
domjobinfo idle
domjobabort busy
domcontrol busy
domblkstat busy
domblkstat busy vda
domblkstat busy nope
domblkstat idle vda
domblkinfo busy vda
domblkinfo busy nope
domblkerror busy
domblkerror idle
domiflist busy
domifstat busy nope
dommemstat busy
dommemstat idle
dommemstat busy --period 2 --live
dommemstat busy --period 3 --config
dommemstat idle --period 4 --config
dumpxml idle
cpu-stats busy
cpu-stats idle
vcpuinfo idle
vcpupin busy
vcpupin idle
vcpucount busy
emulatorpin busy
emulatorpin idle
iothreadinfo busy
iothreadinfo idle
schedinfo busy
schedinfo idle
blkiotune busy
blkiotune idle
memtune busy
memtune idle
numatune busy
numatune idle
blkdeviotune busy vda
blkdeviotune idle vda
blkdeviotune idle nope
domiftune busy nope
domiftune idle 52:54:00:00:00:06
perf busy
perf idle
setmem busy 96M --live
setmem busy 200M --live
setmem idle 32M --live
setmaxmem busy 256M --live
setvcpus busy 5 --live
setvcpus idle 1 --live
domdisplay busy
vncdisplay busy
screenshot idle
domlaunchsecinfo busy
blockjob busy vda
""".strip().splitlines()


def wide_xml(name, number, image):
    return f"""<domain type='qemu'><name>{name}</name><uuid>{str(number) * 8}-2222-3333-4444-555555555555</uuid>
<memory unit='MiB'>128</memory><vcpu current='1'>2</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os>
<features><acpi/></features><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{image}'/><target dev='vda' bus='virtio'/></disk>
<interface type='user'><mac address='52:54:00:00:00:0{number}'/><model type='virtio'/></interface>
<graphics type='vnc' port='-1' autoport='yes'/><video><model type='vga'/></video><memballoon model='virtio'/>
</devices></domain>"""


def plain(text):
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r"CPU time:\s+\S+", "CPU time: T", text)
    text = re.sub(r"\nSecurity .*", "", text)
    text = re.sub(r"\nMessages: .*", "", text)  # QEMU runs as root here, and ours says so
    return re.sub(r"\s+$", "", text)


@pytest.fixture(scope="module")
def both():
    with Hosts("likestock", 1, stock=True) as stock, Hosts("likeours", 1, formed=False) as ours:
        yield stock, ours


def test_virsh_says_the_same(both, tmp_path):
    (tmp_path / "bad.xml").write_text("<domain")
    (tmp_path / "broken.xml").write_text("<domain type='qemu'><name>x</name></domain>")
    (tmp_path / "notype.xml").write_text("<domain><name>x</name></domain>")
    (tmp_path / "small.xml").write_text(small_xml("small", UUID))
    (tmp_path / "clash.xml").write_text(small_xml("small"))
    (tmp_path / "guest.xml").write_text(guest_xml("guest", "22222222-2222-3333-4444-555555555555"))
    (tmp_path / "passing.xml").write_text(guest_xml("passing", "33333333-2222-3333-4444-555555555555"))
    faults = []
    for line in COMMANDS:
        words = line.format(dir=tmp_path).split()
        answers = []
        for hosts in both:
            result = hosts.exec("node1", "virsh", *words, check=False, timeout=40)
            answers.append((result.returncode, plain(result.stdout), plain(result.stderr)))
        if answers[0] != answers[1] and line not in DIFFERENT:
            faults.append(f"virsh {line}\n  libvirtd: {answers[0]}\n  ours:     {answers[1]}")
    assert not faults, f"{len(faults)} of {len(COMMANDS)} differ:\n" + "\n".join(faults)


def test_the_definition_reads_the_same(both, tmp_path):
    """Defaults, addresses and order of elements: scripts and Ansible compare texts."""
    (tmp_path / "guest.xml").write_text(guest_xml("same", UUID))
    texts = []
    for hosts in both:
        hosts.virsh("node1", "define", tmp_path / "guest.xml")
        # The stock daemon makes up a MAC address for no interface here, so that nothing is left to chance.
        texts.append(hosts.virsh("node1", "dumpxml", "same", "--inactive").splitlines())
        hosts.virsh("node1", "undefine", "same")
    assert texts[1] == texts[0]


def test_the_log_of_a_guest_is_where_people_look(both, tmp_path):
    (tmp_path / "guest.xml").write_text(guest_xml("logged", UUID))
    for hosts in both:
        hosts.virsh("node1", "create", tmp_path / "guest.xml")
        log = hosts.exec("node1", "cat", "/var/log/libvirt/qemu/logged.log").stdout
        assert "qemu-system-x86_64" in log and "logged" in log
        hosts.virsh("node1", "destroy", "logged")
        wait_for(lambda: "logged" not in hosts.virsh("node1", "list", "--all", "--name"), 5, "the end of it")


def without_numbers(text):
    return re.sub(r"\d+", "N", plain(text))


@pytest.fixture
def images():
    """libvirtd's QEMU runs as a user who cannot look into pytest's directories."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def test_questions_about_a_guest_are_answered_the_same(both, images):
    answers = []
    for hosts in both:
        for number, name in enumerate(("busy", "idle"), 5):
            image = images / f"{name}.img"
            with open(image, "wb") as file:
                file.truncate(16 << 20)
            (images / f"{name}.xml").write_text(wide_xml(name, number, image))
            hosts.virsh("node1", "define", images / f"{name}.xml")
        hosts.virsh("node1", "start", "busy")
        results = [hosts.exec("node1", "virsh", *line.replace("{{}}", "{}").split(), check=False, timeout=40)
                   for line in QUESTIONS]
        answers.append([(r.returncode, without_numbers(r.stdout), without_numbers(r.stderr)) for r in results])
        hosts.virsh("node1", "destroy", "busy")
        for name in ("busy", "idle"):
            hosts.virsh("node1", "undefine", name)
    faults = [f"virsh {line}\n  libvirtd: {stock}\n  ours:     {ours}"
              for line, stock, ours in zip(QUESTIONS, *answers) if stock != ours]
    assert not faults, f"{len(faults)} of {len(QUESTIONS)} differ:\n" + "\n".join(faults)


def test_create_of_a_defined_domain_runs_the_given_text_once(both, tmp_path):
    own, other = "88888888-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
    texts = {"one": small_xml("twice", own), "two": small_xml("twice", own),
             "other-uuid": small_xml("twice", other), "other-name": small_xml("else", own)}
    for key, text in texts.items():
        (tmp_path / f"{key}.xml").write_text(text.replace("<memory", f"<title>{key}</title><memory", 1))
    lines = """define one.xml
        create other-uuid.xml
        create other-name.xml
        create two.xml
        desc twice --title
        desc twice --title --config
        create two.xml
        create other-uuid.xml
        create other-name.xml
        dominfo twice
        destroy twice
        desc twice --title
        undefine twice""".splitlines()
    for line in lines:
        words = [tmp_path / word if word.endswith(".xml") else word for word in line.split()]
        stock, ours = (hosts.exec("node1", "virsh", *words, check=False, timeout=40) for hosts in both)
        assert (ours.returncode, plain(ours.stdout), plain(ours.stderr)) == \
            (stock.returncode, plain(stock.stdout), plain(stock.stderr)), line


def test_a_screenshot_is_a_picture(both, images):
    for number, hosts in enumerate(both):
        (images / "disk.img").write_bytes(b"\0" * 65536)
        (images / "seen.xml").write_text(wide_xml("seen", 7, images / "disk.img"))
        hosts.virsh("node1", "create", images / "seen.xml")
        picture = images / f"{number}.png"
        hosts.virsh("node1", "screenshot", "seen", picture)
        content = picture.read_bytes()
        assert content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")
        hosts.virsh("node1", "destroy", "seen")
