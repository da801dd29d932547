"""Guests with more than QEMU: UEFI with its store, an emulated TPM, a shared directory, threads with places of their own.

Programs beside QEMU outlive the daemon, are known to the next one, and are gone with the guest.
"""
import pathlib
import shutil
import tempfile

import pytest

from host import Hosts, wait_for

HELPERS = "ps axo args | grep -E '^/usr/bin/swtpm |virtiofsd --fd' | grep -v grep || true"

GUEST = """<domain type='qemu'>
  <name>helped</name>
  <memory unit='MiB'>128</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <vcpu>2</vcpu>
  <cputune><vcpupin vcpu='0' cpuset='0'/><emulatorpin cpuset='0'/><vcpusched vcpus='1' scheduler='batch'/></cputune>
  <os{firmware}><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><apic/></features>
  <devices>{devices}</devices>
</domain>
"""
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
SHARE = "<filesystem type='mount'><driver type='virtiofs'/><source dir='{}'/><target dir='share'/></filesystem>"


@pytest.fixture(scope="module")
def host():
    with Hosts("helpers", 1) as hosts, tempfile.TemporaryDirectory() as directory:
        yield hosts, pathlib.Path(directory)


def define(host, devices, firmware=""):
    hosts, directory = host
    path = directory / "helped.xml"
    path.write_text(GUEST.format(devices=devices, firmware=firmware))
    hosts.virsh("node1", "define", path)


def ask(host, *command):
    return host[0].exec("node1", *command).stdout


def helpers(host):
    return [line for line in ask(host, "sh", "-c", HELPERS).splitlines() if line]


@pytest.mark.skipif(shutil.which("swtpm_setup") is None or shutil.which("virtiofsd", path="/usr/lib/qemu:/usr/libexec") is None,
                    reason="needs swtpm and virtiofsd")
def test_helpers_outlive_the_daemon_and_go_with_the_guest(host):
    define(host, TPM + SHARE.format(host[1]))
    host[0].virsh("node1", "start", "helped")
    assert len(helpers(host)) >= 2
    host[0].kill("node1")
    host[0].restart("node1")
    wait_for(lambda: "running" in host[0].virsh("node1", "domstate", "helped", check=False), 20, "running again")
    host[0].virsh("node1", "destroy", "helped")
    wait_for(lambda: helpers(host) == [], 10, "helpers gone")
    assert "tpm2-00.permall" in ask(host, "sh", "-c", "ls /var/lib/libvirt/swtpm/*/tpm2")
    host[0].virsh("node1", "undefine", "helped")
    assert ask(host, "sh", "-c", "ls /var/lib/libvirt/swtpm").strip() == ""


@pytest.mark.skipif(not pathlib.Path("/usr/share/qemu/firmware").is_dir(), reason="needs firmware descriptors")
def test_firmware_is_chosen_and_its_store_belongs_to_the_definition(host):
    define(host, "", " firmware='efi'")
    host[0].virsh("node1", "start", "helped")
    assert "type='pflash'" in host[0].virsh("node1", "dumpxml", "helped")
    assert "<loader" not in host[0].virsh("node1", "dumpxml", "--inactive", "helped")
    host[0].virsh("node1", "destroy", "helped")
    assert "helped_VARS.fd" in ask(host, "ls", "/var/lib/libvirt/qemu/nvram")
    assert host[0].exec("node1", "virsh", "undefine", "helped", check=False).returncode != 0
    host[0].virsh("node1", "undefine", "--nvram", "helped")
    assert "helped_VARS.fd" not in ask(host, "ls", "/var/lib/libvirt/qemu/nvram")


def test_a_bridge_that_is_missing_is_named_with_the_interface(host):
    define(host, "<interface type='bridge'><source bridge='virbr9'/></interface>")
    answer = host[0].exec("node1", "virsh", "start", "helped", check=False)
    assert answer.returncode != 0 and "virbr9" in answer.stderr and "net0" in answer.stderr
    host[0].virsh("node1", "undefine", "helped")
