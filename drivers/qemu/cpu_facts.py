#!/usr/bin/env python3
"""Writes cpu_data.c: what a QEMU knows of x86 CPUs, asked of it by QMP.

    drivers/qemu/cpu_facts.py [qemu-system-x86_64] > drivers/qemu/cpu_data.c

Run by hand when a newer QEMU has more models. Features come from the properties of a CPU, each one's place from the CPUID words
of a CPU that was made with that feature alone; models from query-cpu-model-expansion. Names are those of libvirt's clients where
they differ from QEMU's.
"""
import json
import re
import socket
import subprocess
import sys

QEMU = sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64"

# How clients spell what QEMU calls otherwise. QEMU takes both spellings of those with a line below.
CLIENTS = {"pclmulqdq": "pclmuldq", "ds-cpl": "ds_cpl", "lahf-lm": "lahf_lm", "cmp-legacy": "cmp_legacy",
           "nodeid-msr": "nodeid_msr", "perfctr-core": "perfctr_core", "perfctr-nb": "perfctr_nb", "fxsr-opt": "fxsr_opt",
           "tsc-adjust": "tsc_adjust"}
# Manuals of the processors: what QEMU has in every CPU, or never gives by name.
KNOWN = {"fpu": (1, 0, "EDX", 0), "pse": (1, 0, "EDX", 3), "apic": (1, 0, "EDX", 9), "hypervisor": (1, 0, "ECX", 31),
         "xsave": (1, 0, "ECX", 26), "osxsave": (1, 0, "ECX", 27), "ospke": (7, 0, "ECX", 4)}
# In a register that only the kernel can read.
MSR = ["rdctl-no", "ibrs-all", "rsba", "skip-l1dfl-vmentry", "ssb-no", "mds-no", "pschange-mc-no", "tsx-ctrl", "taa-no",
       "split-lock-detect"]
# Not features of a CPU, or of the details of nested guests, or of CPUs that are not made any more.
OTHER = ("hv-", "kvm", "x-", "vmx-", "host-", "tcg-", "enforce", "check", "realized", "migratable", "hotplug", "start-powered",
         "pmu", "legacy-cache", "l3-cache", "fill-mtrr", "full-", "lmce", "vmware", "cpuid-0xb", "phe", "pmm", "xstore", "xcrypt",
         "ace2")
VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
REGISTERS = ["EAX", "EBX", "ECX", "EDX"]
# Models of what is no CPU of its own, and those that have vendors of their maker's choice under each accelerator.
MODES = ("host", "max", "base")
# In every model because it is a guest; off under KVM; off under TCG: none of them tells models apart.
NOT_MODELS = ("hypervisor", "monitor", "vme")
VENDORLESS = ("qemu64", "qemu32", "kvm64", "kvm32", "486", "pentium", "pentium2", "pentium3")


