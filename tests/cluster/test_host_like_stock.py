"""What a host says of itself and of CPUs, beside a stock libvirtd on the same machine: capabilities, domain capabilities, CPUs
compared and combined, node calls. What differs for a good reason is in a list, with the reason."""
import re
import xml.etree.ElementTree as tree

import pytest

from host import Hosts


@pytest.fixture(scope="module")
def both():
    with Hosts("hoststock", 1, stock=True) as stock, Hosts("hostours", 1, formed=False) as ours:
        stock.connection, ours.connection = stock.libvirt("node1"), ours.libvirt("node1")
        yield stock, ours
        stock.connection.close()
        ours.connection.close()


def host_of(hosts):
    return tree.fromstring(hosts.connection.getCapabilities())


def shape(element, skip=()):
    """Every element with its attributes and text, as paths; without what is in skip."""
    lines = []

    def walk(node, path):
        if path in skip:
            return
        words = " ".join("%s=%s" % pair for pair in sorted(node.attrib.items()))
        lines.append("%s %s %s" % (path, words, (node.text or "").strip()))
        for child in node:
            walk(child, path + "/" + child.tag)
    walk(element, element.tag)
    return sorted(lines)


HOST_DIFFERENT = {
    "host/uuid": "each daemon is a host of its own",
    "host/migration_features": "ours moves guests over tcp only",
    "host/secmodel": "what labels are given, is told with the labels",
}


def test_the_host_is_described_alike(both):
    stock, ours = (shape(host_of(hosts).find("host"), HOST_DIFFERENT) for hosts in both)
    assert ours == stock


def test_the_host_has_the_uris_and_labels_that_clients_look_for(both):
    host = host_of(both[1]).find("host")
    assert [word.text for word in host.iter("uri_transport")] == ["tcp"]
    assert host.find("migration_features/live") is not None
    assert "dac" in [word.text for word in host.iterfind("secmodel/model")]


def test_the_same_guests_can_run_with_the_same_machines(both):
    def kinds(hosts):
        found = {}
        for guest in host_of(hosts).findall("guest"):
            arch = guest.find("arch")
            machines = {(m.text, m.get("canonical"), m.get("maxCpus"), m.get("deprecated")) for m in arch.findall("machine")}
            features = [shape(feature) for feature in guest.find("features")]
            found[arch.get("name")] = (arch.findtext("wordsize"), arch.findtext("emulator"), machines, sorted(map(str, features)))
        return found
    stock, ours = map(kinds, both)
    assert sorted(ours) == sorted(name for name in stock if name != "armv6l")  # ours tells 32-bit ARM once
    for arch, kind in ours.items():
        assert kind == stock[arch], arch


def test_clients_that_take_the_first_machine_get_the_default_one(both):
    stock, ours = ({g.find("arch").get("name"): g.find("arch/machine").text for g in host_of(hosts).findall("guest")}
                   for hosts in both)
    assert ours["x86_64"] == stock["x86_64"]


def domain_capabilities(hosts, machine):
    return tree.fromstring(hosts.connection.getDomainCapabilities(None, "x86_64", machine, "qemu"))


# Models of QEMU that libvirt has no name for.
OURS_ONLY = {"KnightsMill", "Denverton"}


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_models_and_modes_of_cpus_are_those_of_the_emulator(both, machine):
    stock, ours = (domain_capabilities(hosts, machine).find("cpu") for hosts in both)
    def models(cpu):
        return [(m.text, m.get("usable"), m.get("vendor")) for m in cpu.iterfind("mode[@name='custom']/model")
                if m.text not in OURS_ONLY]
    assert models(ours) == models(stock)
    assert [(m.get("name"), m.get("supported")) for m in ours.iterfind("mode")] == \
           [(m.get("name"), m.get("supported")) for m in stock.iterfind("mode")]
    def host_model(cpu):
        mode = cpu.find("mode[@name='host-model']")
        features = {(f.get("name"), f.get("policy")) for f in mode.iterfind("feature")}
        # EPYC has npt in QEMU and not in libvirt's table; vme belongs to no model here
        return mode.findtext("model"), mode.findtext("vendor"), features - {("npt", "require"), ("vme", "disable")}
    assert host_model(ours) == host_model(stock)


DOMAIN_DIFFERENT = {
    "domainCapabilities/cpu": "has a test of its own",
    "domainCapabilities/devices/filesystem": "'handle' is gone from QEMU",
    "domainCapabilities/features/backup": "as soon as it is served",
}


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_guests_can_have_the_same_devices_and_features(both, machine):
    stock, ours = (shape(domain_capabilities(hosts, machine), DOMAIN_DIFFERENT) for hosts in both)
    assert ours == stock
    values = [value.text for value in domain_capabilities(both[1], machine).iterfind("devices/filesystem/enum/value")]
    assert values == ["path", "virtiofs"]


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_the_same_firmware_can_be_named(both, machine):
    stock, ours = (domain_capabilities(hosts, machine).find("os/loader") for hosts in both)
    assert [value.text for value in ours.findall("value")] == [value.text for value in stock.findall("value")]
    assert shape(ours) == shape(stock)


