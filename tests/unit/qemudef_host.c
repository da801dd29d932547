/* Capabilities of a host whose /proc and /sys are a directory of the test, and of an emulator that is always the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/xml.h"
#include "drivers/driver.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/cpu_host.h"
#include "drivers/qemu/domain_capabilities.h"
#include "drivers/qemu/firmware_list.h"
#include "drivers/qemu/host_capabilities.h"
#include "tests/golden/qemu/support.h"

static char root[] = "/tmp/host.XXXXXX";

static void put(const char *path, const char *text)
{
    VQ_AUTOFREE char *command = vq_asprintf("mkdir -p \"$(dirname '%s%s')\"", root, path);
    VQ_AUTOFREE char *whole = vq_asprintf("%s%s", root, path);

    assert_int_equal(system(command), 0);
    FILE *file = fopen(whole, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void put_cpu(unsigned number, const char *socket, const char *core, const char *siblings)
{
    const struct {
        const char *name, *text;
    } files[] = {{"physical_package_id", socket}, {"die_id", "0"}, {"core_id", core}, {"thread_siblings_list", siblings}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(files); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("/sys/devices/system/cpu/cpu%u/topology/%s", number, files[i].name);
        VQ_AUTOFREE char *text = vq_asprintf("%s\n", files[i].text);
        put(path, text);
    }
}

static void put_cache(unsigned number, const char *id, const char *cpus)
{
    const struct {
        const char *name, *text;
    } files[] = {{"index3/id", id}, {"index3/level", "3"}, {"index3/size", "8192K"}, {"index3/type", "Unified"},
                 {"index3/shared_cpu_list", cpus}, {"index0/level", "1"}, {"index0/size", "32K"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(files); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("/sys/devices/system/cpu/cpu%u/cache/%s", number, files[i].name);
        put(path, files[i].text);
    }
}

/* Two sockets with two cores of two threads each, and a node of memory for each socket. */
static int make_root(void **state)
{
    (void)state;
    if (mkdtemp(root) == NULL)
        return -1;
    put("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmicrocode\t: 0x84\n"
                         "address sizes\t: 39 bits physical, 48 bits virtual\n\nprocessor\t: 1\nvendor_id\t: Nobody\n");
    put("/sys/devices/system/cpu/online", "0-7\n");
    for (unsigned i = 0; i < 8; i++) {
        char siblings[8], core[4];
        (void)snprintf(siblings, sizeof(siblings), "%u-%u", i / 2 * 2, i / 2 * 2 + 1);
        (void)snprintf(core, sizeof(core), "%u", i / 2 % 2);
        put_cpu(i, i < 4 ? "0" : "1", core, siblings);
        put_cache(i, i < 4 ? "0" : "1", i < 4 ? "0-3" : "4-7");
    }
    put("/sys/kernel/iommu_groups/0/type", "DMA\n");
    put("/sys/devices/system/node/online", "0-1\n");
    put("/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:       1000 kB\n");
    put("/sys/devices/system/node/node1/meminfo", "Node 1 MemTotal:       2000 kB\n");
    put("/sys/devices/system/node/node0/cpulist", "0-3\n");
    put("/sys/devices/system/node/node1/cpulist", "4-7\n");
    put("/sys/devices/system/node/node0/distance", "10 21\n");
    put("/sys/devices/system/node/node1/distance", "21 10\n");
    put("/sys/power/state", "freeze mem disk\n");
    put("/sys/class/dmi/id/product_uuid", "C7A5FDBD-EDAF-9455-926A-D65C16DB1809\n");
    return 0;
}

static int remove_root(void **state)
{
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf '%s'", root);

    (void)state;
    return system(command);
}

static void expect(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        print_error("not there: %s\nin:\n%s", part, text);
    assert_non_null(strstr(text, part));
}

/* A Kaby Lake, as far as anybody asks. */
static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
    memset(registers, 0, 4 * sizeof(*registers));
    if (leaf == 0)
        memcpy(&registers[1], "GenuntelineI", 12); /* EBX, ECX, EDX */
    if (leaf == 1) {
        registers[0] = 0x000906e9;
        registers[2] = 1u << 19 | 1u << 5;         /* sse4.1, vmx */
        registers[3] = 0x0febfbff;                 /* with vme */
    }
    if (leaf == 7 && subleaf == 0)
        registers[1] = 1u << 5;                    /* avx2 */
    if (leaf == 0x80000007)
        registers[3] = 1u << 8;                    /* invtsc */
}

static char *read_host(const char *where)
{
    const struct vq_driver_host lone = { .node_name = "lone" };
    const struct vq_host_clock clock = {.is_known = true, .hz = 2400000000u};
    struct vq_cpu_facts cpu;
    uint8_t uuid[16];

    vq_qemu_host_identity(where, &lone, uuid);
    vq_cpu_host_read(fake_cpuid, &cpu);
    return vq_qemu_host_read(where, NULL, uuid, &cpu, &clock);
}

