/* The check before a migration: facts of a host out of a directory, and the verdict on them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_check.h"
#include "drivers/qemu/migrate_facts.h"
#include "drivers/qemu/migrate_judge.h"
#include "proto/gen/node.h"
#include "tests/unit/commands.h"

/* ---- Two hosts ---- */

static char *machine_names[] = {"pc-q35-7.2", "pc-i440fx-7.2"};
static char *model_missing[] = {"avx512f", "pcid", "rtm"};
static char *features[] = {"aes", "avx2", "sse2"};

static struct {
    struct vq_qemu_machine machines[2];
    struct vq_qemu_cpu_model models[2];
    struct vq_qemu_capabilities caps;
    struct vq_domain *def;
    struct vq_facts *facts;
    struct vq_node_migrate_facts_ret there;
    struct vq_node_migrate_file files[8];
    struct vq_migrate_options options;
    struct vq_migrate_cookie cookie;
    struct vq_migrate_case judged;
    struct vq_migrate_problems problems;
} t;

static void no_random(void *bytes, size_t length)
{
    memset(bytes, 7, length);
}

/* A host with one emulator that knows two machines and two CPU models, and a guest with what a test adds. */
static void guest(const char *os, const char *cpu, const char *devices)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *xml = vq_asprintf(
        "<domain type='qemu'><name>web1</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
        "<memory unit='MiB'>512</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>%s</os>%s"
        "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>%s</devices></domain>",
        os, cpu, devices);

    memset(&t, 0, sizeof(t));
    for (size_t i = 0; i < 2; i++)
        t.machines[i] = (struct vq_qemu_machine){.name = machine_names[i], .cpus_max = 255, .has_acpi = true};
    t.models[0] = (struct vq_qemu_cpu_model){.name = (char *)"qemu64", .is_usable = true};
    t.models[1] = (struct vq_qemu_cpu_model){.name = (char *)"Skylake-Server", .missing = model_missing, .n_missing = 3};
    t.caps = (struct vq_qemu_capabilities){
        .references = 1, .path = (char *)"/usr/bin/qemu-system-x86_64", .version = 7002000, .arch = (char *)"x86_64",
        .machines = t.machines, .n_machines = 2, .cpu_models = t.models, .n_cpu_models = 2, .features = features,
        .n_features = 3};
    if (vq_domain_parse(xml, 0, &t.def, &err) < 0)
        fail_msg("%s", err.message);
    t.facts = vq_facts_new(t.def, false);
    (void)snprintf(t.facts->boot_id, sizeof(t.facts->boot_id), "boot-here");
    t.facts->memory_kib = 8 * 1024 * 1024;
    t.facts->cpus = 4;
    for (size_t i = 0; i < t.facts->n_files; i++) {
        t.facts->files[i].mode = S_IFREG | 0644;
        t.facts->files[i].inode = 10 + i;
        t.facts->files[i].fs_type = 0x6969; /* NFS */
        t.facts->files[i].size = 1024;
        t.facts->files[i].has_place = true;
    }
    for (size_t i = 0; i < t.facts->n_links; i++)
        t.facts->links[i].is_there = t.facts->links[i].is_bridge = t.facts->links[i].is_up = true;
    t.there = (struct vq_node_migrate_facts_ret){.boot_id = "boot-there", .files = t.files};
    for (size_t i = 0; i < t.facts->n_files && i < 8; i++, t.there.n_files++) {
        const struct vq_file_fact *fact = &t.facts->files[i];
        t.files[i] = (struct vq_node_migrate_file){.path = fact->path, .is_there = 1, .mode = fact->mode,
                                                   .inode = fact->inode, .size = fact->size, .fs_type = fact->fs_type};
    }
    t.judged = (struct vq_migrate_case){.def = t.def, .options = &t.options, .caps = &t.caps, .here = t.facts,
                                        .there = &t.there, .here_name = "node2", .there_name = "node1",
                                        .random = no_random};
}

static void plain_guest(const char *devices)
{
    guest("", "", devices);
}