def answer(call, *args):
    import libvirt
    try:
        return call(*args)
    except libvirt.libvirtError as error:
        return error.get_error_code(), error.get_error_message()


def cpu(model, *features, attributes="", arch="<arch>x86_64</arch>", policy="require"):
    names = "".join("<feature policy='%s' name='%s'/>" % (policy, name) for name in features)
    return "<cpu%s>%s<model>%s</model>%s</cpu>" % (attributes, arch, model, names)


EXACT = {"attributes": " match='exact'", "arch": ""}
COMPARED = [
    cpu("486"), cpu("EPYC"), cpu("nope"), "<cpu/>", "<cpu><arch>ppc64</arch><model>POWER9</model></cpu>",
    cpu("486", attributes=" match='exact'"), cpu("486", arch=""), "<domain/>", cpu("486", "nofeat"), cpu("kvm64", "avx512f", **EXACT),
    cpu("kvm64", "aes", policy="forbid", **EXACT), cpu("kvm64", "aes", policy="what", **EXACT),
    cpu("kvm64", "aes", "aes", **EXACT), "<cpu match='strict'><model>486</model></cpu>",
    "<cpu match='exact'><model>kvm64</model><vendor>Intel</vendor></cpu>", "<cpu><arch>x86_64</arch></cpu>",
    "<cpu match='exact'><model>kvm64</model><feature policy='require'/></cpu>",
]


@pytest.mark.parametrize("flags", [0, 1])
def test_cpus_compare_alike(both, flags):
    for xml in COMPARED:
        stock, ours = (answer(hosts.connection.compareCPU, xml, flags) for hosts in both)
        # EPYC has more of the virtualization's own in QEMU; a list of all features is cut in ours
        if isinstance(ours, tuple) and ("required features" in ours[1] or "Extra features" in ours[1]):
            stock, ours = (code for code, _ in (stock, ours))
        assert ours == stock, xml


def test_a_hosts_own_cpu_is_identical_to_it_and_its_own_baseline(both):
    for hosts in both:
        own = tree.tostring(host_of(hosts).find("host/cpu"), encoding="unicode")
        assert hosts.connection.compareCPU(own) == 1
        common = hosts.connection.baselineCPU([own], 2)
        assert hosts.connection.compareCPU(common) == 2
        assert "invtsc" not in common


def test_what_two_cpus_have_in_common_runs_on_both(both):
    for hosts in both:
        for call in (hosts.connection.baselineCPU,
                     lambda xmls, flags: hosts.connection.baselineHypervisorCPU(None, None, None, "qemu", xmls, flags)):
            common = tree.fromstring(call([cpu("EPYC"), cpu("Haswell")], 1))
            features = {f.get("name") for f in common.iterfind("feature") if f.get("policy") == "require"}
            assert {"avx2", "fma", "bmi2", "sse4.2"} <= features
            assert not {"sha-ni", "pcid", "rtm", "svm"} & features


def test_cpus_that_cannot_be_combined_are_refused_alike(both):
    amd, intel = ("<cpu><arch>x86_64</arch><model>%s</model><vendor>%s</vendor></cpu>" % words
                  for words in (("EPYC", "AMD"), ("Haswell", "Intel")))
    for xmls in ([amd, intel], ["<cpu/>"], [cpu("nope")], [cpu("486", arch="")], ["<cpu><arch>x86_64</arch></cpu>"]):
        stock, ours = (answer(hosts.connection.baselineCPU, xmls, 0) for hosts in both)
        assert ours == stock, xmls


NODE_CALLS = [
    ("getMemoryParameters",), ("setMemoryParameters", {"shm_full_scans": 1}), ("suspendForDuration", 0, 70),
    ("suspendForDuration", 1, 70), ("suspendForDuration", 2, 70), ("suspendForDuration", 9, 70), ("allocPages", {2048: 0}, 0, 1),
    ("allocPages", {2048: 1}, 5, 1), ("allocPages", {1234: 1}, 0, 1), ("allocPages", {4: 1}, 0, 1), ("getFreePages", [5], 0, 1),
    ("getFreePages", [4], 3, 1), ("getCellsFreeMemory", 1, 1), ("getCPUMap",), ("getInfo",), ("getMaxVcpus", None),
    ("getMaxVcpus", "nope"), ("getMaxVcpus", "qemu"), ("getMaxVcpus", "kvm"), ("getLibVersion",), ("getVersion",), ("getType",),
    ("isSecure",), ("isEncrypted",), ("isAlive",), ("getSysinfo",), ("getSEVInfo",), ("getCPUModelNames", "moon"),
    ("getHostname",), ("setIdentity", {"made-up": "x"}),
]


