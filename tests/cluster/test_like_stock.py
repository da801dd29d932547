"""The same virsh commands on a lone host of ours and on a stock libvirtd: output, errors and exit codes must be the same.

What may differ (UUIDs, times, the daemon's version) is made equal first. A command whose answer differs for a good reason is
in DIFFERENT, with the reason.
"""
import re

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
    "domtime small": "the guest agent is not supported yet",
}


def plain(text):
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r"CPU time:\s+\S+", "CPU time: T", text)
    text = re.sub(r"\nSecurity .*", "", text)
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