static int guest_gone(void **state)
{
    (void)state;
    vq_migrate_problems_done(&t.problems);
    vq_facts_free(t.facts);
    vq_domain_free(t.def);
    memset(&t, 0, sizeof(t));
    return 0;
}

#define DISK "<disk type='file' device='disk'><source file='/images/web1'/><target dev='vda' bus='virtio'/></disk>"
#define SECOND_DISK "<disk type='file' device='disk'><source file='/images/web1-data'/><target dev='vdb' bus='virtio'/></disk>"
#define BRIDGE "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>"

/* The texts of all problems, each "refused" or "warned", to compare in one go. */
static void expect(const char *wanted)
{
    char text[4096] = "";

    vq_migrate_problems_done(&t.problems);
    vq_migrate_judge(&t.judged, &t.problems);
    for (size_t i = 0; i < t.problems.n_items; i++) {
        const struct vq_migrate_problem *problem = &t.problems.items[i];
        size_t length = strlen(text);
        (void)snprintf(text + length, sizeof(text) - length, "%s %s: %s: %s\n",
                       problem->severity == VQ_MIGRATE_WARNING ? "warned" : "refused", problem->node, problem->device,
                       problem->text);
    }
    assert_string_equal(text, wanted);
}

static struct vq_file_fact *file_named(const char *path)
{
    for (size_t i = 0; i < t.facts->n_files; i++)
        if (strcmp(t.facts->files[i].path, path) == 0)
            return &t.facts->files[i];
    fail_msg("nobody asked for '%s'", path);
    return NULL;
}

/* ---- The verdict ---- */

static void a_guest_whose_host_has_everything_may_come(void **state)
{
    (void)state;
    plain_guest(DISK BRIDGE);
    expect("");
}

static void everything_that_is_wrong_is_told_at_once(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    guest("<kernel>/boot/vmlinuz</kernel>", "<cpu><model>Skylake-Server</model></cpu>", DISK BRIDGE);
    t.machines[0].name = (char *)"pc-q35-6.2";
    file_named("/images/web1")->error = ENOENT;
    file_named("/boot/vmlinuz")->error = ENOENT;
    t.facts->links[0].is_there = false;
    t.facts->memory_kib = 256 * 1024;
    expect("refused node2: machine type: 'pc-q35-7.2' is not known to QEMU 7.2 of '/usr/bin/qemu-system-x86_64'\n"
           "refused node2: CPU: cannot give avx512f, pcid, rtm\n"
           "refused node2: disk vda: '/images/web1' is missing: No such file or directory\n"
           "refused node2: kernel: '/boot/vmlinuz' is missing: No such file or directory\n"
           "refused node2: memory: the guest needs 512 MiB, and 256 MiB are free\n"
           "refused node2: interface 52:54:00:00:00:01: the bridge 'br0' is missing\n");
    for (size_t i = 0; i < t.problems.n_items; i++)
        assert_true(t.problems.items[i].remedy[0] != '\0');
    assert_true(vq_migrate_problems_error(&t.problems, &err));
    assert_int_equal(err.code, VIR_ERR_OPERATION_FAILED);
    assert_true(strncmp(err.message, "node2: machine type: 'pc-q35-7.2' is not known", 46) == 0);
    assert_non_null(strstr(err.message, "; interface 52:54:00:00:00:01: the bridge 'br0' is missing"));
}

static void one_kind_of_problem_keeps_its_code(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    guest("", "<cpu><model>Skylake-Server</model></cpu>", "");
    expect("refused node2: CPU: cannot give avx512f, pcid, rtm\n");
    assert_true(vq_migrate_problems_error(&t.problems, &err));
    assert_int_equal(err.code, VIR_ERR_CPU_INCOMPATIBLE);
}

static void warnings_alone_refuse_nothing(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    plain_guest("<disk type='file' device='cdrom'><source file='/images/cd.iso' startupPolicy='optional'/>"
                "<target dev='sda' bus='sata'/></disk>");
    file_named("/images/cd.iso")->error = ENOENT;
    expect("warned node2: disk sda: '/images/cd.iso' is missing: No such file or directory; the drive will be empty\n");
    assert_false(vq_migrate_problems_error(&t.problems, &err));
    t.def->devices.disks[0]->source.startup_policy = VQ_STARTUP_UNSET;
    expect("refused node2: disk sda: '/images/cd.iso' is missing: No such file or directory\n");
}