class Qemu:
    def __init__(self, *options):
        ours, theirs = socket.socketpair()
        self.file = ours.makefile("rw")
        self.process = subprocess.Popen(
            [QEMU, "-S", "-nodefaults", "-no-user-config", "-display", "none", "-chardev",
             "socket,id=m,fd=%d" % theirs.fileno(), "-mon", "chardev=m,mode=control", *options],
            pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
        theirs.close()
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        """None: refused."""
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            reply = json.loads(self.file.readline())
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                return None

    def end(self):
        self.process.terminate()
        self.process.wait()


def words_of(qemu, path):
    """Place → bits, of what the CPU has and of what it would have if the accelerator could give it."""
    words = {}
    for name in ("feature-words", "filtered-features"):
        for word in qemu.ask("qom-get", path=path, property=name) or []:
            place = word["cpuid-input-eax"], word.get("cpuid-input-ecx", 0), word["cpuid-register"]
            words[place] = words.get(place, 0) | word["features"]
    return words


def places_of(names):
    """Feature → (leaf, subleaf, register, bit)."""
    most = 220
    options = ["-accel", "tcg", "-machine", "q35", "-cpu", "486", "-smp",
               "1,sockets=%d,cores=1,threads=1,maxcpus=%d" % (most, most)]
    places, qemu, used, plain = {}, None, most, {}
    for name in names:
        if used >= most - 1:
            if qemu:
                qemu.end()
            qemu, used = Qemu(*options), 1
            where = {"socket-id": used, "core-id": 0, "thread-id": 0}
            qemu.ask("device_add", driver="486-x86_64-cpu", id="c1", **where)
            plain = words_of(qemu, "/machine/peripheral/c1")
        used += 1
        if qemu.ask("device_add", driver="486-x86_64-cpu", id="c%d" % used,
                    **{"socket-id": used, "core-id": 0, "thread-id": 0, name: True}) is None:
            continue
        words = words_of(qemu, "/machine/peripheral/c%d" % used)
        fresh = [(place, bits & ~plain.get(place, 0)) for place, bits in words.items() if bits & ~plain.get(place, 0)]
        if len(fresh) == 1 and fresh[0][1] & (fresh[0][1] - 1) == 0:
            places[name] = (*fresh[0][0], fresh[0][1].bit_length() - 1)
    qemu.end()
    return places


def expand(qemu, model):
    return qemu.ask("query-cpu-model-expansion", type="static", model={"name": model})["model"]["props"]


def order_of(place):
    leaf, subleaf, register, bit = place
    flipped = leaf in (1, 0x80000001)  # the older word first
    return leaf, subleaf, -REGISTERS.index(register) if flipped else REGISTERS.index(register), bit


def wrapped(text):
    """A string of words as C strings of bearable length."""
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > 100:
            lines.append(line)
            line = ""
        line += word + " "
    lines.append(line.rstrip())
    return "\n".join('      "%s"' % line for line in lines)


def main():
    qemu = Qemu("-accel", "tcg", "-machine", "pc")
    definitions = qemu.ask("query-cpu-definitions")
    version = qemu.ask("query-version")["qemu"]
    static = {d["name"]: expand(qemu, d["name"]) for d in definitions if d["name"] != "host"}
    qemu.end()
    names = sorted(name for name, value in static["max"].items() if isinstance(value, bool) and not name.startswith(OTHER))
    places = {**places_of([n for n in names if n not in KNOWN]), **KNOWN}
    features = sorted(places, key=lambda name: order_of(places[name])) + MSR
    print("/* What QEMU %(major)d.%(minor)d.%(micro)d knows of x86 CPUs. Written by cpu_facts.py: do not edit. */" % version)
    print('#include "drivers/qemu/cpu_data.h"\n\n#include "conf/base/macros.h"\n')
    print("/* clang-format off */")
    print("const struct vq_cpu_feature_fact vq_cpu_features[] = {")
    for name in features:
        leaf, subleaf, register, bit = places.get(name, (0, 0, "EAX", 0))
        qemu_name = '"%s"' % name if name in CLIENTS else "NULL"
        print('    {"%s", %s, 0x%x, %d, VQ_CPUID_%s, %d},' %
              (CLIENTS.get(name, name), qemu_name, leaf, subleaf, register if name in places else "NONE", bit))
    print("};\nconst size_t vq_n_cpu_features = VQ_N_ELEMENTS(vq_cpu_features);\n")
    print("const struct vq_cpu_model_fact vq_cpu_models[] = {")
    people = [d["name"] for d in definitions if d["name"] in static and d["name"] not in MODES and
              not re.search("-v[0-9]+$", d["name"])]
    for name in people:
        props = static[name]
        vendor = VENDORS.get(props["vendor"])
        print('    {"%s", %s, %d, %d, %d,\n%s},' %
              (name, '"%s"' % vendor if vendor and name not in VENDORLESS else "NULL", props["family"], props["model"],
               props["stepping"], wrapped(" ".join(CLIENTS.get(f, f) for f in features if props.get(f) and f not in NOT_MODELS))))
    print("};\nconst size_t vq_n_cpu_models = VQ_N_ELEMENTS(vq_cpu_models);")


if __name__ == "__main__":
    main()