static void expect_uuid(const char *where, const struct vq_driver_host *driver_host, const char *text)
{
    uint8_t uuid[16];
    char found[VQ_UUID_TEXT];

    vq_qemu_host_identity(where, driver_host, uuid);
    vq_uuid_format(uuid, found);
    assert_string_equal(found, text);
}

static void a_node_of_a_cluster_is_another_host_than_its_neighbour_on_the_same_machine(void **state)
{
    static const uint8_t cluster[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 }, none[16];
    struct vq_driver_host it = { .node_name = "n", .node_id = 0x102, .cluster_id = cluster };

    (void)state;
    expect_uuid(root, &it, "01020304-0506-0708-090a-0b0c0d0e0e12");
    it.node_id = 0x103;
    expect_uuid(root, &it, "01020304-0506-0708-090a-0b0c0d0e0e13");
    it.cluster_id = none;
    expect_uuid(root, &it, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
}

static void the_administrator_says_who_the_host_is(void **state)
{
    static const uint8_t cluster[16] = { 1 };
    struct vq_driver_host it = { .node_name = "n", .node_id = 1, .cluster_id = cluster, .host_uuid_source = "smbios" };

    (void)state;
    expect_uuid(root, &it, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
    it.host_uuid_source = "machine-id"; /* there is none */
    expect_uuid("/nonexistent", &it, "01000000-0000-0000-0000-000000000001");
    it.host_uuid = "00112233-4455-6677-8899-aabbccddeeff";
    expect_uuid(root, &it, "00112233-4455-6677-8899-aabbccddeeff");
}

static void a_host_that_says_nothing_is_known_by_its_name(void **state)
{
    const struct vq_driver_host a = { .node_name = "a" }, b = { .node_name = "b" };
    uint8_t first[16], again[16], other[16];

    (void)state;
    vq_qemu_host_identity("/nonexistent", &a, first);
    vq_qemu_host_identity("/nonexistent", &a, again);
    vq_qemu_host_identity("/nonexistent", &b, other);
    assert_memory_equal(first, again, 16);
    assert_memory_not_equal(first, other, 16);
    assert_true(vq_uuid_is_usable(first));
}

static void the_host_is_told_as_its_kernel_tells_it(void **state)
{
    VQ_AUTOFREE char *host = read_host(root);

    (void)state;
    expect(host, "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>");
    expect(host, "<vendor>Intel</vendor>");
    expect(host, "<microcode version='132'/>");
    expect(host, "<signature family='6' model='158' stepping='9'/>");
    expect(host, "<topology sockets='2' dies='1' cores='2' threads='2'/>");
    expect(host, "<maxphysaddr mode='emulate' bits='39'/>");
    expect(host, "<feature name='sse4.1'/>");
    expect(host, "<feature name='invtsc'/>");
    expect(host, "<counter name='tsc' frequency='2400000000' scaling='no'/>");
    expect(host, "<bank id='0' level='3' type='both' size='8' unit='MiB' cpus='0-3'/>");
    expect(host, "<bank id='1' level='3' type='both' size='8' unit='MiB' cpus='4-7'/>");
    expect(host, "<iommu support='yes'/>");
    expect(host, "<uri_transport>tcp</uri_transport>");
    expect(host, "<suspend_mem/>");
    expect(host, "<suspend_disk/>");
}

static void each_node_has_its_memory_and_cpus(void **state)
{
    VQ_AUTOFREE char *host = read_host(root);

    (void)state;
    expect(host, "<cells num='2'>");
    expect(host, "<memory unit='KiB'>1000</memory>");
    expect(host, "<memory unit='KiB'>2000</memory>");
    expect(host, "<sibling id='1' value='21'/>");
    expect(host, "<cpu id='6' socket_id='1' die_id='0' core_id='1' siblings='6-7'/>");
}

static void a_host_that_tells_nothing_still_gives_a_document(void **state)
{
    VQ_AUTOFREE char *host = read_host("/nonexistent");

    (void)state;
    expect(host, "<topology sockets='1' dies='1' cores='1' threads='1'/>");
    expect(host, "<cells num='1'>");
    expect(host, "<power_management/>");
}

static void check_well_formed(const char *text, const char *name)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_xml_read(text, "capabilities", name, &doc, &err), 0);
}

static void each_emulator_is_a_guest_of_each_of_its_architectures(void **state)
{
    VQ_AUTOFREE char *host = read_host(root);
    const struct vq_qemu_guest_kind guests[] = {{vq_qemu_arch_find("i686"), golden_capabilities()},
                                                {vq_qemu_arch_find("x86_64"), golden_capabilities()}};
    VQ_AUTOFREE char *text = vq_qemu_host_capabilities_format(host, guests, VQ_N_ELEMENTS(guests));

    (void)state;
    check_well_formed(text, "capabilities");
    expect(text, "<arch name='i686'>");
    expect(text, "<arch name='x86_64'>");
    expect(text, "<machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>");
    expect(text, "<domain type='kvm'/>");
}