static void only_media_that_may_be_missing_are_taken_out(void **state)
{
    static const char *const policies[] = {"optional", "requisite", "mandatory"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(policies); i++) {
        VQ_AUTOFREE char *drive = vq_asprintf("<disk type='file' device='cdrom'><source file='/not/there.iso' startupPolicy='%s'/>"
                                              "<target dev='sda' bus='sata'/></disk>", policies[i]);
        plain_guest(drive);
        vq_facts_drop_missing_media(t.facts, t.def);
        assert_non_null(t.def->devices.disks[0]->source.path);
        file_named("/not/there.iso")->error = ENOENT;
        vq_facts_drop_missing_media(t.facts, t.def);
        assert_int_equal(t.def->devices.disks[0]->source.path == NULL, i < 2);
        (void)guest_gone(NULL);
    }
    plain_guest(DISK);
    file_named("/images/web1")->error = ENOENT;
    vq_facts_drop_missing_media(t.facts, t.def);
    assert_string_equal(t.def->devices.disks[0]->source.path, "/images/web1");
}

static void post_copy_needs_userfaultfd(void **state)
{
    (void)state;
    plain_guest("");
    t.facts->lacks_userfaultfd = true;
    expect("");
    t.options.flags = VIR_MIGRATE_POSTCOPY;
    expect("refused node2: : post-copy needs userfaultfd, which the kernel does not give QEMU here\n");
    t.facts->lacks_userfaultfd = false;
    expect("");
}

static void zero_copy_between_nodes_is_refused(void **state)
{
    (void)state;
    plain_guest("");
    t.options.flags = VIR_MIGRATE_ZEROCOPY | VIR_MIGRATE_PARALLEL;
    expect("refused node2: : zero-copy cannot be combined with encryption, and data between nodes are always encrypted\n");
    t.judged.there = NULL; /* from outside they may go in clear */
    expect("");
}

static void what_the_source_does_not_give_either_is_not_missed(void **state)
{
    const char *lacks[] = {"pcid", "rtm", "avx512f"};

    (void)state;
    guest("", "<cpu><model>Skylake-Server</model></cpu>", "");
    t.there.cpu_lacks = lacks;
    t.there.n_cpu_lacks = 3;
    expect("");
    t.there.n_cpu_lacks = 2;
    expect("refused node2: CPU: cannot give avx512f\n");
}

static void features_that_were_given_up_are_not_missed_and_wanted_ones_are(void **state)
{
    (void)state;
    guest("",
          "<cpu mode='custom' match='exact'><model>Skylake-Server</model><feature policy='disable' name='avx512f'/>"
          "<feature policy='optional' name='pcid'/><feature policy='require' name='aes'/>"
          "<feature policy='require' name='sha-ni'/></cpu>",
          "");
    expect("refused node2: CPU: cannot give rtm, sha-ni\n");
}

static void a_cpu_that_is_all_the_host_has_needs_all_of_it(void **state)
{
    const char *has[] = {"aes", "la57", "sse2"};

    (void)state;
    guest("", "<cpu mode='maximum'/>", "");
    t.there.cpu_has = has;
    t.there.n_cpu_has = 3;
    expect("refused node2: CPU: cannot give la57\n");
}

static void an_unknown_cpu_model_and_a_missing_emulator_are_told(void **state)
{
    (void)state;
    guest("", "<cpu><model>Cascadelake-Server</model></cpu>", "");
    expect("refused node2: CPU: the model 'Cascadelake-Server' is not known to '/usr/bin/qemu-system-x86_64'\n");
    t.judged.caps = NULL;
    t.judged.caps_problem = "Cannot check QEMU binary /opt/qemu: No such file or directory";
    expect("refused node2: emulator: Cannot check QEMU binary /opt/qemu: No such file or directory\n");
}