def test_the_host_answers_for_itself_alike(both):
    for name, *args in NODE_CALLS:
        stock, ours = (answer(getattr(hosts.connection, name), *args) for hosts in both)
        if name == "getInfo":
            stock, ours = stock[:3] + stock[4:], ours[:3] + ours[4:]  # without the clock, which changes
        assert ours == stock, (name, args)


CPU_OF_GUESTS = [
    "<cpu mode='host-model'/>", "<cpu mode='custom' match='exact'><model>Haswell</model></cpu>", "<cpu mode='maximum'/>", "",
    "<cpu mode='custom' match='exact'><model>Nehalem</model><feature policy='optional' name='avx'/></cpu>",
    "<cpu mode='custom' match='exact' check='partial'><model>Haswell</model></cpu>",
    "<cpu mode='custom' match='exact' check='partial'><model>Nehalem</model><feature policy='forbid' name='aes'/></cpu>",
    "<cpu mode='custom' match='exact' check='partial'><model>Nehalem</model></cpu>", "<cpu mode='host-passthrough'/>",
    "<cpu mode='custom' match='exact'><model>qemu64</model><feature policy='require' name='nofeat'/></cpu>",
]


def effective(xml):
    """Mode, model, and what must be known of the features: those that another host has to leave out."""
    element = tree.fromstring(xml).find("cpu")
    gone = {f.get("name") for f in element.iterfind("feature") if f.get("policy") == "disable"} - {"vme"}
    return element.get("mode"), element.get("check"), element.findtext("model"), gone


def test_a_running_guest_shows_the_cpu_that_it_has(both):
    import libvirt
    for number, element in enumerate(CPU_OF_GUESTS):
        xml = ("<domain type='qemu'><name>cpu%d</name><memory unit='MiB'>32</memory>"
               "<os><type arch='x86_64' machine='pc'>hvm</type></os>%s</domain>" % (number, element))
        found = []
        for hosts in both:
            try:
                guest = hosts.connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)
                found.append(effective(guest.XMLDesc()))
                guest.destroy()
            except libvirt.libvirtError as error:
                found.append((error.get_error_code(), re.sub("vme, ", "", error.get_error_message())))
        assert found[1] == found[0], element


PLAIN = ("<domain type='qemu'><name>%s</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='%s'>hvm</type></os>"
         "<cpu mode='custom' match='exact'><model>qemu64</model></cpu></domain>")


@pytest.fixture()
def guests(both):
    """One that runs and one that does not, at each."""
    import libvirt
    made = [(hosts.connection.createXML(PLAIN % ("busy", "pc-i440fx-1.5"), libvirt.VIR_DOMAIN_START_PAUSED),
             hosts.connection.defineXML(PLAIN % ("idle", "pc"))) for hosts in both]
    yield made
    for busy, idle in made:
        busy.destroy()
        idle.undefine()


def test_what_is_unusual_about_a_guest_is_told_alike(guests):
    import libvirt_qemu
    for flags in (0, 1, 2):
        (stock, idle_stock), (ours, idle_ours) = ((busy.messages(flags), idle.messages(flags)) for busy, idle in guests)
        assert (ours, idle_ours) == (stock, idle_stock)
    for busy, _ in guests:
        libvirt_qemu.qemuMonitorCommand(busy, '{"execute": "query-status"}', 0)
    assert guests[1][0].messages() == guests[0][0].messages()


def test_labels_of_guests_are_told_alike(guests):
    for stock, ours in zip(*guests):
        assert ours.securityLabelList() == stock.securityLabelList()
        assert ours.securityLabel() == stock.securityLabel()


def test_the_dirty_rate_is_measured_and_shown(guests, both):
    import libvirt
    from host import wait_for
    for seconds, flags in ((0, 0), (61, 0), (1, 2)):
        for stock, ours in zip(*guests):
            wrong = [answer(guest.startDirtyRateCalc, seconds, flags) for guest in (stock, ours)]
            assert wrong[1] == wrong[0], (seconds, flags)
    for (busy, _), hosts in zip(guests, both):
        assert busy.startDirtyRateCalc(1, 0) == 0

        def measured(guest=busy, connection=hosts.connection):
            record = connection.domainListGetStats([guest], libvirt.VIR_DOMAIN_STATS_DIRTYRATE)[0][1]
            return record if record["dirtyrate.calc_status"] == libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED else None
        record = wait_for(measured, 10, "a rate")
        assert record["dirtyrate.calc_period"] == 1 and record["dirtyrate.calc_mode"] == "page-sampling"


def test_a_guest_without_secret_memory_takes_no_secret(guests):
    for stock, ours in zip(*guests):
        secret = {"sev-secret": "YQ==", "sev-secret-header": "YQ=="}
        assert answer(ours.setLaunchSecurityState, secret) == answer(stock.setLaunchSecurityState, secret)
        assert ours.launchSecurityInfo() == stock.launchSecurityInfo() == {}