static void kvm_is_told_only_where_it_works(void **state)
{
    VQ_AUTOFREE char *host = read_host(root);
    struct vq_qemu_capabilities without = *golden_capabilities();
    const struct vq_qemu_guest_kind guest = {vq_qemu_arch_find("x86_64"), &without};

    (void)state;
    without.has_kvm = false;
    VQ_AUTOFREE char *text = vq_qemu_host_capabilities_format(host, &guest, 1);
    assert_null(strstr(text, "type='kvm'/>\n    </arch>"));
    assert_null(strstr(text, "<domain type='kvm'/>"));
}

static void domain_capabilities_name_what_the_emulator_has(void **state)
{
    struct vq_qemu_capabilities caps = *golden_capabilities();
    const struct vq_qemu_machine *q35 = vq_qemu_capabilities_machine(&caps, "q35");
    const struct vq_qemu_machine *pc = vq_qemu_capabilities_machine(&caps, "pc");
    struct vq_qemu_firmware_list firmware;
    const struct vq_qemu_host_offers host = {.firmware = &firmware, .has_swtpm = true};

    (void)state;
    put("/usr/share/qemu/firmware/50-secure.json",
        "{\"mapping\": {\"device\": \"flash\", \"executable\": {\"filename\": \"/fw/secure.fd\"}}, \"features\": [\"requires-smm\"],"
        "\"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"pc-q35-*\"]}]}");
    put("/usr/share/qemu/firmware/60-plain.json",
        "{\"mapping\": {\"device\": \"flash\", \"executable\": {\"filename\": \"/fw/plain.fd\"}},"
        "\"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"pc-i440fx-*\", \"pc-q35-*\"]}]}");
    put("/usr/share/qemu/firmware/70-masked.json",
        "{\"mapping\": {\"device\": \"flash\", \"executable\": {\"filename\": \"/fw/masked.fd\"}},"
        "\"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"*\"]}]}");
    put("/etc/qemu/firmware/70-masked.json", "");
    put("/etc/qemu/firmware/80-broken.json", "{\"mapping\": 3, \"targets\": [[]]}");
    vq_qemu_firmware_list_read(root, "x86_64", q35->name, &firmware);
    caps.path = (char *)"/opt/<q>&emu";
    VQ_AUTOFREE char *text = vq_qemu_domain_capabilities_format(&caps, q35, "x86_64", false, &host);
    check_well_formed(text, "domainCapabilities");
    expect(text, "<path>/opt/&lt;q&gt;&amp;emu</path>");
    expect(text, "<vcpu max='288'/>");
    expect(text, "<value>/fw/secure.fd</value>\n      <value>/fw/plain.fd</value>\n      <enum name='type'>");
    expect(text, "<enum name='firmware'>\n      <value>efi</value>");
    expect(text, "<value>emulator</value>");
    expect(text, "<enum name='pciBackend'/>");
    expect(text, "<enum name='secure'>\n        <value>yes</value>");
    vq_qemu_firmware_list_done(&firmware);
    vq_qemu_firmware_list_read(root, "x86_64", pc->name, &firmware);
    assert_int_equal(firmware.n_paths, 1);
    assert_false(firmware.has_secure);
    expect(text, "<value>sata</value>");
    assert_null(strstr(text, "<value>ide</value>"));
    expect(text, "vendor='unknown'>qemu64</model>");
    assert_null(strstr(text, ">host</model>"));
    expect(text, "<mode name='host-passthrough' supported='no'/>");
    VQ_AUTOFREE char *of_pc = vq_qemu_domain_capabilities_format(&caps, pc, "x86_64", true, &host);
    check_well_formed(of_pc, "domainCapabilities");
    expect(of_pc, "<value>ide</value>");
    expect(of_pc, "<mode name='host-passthrough' supported='yes'>");
    vq_qemu_firmware_list_done(&firmware);
}

static void versions_of_a_cpu_model_are_not_for_people(void **state)
{
    static const struct {
        const char *name;
        bool is_for_people;
    } cases[] = {{"qemu64", true}, {"qemu64-v1", false}, {"EPYC-v12", false}, {"host", false}, {"max", false},
                 {"base", false}, {"Haswell-noTSX", true}, {"x-v", true}, {"x-v1a", true}, {"486", true}};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        const struct vq_qemu_cpu_model model = {.name = (char *)cases[i].name};
        assert_int_equal(vq_qemu_cpu_model_is_for_people(&model), cases[i].is_for_people);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_is_told_as_its_kernel_tells_it),
        cmocka_unit_test(a_node_of_a_cluster_is_another_host_than_its_neighbour_on_the_same_machine),
        cmocka_unit_test(the_administrator_says_who_the_host_is),
        cmocka_unit_test(a_host_that_says_nothing_is_known_by_its_name),
        cmocka_unit_test(each_node_has_its_memory_and_cpus),
        cmocka_unit_test(a_host_that_tells_nothing_still_gives_a_document),
        cmocka_unit_test(each_emulator_is_a_guest_of_each_of_its_architectures),
        cmocka_unit_test(kvm_is_told_only_where_it_works),
        cmocka_unit_test(domain_capabilities_name_what_the_emulator_has),
        cmocka_unit_test(versions_of_a_cpu_model_are_not_for_people),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