static void disks_must_be_the_same_file(void **state)
{
    struct vq_file_fact *file;

    (void)state;
    plain_guest(DISK);
    file = file_named("/images/web1");
    t.files[0].size = 4096; /* it grows at the source, and the server of the files has not heard of it */
    expect("");
    t.files[0].inode = 99;
    expect("refused node2: disk vda: '/images/web1' is not the file of node1: it is another file there (inode 10 here, 99 "
           "there)\n");
    t.options.flags = VIR_MIGRATE_UNSAFE;
    expect("warned node2: disk vda: '/images/web1' is not the file of node1: it is another file there (inode 10 here, 99 "
           "there)\n");
    t.options.flags = 0;
    t.files[0].inode = 10;
    file->fs_type = t.files[0].fs_type = 0xef53;
    expect("refused node2: disk vda: '/images/web1' is not the file of node1: it is on ext4 here, and on ext4 there, "
           "each host's own\n");
    t.there.boot_id = "boot-here"; /* two daemons of one host */
    expect("");
    t.files[0].device_id = 5;
    expect("refused node2: disk vda: '/images/web1' is not the file of node1: it is another file there\n");
}

static void block_devices_are_known_by_what_their_hardware_says(void **state)
{
    struct vq_file_fact *file;

    (void)state;
    plain_guest(DISK);
    file = file_named("/images/web1");
    file->mode = t.files[0].mode = S_IFBLK | 0600;
    expect("warned node2: disk vda: '/images/web1' has the size of that of node1, and nothing else tells whether it is the "
           "same\n");
    file->identity = vq_strdup("naa.600");
    t.files[0].identity = "naa.600";
    expect("");
    t.files[0].identity = "naa.601";
    expect("refused node2: disk vda: '/images/web1' is not the file of node1: it is 'naa.600' here and 'naa.601' there\n");
}

static void copied_disks_need_room_and_not_the_file_itself(void **state)
{
    struct vq_file_fact *file;

    (void)state;
    plain_guest(DISK SECOND_DISK);
    t.options.flags = VIR_MIGRATE_NON_SHARED_DISK;
    t.files[0].size = t.files[1].size = 6 << 20;
    for (size_t i = 0; i < 2; i++) {
        file = &t.facts->files[i];
        file->error = ENOENT;
        file->place_id = 3;
        file->free_bytes = 10 << 20;
    }
    expect("refused node2: disk vda: 12 MiB are to be copied to '/images/web1', and 10 MiB are free there\n");
    t.facts->files[1].place_id = 4; /* on another file system */
    expect("");
    t.facts->files[0].has_place = false;
    expect("refused node2: disk vda: '/images/web1': No such file or directory\n");
}

static void a_disk_is_not_copied_onto_itself(void **state)
{
    (void)state;
    plain_guest(DISK);
    t.options.flags = VIR_MIGRATE_NON_SHARED_INC;
    expect("refused node2: disk vda: '/images/web1' is the same file as at the source: it would be copied onto itself\n");
    t.files[0].inode = 99;
    expect("");
}

static void bridges_must_be_bridges_and_up(void **state)
{
    (void)state;
    plain_guest(BRIDGE);
    t.facts->links[0].is_up = false;
    expect("refused node2: interface 52:54:00:00:00:01: the bridge 'br0' is down\n");
    t.facts->links[0].is_bridge = false;
    expect("refused node2: interface 52:54:00:00:00:01: 'br0' is no bridge\n");
}

static void host_devices_and_shared_directories_stay_at_the_source(void **state)
{
    (void)state;
    plain_guest("<hostdev mode='subsystem' type='usb'><source><address bus='1' device='4'/></source></hostdev>"
                "<filesystem type='mount'><source dir='/srv'/><target dir='srv'/></filesystem>");
    expect("refused node1: USB device 1-4: it is plugged into this host\n"
           "refused node1: file system: '/srv' is a directory of this host\n");
}

static void a_taken_display_port_is_told(void **state)
{
    (void)state;
    plain_guest("<graphics type='vnc' port='5907' autoport='no' listen='127.0.0.1'/>");
    assert_int_equal(t.facts->n_ports, 1);
    t.facts->ports[0].error = EADDRINUSE;
    expect("refused node2: VNC display: port 5907 of 127.0.0.1 is taken\n");
}

static void pinning_to_cpus_that_are_not_there_is_told(void **state)
{
    (void)state;
    plain_guest("");
    t.def->cputune = vq_new(struct vq_cputune);
    t.def->cputune->vcpu_pins = vq_calloc(1, sizeof(void *));
    t.def->cputune->vcpu_pins[0] = vq_new(struct vq_vcpu_pin);
    t.def->cputune->vcpu_pins[0]->cpuset = vq_strdup("7");
    t.def->cputune->n_vcpu_pins = 1;
    expect("refused node2: vCPU pinning: vCPU 0 is pinned to 7, and the host has CPUs 0-3\n");
}

/* ---- The facts ---- */

static void put_file(const char *root, const char *path, const char *text)
{
    VQ_AUTOFREE char *full = vq_asprintf("%s%s", root, path);

    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        (void)mkdir(full, 0755);
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_host_is_asked_for_what_the_guest_uses(void **state)
{
    VQ_AUTOFREE char *root = make_tree();
    VQ_AUTOFREE char *image = vq_asprintf("%s/image", root);
    VQ_AUTOFREE char *devices = vq_asprintf(
        "<disk type='file'><source file='%s'/><target dev='vda' bus='virtio'/></disk>"
        "<disk type='file'><source file='%s/not/there'/><target dev='vdb' bus='virtio'/></disk>" BRIDGE, image, root);

    (void)state;
    plain_guest(devices);
    vq_facts_free(t.facts);
    t.facts = vq_facts_new(t.def, false);
    put_file(root, "/image", "0123456789");
    put_file(root, "/proc/meminfo", "MemTotal: 100 kB\nMemAvailable:     4711 kB\n");
    put_file(root, "/proc/sys/kernel/random/boot_id", "the-boot\n");
    put_file(root, "/sys/devices/system/cpu/online", "0-3,8\n");
    put_file(root, "/sys/class/net/br0/flags", "0x1003\n");
    put_file(root, "/sys/class/net/br0/bridge/x", "");
    vq_facts_gather(t.facts, root);
    assert_string_equal(t.facts->boot_id, "the-boot");
    assert_int_equal(t.facts->memory_kib, 4711);
    assert_int_equal(t.facts->cpus, 9);
    assert_true(t.facts->links[0].is_there && t.facts->links[0].is_bridge && t.facts->links[0].is_up);
    assert_int_equal(file_named(image)->error, 0);
    assert_int_equal(file_named(image)->size, 10);
    assert_true(file_named(image)->has_place);
    assert_int_equal(t.facts->files[1].error, ENOENT);
    assert_false(t.facts->files[1].has_place);
    assert_true(t.facts->files[1].free_bytes != UINT64_MAX);
    remove_tree(root);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, guest_gone)
    const struct CMUnitTest tests[] = {
        CASE(a_guest_whose_host_has_everything_may_come),
        CASE(everything_that_is_wrong_is_told_at_once),
        CASE(one_kind_of_problem_keeps_its_code),
        CASE(warnings_alone_refuse_nothing),
        CASE(only_media_that_may_be_missing_are_taken_out),
        CASE(post_copy_needs_userfaultfd),
        CASE(zero_copy_between_nodes_is_refused),
        CASE(what_the_source_does_not_give_either_is_not_missed),
        CASE(features_that_were_given_up_are_not_missed_and_wanted_ones_are),
        CASE(a_cpu_that_is_all_the_host_has_needs_all_of_it),
        CASE(an_unknown_cpu_model_and_a_missing_emulator_are_told),
        CASE(disks_must_be_the_same_file),
        CASE(block_devices_are_known_by_what_their_hardware_says),
        CASE(copied_disks_need_room_and_not_the_file_itself),
        CASE(a_disk_is_not_copied_onto_itself),
        CASE(bridges_must_be_bridges_and_up),
        CASE(host_devices_and_shared_directories_stay_at_the_source),
        CASE(a_taken_display_port_is_told),
        CASE(pinning_to_cpus_that_are_not_there_is_told),
        CASE(a_host_is_asked_for_what_the_guest_uses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
