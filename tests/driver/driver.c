/* The running side of the QEMU driver under a fake host: with the real QEMU, with one that misbehaves, over restarts and
 * crashes of the daemon. Each test ends with a look for leftovers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/log.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/guest.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"
#include "tests/driver/fake_host.h"

static struct vq_driver *const driver = &vq_qemu_driver;
static char emulator[128]; /* "<dir>/qemu": a link to the fake one */

/* ---- Helpers ---- */

static void start_driver(void)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(driver->start(driver, &fake.host, &err), 0);
}

static bool is_stopped;

static void stopped(void *data)
{
    (void)data;
    is_stopped = true;
}

static void stop_driver(void)
{
    is_stopped = false;
    driver->stop(driver, stopped, NULL);
    while (!is_stopped)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
}

static struct vq_qemu *qemu(void)
{
    return driver->state;
}

static struct vq_qemu_capabilities *found_caps;

static void caps_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    (void)data;
    if (err != NULL)
        fail_msg("%s", err->message);
    found_caps = vq_qemu_capabilities_ref(caps);
}

static bool has_caps(void *data)
{
    (void)data;
    return found_caps != NULL;
}

static void use_script(const char *script)
{
    char path[160];
    FILE *file;

    (void)snprintf(emulator, sizeof(emulator), "%s/qemu", fake.dir);
    (void)unlink(emulator);
    assert_int_equal(symlink(VQ_FAKE_QEMU, emulator), 0);
    (void)snprintf(path, sizeof(path), "%s.script", emulator);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(script, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static char os_more[256], devices_more[512]; /* within <os> and <devices> of the next definition */

/* A definition as the define side leaves it. script NULL: the real QEMU. */
static struct fake_domain *define(const char *script, bool persistent, const char *more)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_domain *definition = NULL;
    struct fake_domain *domain;
    char text[4096];
    char *xml;

    (void)snprintf(emulator, sizeof(emulator), "/usr/bin/qemu-system-x86_64");
    if (script != NULL)
        use_script(script);
    (void)snprintf(text, sizeof(text),
                   "<domain type='qemu'><name>t%zu</name><uuid>%s%02zx</uuid>"
                   "<memory unit='MiB'>32</memory><currentMemory unit='MiB'>32</currentMemory><vcpu>1</vcpu>"
                   "<os><type arch='x86_64' machine='q35'>hvm</type>%s</os><features><acpi/></features>%s"
                   "<devices><emulator>%s</emulator><serial type='pty'><target port='0'/></serial>"
                   "<console type='pty'><target type='serial' port='0'/></console>%s</devices></domain>",
                   fake.n_domains + 1, fake_uuid_prefix(), fake.n_domains + 1, os_more, more, emulator, devices_more);
    if (vq_domain_parse(text, 0, &definition, &err) < 0)
        fail_msg("%s", err.message);
    found_caps = NULL;
    vq_qemu_emulators_get(qemu()->emulators, emulator, caps_known, NULL);
    assert_true(fake_host_until(has_caps, NULL));
    if (vq_qemu_definition_fill(definition, found_caps, fake.host.random, &err) < 0)
        fail_msg("%s", err.message);
    xml = vq_domain_format(definition, VQ_FORMAT_INACTIVE);
    domain = fake_domain_add(definition->name, xml, persistent);
    free(xml);
    vq_domain_free(definition);
    vq_qemu_capabilities_free(found_caps);
    return domain;
}

static int call(const char *procedure, struct fake_domain *domain)
{
    static const uint8_t no_flags[256]; /* of every argument struct */

    return fake_call(driver, VQ_PROGRAM_REMOTE, procedure, domain, no_flags);
}

static void must(const char *procedure, struct fake_domain *domain)
{
    int code = call(procedure, domain);

    if (code != VIR_ERR_OK)
        fail_msg("%s: %d %s", procedure, code, fake_error.message);
}

static struct vq_qemu_guest *guest_of(const struct fake_domain *domain)
{
    return vq_qemu_guest_find(qemu(), domain->info.uuid);
}

static bool has_ended(void *data)
{
    return guest_of(data) == NULL;
}

static bool is_active(void *data)
{
    const struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->phase == VQ_GUEST_ACTIVE;
}

static bool is_running(void *data)
{
    return ((struct fake_domain *)data)->info.state == VIR_DOMAIN_RUNNING;
}

static int count_entries(const char *sub, const char *prefix)
{
    struct dirent *entry;
    char path[160];
    int n = 0;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/%s", fake.dir, sub);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        n += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (dir != NULL)
        (void)closedir(dir);
    return n;
}

/* Processes of the test's domains; signal_number 0: only count. */
static int signal_processes(int signal_number)
{
    struct dirent *entry;
    DIR *dir = opendir("/proc");
    int n = 0;

    while ((entry = readdir(dir)) != NULL) {
        char path[300], text[16384];
        ssize_t length;
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
            continue;
        length = read(fd, text, sizeof(text));
        (void)close(fd);
        if (length <= 0 || memmem(text, (size_t)length, fake_uuid_prefix(), strlen(fake_uuid_prefix())) == NULL)
            continue;
        n++;
        if (signal_number != 0)
            (void)kill((pid_t)atoi(entry->d_name), signal_number);
    }
    (void)closedir(dir);
    return n;
}

static int count_processes(void)
{
    return signal_processes(0);
}

static void nothing_is_left(void)
{
    assert_int_equal(count_processes(), 0);
    assert_int_equal(count_entries("records", "qemu.run"), 0);
    assert_int_equal(count_entries("lib/qemu", "domain-"), 0);
}

static int setup(void **state)
{
    (void)state;
    os_more[0] = devices_more[0] = '\0';
    fake_host_init(false);
    start_driver();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop_driver();
    (void)signal_processes(SIGKILL); /* of a test that failed: the next ones begin with none */
    fake_host_done(true);
    return 0;
}

/* The daemon goes and comes back; the domains are still defined. */
static void restart(struct fake_domain *domain)
{
    struct vq_domain_info info = domain->info;
    char *name = strdup(domain->name), *xml = strdup(domain->xml);
    struct fake_domain *again;

    stop_driver();
    fake_host_done(false);
    fake_host_init(true);
    again = fake_domain_add(name, xml, (info.flags & VQ_INFO_PERSISTENT) != 0);
    info.name = again->name;
    again->info = info;
    free(name);
    free(xml);
    start_driver();
    driver->recover(driver);
}

/* ---- The real QEMU ---- */

static void a_guest_is_started_steered_and_destroyed(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");
    struct vq_remote_domain_get_info_ret info;

    (void)state;
    must("domain_create", domain);
    assert_string_equal(fake.trace, "1/1+4.0+2.0 ");
    assert_int_equal(count_processes(), 1);
    assert_int_equal(call("domain_create", domain), VIR_ERR_OPERATION_INVALID);
    assert_string_equal(fake_error.message, "domain is already running");
    must("domain_get_info", domain);
    memcpy(&info, fake_ret, sizeof(info));
    assert_int_equal(info.state, VIR_DOMAIN_RUNNING);
    assert_int_equal(info.memory, 32768);
    assert_true(strncmp(guest_of(domain)->live->devices.consoles[0]->tty, "/dev/pts/", 9) == 0);
    fake.trace[0] = '\0';
    must("domain_suspend", domain);
    must("domain_suspend", domain);
    must("domain_resume", domain);
    assert_int_equal(call("domain_resume", domain), VIR_ERR_OPERATION_INVALID);
    assert_string_equal(fake.trace, "3/1+3.0 1/5+4.0 ");
    fake.trace[0] = '\0';
    must("domain_destroy", domain);
    assert_string_equal(fake.trace, "4/0+6.2 5/2+5.1 ");
    assert_int_equal(call("domain_destroy", domain), VIR_ERR_OPERATION_INVALID);
    nothing_is_left();
}

static void a_paused_start_runs_nothing_until_resumed(void **state)
{
    const struct vq_remote_domain_create_with_flags_args args = { .flags = VIR_DOMAIN_START_PAUSED };
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_create_with_flags", domain, &args), VIR_ERR_OK);
    assert_string_equal(fake.trace, "3/1+2.0+3.0 ");
    restart(domain);
    assert_true(fake_host_until(is_active, domain));
    assert_int_equal(domain->info.state, VIR_DOMAIN_PAUSED);
    assert_int_equal(domain->info.reason, VIR_DOMAIN_PAUSED_USER);
    must("domain_resume", domain);
    assert_int_equal(domain->info.state, VIR_DOMAIN_RUNNING);
    must("domain_destroy", domain);
    nothing_is_left();
}

static void a_guest_that_is_killed_has_crashed(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    must("domain_create", domain);
    fake.trace[0] = '\0';
    assert_int_equal(kill(guest_of(domain)->pid, SIGKILL), 0);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "5/3+5.5 ");
    nothing_is_left();
}

static void a_guest_that_is_terminated_from_outside_has_shut_down(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    must("domain_create", domain);
    fake.trace[0] = '\0';
    assert_int_equal(kill(guest_of(domain)->pid, SIGTERM), 0);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "4/0+6.2 5/1+5.0 ");
    nothing_is_left();
}

static void a_running_guest_is_found_again_with_pid_and_id(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");
    int32_t id;
    pid_t pid;

    (void)state;
    must("domain_create", domain);
    pid = guest_of(domain)->pid;
    id = guest_of(domain)->id;
    restart(domain);
    assert_true(fake_host_until(is_active, domain));
    assert_int_equal(guest_of(domain)->pid, pid);
    assert_int_equal(guest_of(domain)->id, id);
    assert_int_equal(domain->info.state, VIR_DOMAIN_RUNNING);
    assert_true(strncmp(guest_of(domain)->live->devices.consoles[0]->tty, "/dev/pts/", 9) == 0);
    must("domain_suspend", domain);
    must("domain_destroy", domain);
    nothing_is_left();
}

static void a_guest_that_ended_while_nobody_looked_is_seen_as_crashed(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");
    pid_t pid;

    (void)state;
    must("domain_create", domain);
    pid = guest_of(domain)->pid;
    stop_driver();
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    start_driver();
    fake.trace[0] = '\0';
    driver->recover(driver);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "5/3+5.5 ");
    nothing_is_left();
}

static void a_transient_domain_is_gone_when_it_ends(void **state)
{
    struct fake_domain *domain = define(NULL, false, "");

    (void)state;
    must("domain_create", domain);
    must("domain_destroy", domain);
    assert_true(domain->is_gone);
    nothing_is_left();
}

static void a_start_without_a_quorum_takes_a_number_of_the_node(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    fake.has_quorum = false;
    must("domain_create", domain);
    assert_true(guest_of(domain)->id > 1000);
    must("domain_destroy", domain);
    nothing_is_left();
}

static void a_start_that_loses_the_quorum_goes_on_without_it(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    fake.loses_quorum = true;
    must("domain_create", domain);
    assert_true(guest_of(domain)->id > 1000);
    must("domain_destroy", domain);
    nothing_is_left();
}

/* The log is replayed after the host lost its power and with it the tables: only then is the domain known at all. */
static void a_guest_that_the_log_tells_of_and_that_is_not_here_has_ended(void **state)
{
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    domain->info.id = 7;
    domain->info.state = VIR_DOMAIN_RUNNING;
    driver->changed(driver, domain->info.uuid);
    assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
    assert_int_equal(domain->info.id, -1);
    nothing_is_left();
}

static void autodestroy_ends_the_guest_with_its_connection(void **state)
{
    const struct vq_remote_domain_create_with_flags_args args = { .flags = VIR_DOMAIN_START_AUTODESTROY };
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_create_with_flags", domain, &args), VIR_ERR_OK);
    driver->session_ended(driver, 1, 8);
    assert_int_equal(guest_of(domain)->end.is_set, false);
    driver->session_ended(driver, 1, 7);
    assert_true(fake_host_until(has_ended, domain));
    nothing_is_left();
}

static void monitor_commands_go_through_and_come_back_as_they_are(void **state)
{
    const struct vq_qemu_domain_monitor_command_args good = { .cmd = "{\"execute\":\"query-status\",\"id\":\"mine\"}" };
    const struct vq_qemu_domain_monitor_command_args wrong = { .cmd = "{\"execute\":\"nonsense\"}" };
    const struct vq_qemu_domain_monitor_command_args text = { .cmd = "[1" };
    const struct vq_qemu_domain_monitor_command_args human = { .cmd = "info status", .flags = 1 };
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    must("domain_create", domain);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_monitor_command", domain, &good), VIR_ERR_OK);
    assert_non_null(strstr(fake_text, "\"status\":\"running\""));
    assert_non_null(strstr(fake_text, "\"id\":\"mine\""));
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_monitor_command", domain, &wrong), VIR_ERR_OK);
    assert_non_null(strstr(fake_text, "CommandNotFound"));
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_monitor_command", domain, &text), VIR_ERR_INVALID_ARG);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_monitor_command", domain, &human), VIR_ERR_OK);
    assert_non_null(strstr(fake_text, "VM status: running"));
    must("domain_destroy", domain);
    nothing_is_left();
}

static void stats_of_all_domains_have_their_groups(void **state)
{
    const struct vq_remote_connect_get_all_domain_stats_args args = { 0 };
    struct fake_domain *domain = define(NULL, true, "");

    (void)state;
    must("domain_create", domain);
    (void)define(NULL, true, "");
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "connect_get_all_domain_stats", NULL, &args), VIR_ERR_OK);
    assert_non_null(strstr(fake_text, "t1: state.state=1 state.reason=1 cpu.time="));
    assert_non_null(strstr(fake_text, " balloon.current=32768 balloon.maximum=32768 "));
    assert_non_null(strstr(fake_text, " vcpu.current=1 vcpu.maximum=1 vcpu.0.state=1 vcpu.0.time="));
    assert_non_null(strstr(fake_text, " net.count=0 block.count=0 "));
    assert_non_null(strstr(fake_text, "t2: state.state=5 state.reason=0 balloon.current="));
    must("domain_memory_stats", domain);
    must("domain_destroy", domain);
    nothing_is_left();
}

/* ---- Another user ---- */

static void qemu_runs_as_its_user_and_images_come_back(void **state)
{
    char path[128], status[64], text[4096];
    struct fake_domain *domain;
    struct stat image;
    ssize_t n;
    int fd;

    (void)state;
    if (geteuid() != 0)
        skip();
    (void)snprintf(path, sizeof(path), "%s/etc/qemu.conf", fake.dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(dprintf(fd, "# a line\nuser = \"+64000\"\ngroup = \"+64001\"\n") > 0);
    (void)close(fd);
    assert_int_equal(chmod(fake.dir, 0711), 0);
    stop_driver();
    start_driver();
    (void)snprintf(path, sizeof(path), "%s/disk.img", fake.dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 1024 * 1024), 0);
    (void)close(fd);
    (void)snprintf(devices_more, sizeof(devices_more), "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                   "<source file='%s'/><target dev='vda' bus='virtio'/></disk>", path);
    domain = define(NULL, true, "");
    must("domain_create", domain);
    assert_int_equal(stat(path, &image), 0);
    assert_int_equal(image.st_uid, 64000);
    (void)snprintf(status, sizeof(status), "/proc/%d/status", (int)guest_of(domain)->pid);
    fd = open(status, O_RDONLY | O_CLOEXEC);
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    assert_non_null(strstr(text, "Uid:\t64000\t64000\t64000\t64000"));
    assert_non_null(strstr(text, "Groups:\t64001 \n"));
    assert_non_null(strstr(text, "CapBnd:\t0000000000000000"));
    restart(domain);
    assert_true(fake_host_until(is_active, domain));
    must("domain_destroy", domain);
    assert_int_equal(stat(path, &image), 0);
    assert_int_equal(image.st_uid, 0);
    nothing_is_left();
}

/* ---- Taps ---- */

static void a_tap_joins_its_bridge_is_counted_and_goes_with_the_guest(void **state)
{
    const struct vq_remote_domain_interface_stats_args stats = { .device = "vnet0" };
    const struct vq_remote_domain_interface_stats_args unknown = { .device = "vnet1" };
    struct fake_domain *domain;

    (void)state;
    if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) /* a network of our own, for this process and its children */
        skip();
    assert_int_equal(system("ip link add br0 type bridge && ip link set br0 up"), 0);
    (void)snprintf(devices_more, sizeof(devices_more), "<interface type='bridge'><mac address='52:54:00:12:34:56'/>"
                   "<source bridge='br0'/><model type='virtio'/></interface>");
    domain = define(NULL, true, "");
    must("domain_create", domain);
    assert_int_equal(system("ip link show vnet0 master br0 | grep -q fe:54:00:12:34:56"), 0);
    assert_string_equal(guest_of(domain)->live->devices.interfaces[0]->target, "vnet0");
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_interface_stats", domain, &stats), VIR_ERR_OK);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_interface_stats", domain, &unknown),
                     VIR_ERR_INVALID_ARG);
    restart(domain);
    assert_true(fake_host_until(is_active, domain));
    must("domain_destroy", domain);
    assert_int_not_equal(system("ip link show vnet0 >/dev/null 2>&1"), 0);
    nothing_is_left();

    (void)snprintf(devices_more, sizeof(devices_more), "<interface type='bridge'><source bridge='nobridge'/></interface>");
    domain = define(NULL, true, "");
    assert_int_equal(call("domain_create", domain), VIR_ERR_SYSTEM_ERROR);
    assert_non_null(strstr(fake_error.message, "'nobridge'"));
    assert_int_not_equal(system("ip link show vnet0 >/dev/null 2>&1"), 0);
    nothing_is_left();
}

static void a_disk_whose_writes_would_go_where_they_should_not_is_refused(void **state)
{
    struct fake_domain *domain;

    (void)state;
    (void)snprintf(devices_more, sizeof(devices_more), "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                   "<source file='%s'/><target dev='vda' bus='virtio'/><transient/></disk>", VQ_FAKE_QEMU);
    domain = define("", true, "");
    assert_int_equal(call("domain_create", domain), VIR_ERR_CONFIG_UNSUPPORTED);
    assert_non_null(strstr(fake_error.message, "disk 'vda': transient disks are not supported"));
    nothing_is_left();
}

static void of_two_that_start_at_once_one_has_the_image(void **state)
{
    const struct vq_qemu_start_options options = { 0 };
    struct fake_domain *first, *second;
    char image[96];
    int fd;

    (void)state;
    (void)snprintf(image, sizeof(image), "%s/one.img", fake.dir);
    fd = open(image, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)snprintf(devices_more, sizeof(devices_more), "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                   "<source file='%s'/><target dev='vda' bus='virtio'/></disk>", image);
    first = define("", true, "");
    second = define("", true, "");
    vq_qemu_start(qemu(), &first->info, &options, NULL);
    assert_int_equal(call("domain_create", second), VIR_ERR_RESOURCE_BUSY);
    assert_true(fake_host_until(is_active, first));
    must("domain_destroy", first);
    nothing_is_left();
}

/* ---- Consoles ---- */

/* The first words of a kernel, before it finds that it has too little memory and begins anew. */
static bool kernel_speaks(void *data)
{
    (void)data;
    return strstr(fake_stream.text, "Probing EDD") != NULL;
}

static void a_console_carries_what_the_guest_says_and_belongs_to_one_client(void **state)
{
    const struct vq_remote_domain_open_console_args args = { 0 };
    const struct vq_remote_domain_open_console_args force = { .flags = VIR_DOMAIN_CONSOLE_FORCE };
    const struct vq_remote_domain_open_console_args unknown = { .dev_name = "serial7" };
    struct fake_domain *domain;
    glob_t kernels = { 0 };

    (void)state;
    if (glob("/boot/vmlinuz-*", 0, NULL, &kernels) != 0)
        skip();
    (void)snprintf(os_more, sizeof(os_more), "<kernel>%s</kernel><cmdline>console=ttyS0 earlyprintk=serial</cmdline>",
                   kernels.gl_pathv[0]);
    globfree(&kernels);
    domain = define(NULL, true, "");
    must("domain_create", domain);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_open_console", domain, &unknown),
                     VIR_ERR_INTERNAL_ERROR);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_open_console", domain, &args), VIR_ERR_OK);
    assert_true(fake_host_until(kernel_speaks, NULL));
    assert_true(fake_stream.callbacks->data(&fake_stream, (const uint8_t *)"x", 1, fake_stream.data));
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_open_console", domain, &args),
                     VIR_ERR_OPERATION_FAILED);
    assert_string_equal(fake_error.message, "Active console session exists for this domain");
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_open_console", domain, &force), VIR_ERR_OK);
    fake_stream.callbacks->aborted(&fake_stream, fake_stream.data);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_open_console", domain, &args), VIR_ERR_OK);
    must("domain_destroy", domain);
    assert_true(fake_stream.is_ended);
    fake_stream.callbacks->finish(&fake_stream, fake_stream.data);
    assert_true(fake_stream.is_finished);
    nothing_is_left();
}

/* ---- A QEMU that misbehaves ---- */

static void a_guest_that_powers_off_is_shut_off(void **state)
{
    struct fake_domain *domain = define("", true, "");

    (void)state;
    must("domain_create", domain);
    fake.trace[0] = '\0';
    must("domain_shutdown", domain);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "4/0+6.1 5/1+5.0 ");
    nothing_is_left();
}

static void a_guest_that_powered_off_while_nobody_looked_is_shut_off(void **state)
{
    struct fake_domain *domain = define("", true, "");

    (void)state;
    must("domain_create", domain);
    use_script("status shutdown\n");
    restart(domain);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "1/1 4/0+6.0 5/1+5.0 ");
    nothing_is_left();
}

static void a_reboot_by_the_button_survives_a_restart_of_the_daemon(void **state)
{
    struct fake_domain *domain = define("", true, "");

    (void)state;
    must("domain_create", domain);
    guest_of(domain)->reboot_wanted = true; /* the button was pressed; this is on disk */
    vq_qemu_guest_set_state(guest_of(domain), VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED, -1, 0);
    use_script("status shutdown\n");        /* and the guest went off while the daemon was away */
    restart(domain);
    assert_true(fake_host_until(is_active, domain));
    assert_true(fake_host_until(is_running, domain));
    assert_false(guest_of(domain)->reboot_wanted);
    assert_string_equal(fake.trace, "1/1 4/0+6.0 event1 1/1+4.0 ");
    use_script("");
    fake.trace[0] = '\0';
    must("domain_reboot", domain); /* and now with somebody looking */
    assert_true(fake_host_until(is_running, domain));
    assert_string_equal(fake.trace, "4/0+6.1 event1 1/1+4.0 ");
    assert_int_equal(count_processes(), 1);
    must("domain_destroy", domain);
    nothing_is_left();
}

static void a_qemu_that_dies_at_any_step_of_the_start_fails_it_cleanly(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n++) {
        char script[32];
        struct fake_domain *domain;

        (void)snprintf(script, sizeof(script), "at %d die\n", n);
        domain = define(script, true, "");
        assert_int_equal(call("domain_create", domain), VIR_ERR_INTERNAL_ERROR);
        assert_non_null(strstr(fake_error.message, "dying at command"));
        assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
        nothing_is_left();
    }
}

static void what_qemu_printed_before_it_left_is_in_the_error(void **state)
{
    struct fake_domain *domain = define("die_early cannot find my disk\n", true, "");

    (void)state;
    assert_int_equal(call("domain_create", domain), VIR_ERR_INTERNAL_ERROR);
    assert_non_null(strstr(fake_error.message, "cannot find my disk"));
    nothing_is_left();
}

static void an_emulator_that_cannot_be_run_is_named(void **state)
{
    struct fake_domain *domain = define("", true, "");

    (void)state;
    assert_int_equal(unlink(emulator), 0);
    assert_int_not_equal(call("domain_create", domain), VIR_ERR_OK);
    nothing_is_left();
}

static void a_refusal_at_cont_fails_the_start(void **state)
{
    struct fake_domain *domain = define("refuse cont\n", true, "");

    (void)state;
    assert_int_equal(call("domain_create", domain), VIR_ERR_INTERNAL_ERROR);
    assert_non_null(strstr(fake_error.message, "the script refuses it"));
    nothing_is_left();
}

/* 5: the first command after the four of the start. */
static void garbage_on_the_monitor_never_ends_the_guest(void **state)
{
    static const char *const scripts[] = { "at 5 garbage {\"return\": {}, \"id\": 4}\n", "at 5 garbage hello\n",
                                           "at 5 garbage {\"half\n", "at 5 close\n", "at 5 endless\n" };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(scripts); i++) {
        struct fake_domain *domain = define(scripts[i], true, "");
        pid_t pid;

        must("domain_create", domain);
        pid = guest_of(domain)->pid;
        assert_int_equal(call("domain_suspend", domain), VIR_ERR_OPERATION_FAILED);
        assert_int_equal(call("domain_suspend", domain), VIR_ERR_OPERATION_FAILED);
        assert_non_null(strstr(fake_error.message, "does not respond"));
        assert_true(fake_host_until(is_active, domain));
        assert_int_equal(guest_of(domain)->pid, pid);
        must("domain_suspend", domain);
        must("domain_destroy", domain);
        nothing_is_left();
    }
}

static void a_monitor_that_never_greets_does_not_hold_up_the_recovery_or_the_end(void **state)
{
    struct fake_domain *domain = define("", true, "");

    (void)state;
    must("domain_create", domain);
    assert_int_equal(kill(guest_of(domain)->pid, SIGSTOP), 0);
    restart(domain);
    assert_int_equal(guest_of(domain)->phase, VQ_GUEST_FOUND);
    must("domain_get_info", domain);
    assert_int_equal(call("domain_suspend", domain), VIR_ERR_OPERATION_FAILED);
    assert_int_equal(kill(guest_of(domain)->pid, SIGCONT), 0);
    assert_true(fake_host_until(is_active, domain));
    must("domain_destroy", domain);
    nothing_is_left();
}

static void two_destroys_and_a_kill_are_one_end(void **state)
{
    struct fake_domain *domain = define("", true, "");

    (void)state;
    must("domain_create", domain);
    fake.trace[0] = '\0';
    (void)kill(guest_of(domain)->pid, SIGKILL);
    must("domain_destroy", domain);
    assert_string_equal(fake.trace, "5/2+5.1 ");
    nothing_is_left();
}

static void a_guest_that_ignores_sigterm_is_killed_by_destroy(void **state)
{
    struct fake_domain *domain = define("ignore_term\n", true, "");

    (void)state;
    must("domain_create", domain);
    must("domain_destroy", domain);
    nothing_is_left();
}

/* ---- Records that are not what they should be ---- */

static void edit_record(const char *from, const char *to)
{
    char command[400];

    (void)snprintf(command, sizeof(command), "sed -i 's/%s/%s/' %s/records/qemu.run:*", from, to, fake.dir);
    assert_int_equal(system(command), 0);
}

static void another_process_with_the_recorded_pid_is_never_touched(void **state)
{
    struct fake_domain *domain = define("", true, "");
    char pid_text[64];
    pid_t other = fork(), pid;

    (void)state;
    if (other == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)pause();
    }
    must("domain_create", domain);
    pid = guest_of(domain)->pid;
    stop_driver();
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    (void)snprintf(pid_text, sizeof(pid_text), "\"pid\":%d", (int)other);
    edit_record("\"pid\":[0-9]*", pid_text);
    start_driver();
    driver->recover(driver);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(kill(other, 0), 0);
    assert_int_equal(waitpid(other, NULL, WNOHANG), 0);
    (void)kill(other, SIGKILL);
    (void)waitpid(other, NULL, 0);
    nothing_is_left();
}

static void unknown_words_in_a_record_end_no_guest(void **state)
{
    static const char *const edits[][2] = {
        { "\"phase\":\"[a-z]*\"", "\"phase\":\"dreaming\"" }, { "\"state\":[0-9]*", "\"state\":99" },
        { "\"reason\":[0-9]*", "\"reason\":\"x\"" },          { "\"xml\":\".*\"", "\"xml\":\"<nonsense\"" },
        { "\"taps\":\\[\\]", "\"taps\":{}" },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(edits); i++) {
        struct fake_domain *domain = define("", true, "");

        must("domain_create", domain);
        stop_driver();
        edit_record(edits[i][0], edits[i][1]);
        start_driver();
        driver->recover(driver);
        assert_true(fake_host_until(is_active, domain));
        assert_int_equal(count_processes(), 1);
        must("domain_destroy", domain);
        nothing_is_left();
    }
}

static void a_record_that_cannot_be_read_is_kept_aside(void **state)
{
    struct fake_domain *domain = define("", true, "");
    pid_t pid;

    (void)state;
    must("domain_create", domain);
    pid = guest_of(domain)->pid;
    stop_driver();
    edit_record(".*", "{half");
    start_driver();
    driver->recover(driver);
    assert_int_equal(count_entries("records", "qemu.run:"), 0);
    assert_int_equal(count_entries("records", "qemu.run.unreadable:"), 1);
    assert_int_equal(count_processes(), 1); /* not killed for it */
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static void a_guest_of_another_boot_is_off(void **state)
{
    struct fake_domain *domain = define("", true, "");
    pid_t pid;

    (void)state;
    must("domain_create", domain);
    pid = guest_of(domain)->pid;
    stop_driver();
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    edit_record("this-boot", "that-boot");
    start_driver();
    driver->recover(driver);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
    nothing_is_left();
}

/* ---- The daemon dies ---- */

/* Run the start in a child that dies at the failure point; then recover here. */
static void die_at(const char *point)
{
    struct fake_domain *domain = define("", true, "");
    struct vq_qemu_guest *guest;
    int status;
    pid_t child;

    stop_driver();
    /* Orphans come to us instead of init, so that they can be seen to end. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        char setting[128];

        (void)snprintf(setting, sizeof(setting), "%s=crash", point);
        (void)setenv("VQ_FAILPOINTS", setting, 1);
        (void)uv_loop_init(&fake.loop); /* the parent's descriptors are not ours to poll */
        start_driver();
        (void)call("domain_create", domain);
        (void)call("domain_destroy", domain);
        _exit(77);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        fail_msg("failure point %s was never reached", point);
    start_driver();
    fake.trace[0] = '\0';
    driver->recover(driver);
    guest = guest_of(domain);
    if (guest != NULL && guest->phase == VQ_GUEST_FOUND && !guest->end.is_set) {
        assert_true(fake_host_until(is_active, domain));
        assert_true(fake_host_until(is_running, domain));
        must("domain_destroy", domain);
    } else {
        assert_true(fake_host_until(has_ended, domain));
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    nothing_is_left();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void a_daemon_that_dies_at_any_step_leaves_nothing_behind(void **state)
{
    static const char *const points[] = {
        "qemu.start.claim", "qemu.record.write", "qemu.start.files", "qemu.files.create", "qemu.start.ports",
        "qemu.start.images", "qemu.start.taps", "qemu.start.spawn", "qemu.process.fork", "qemu.start.go", "qemu.start.greet",
        "qemu.qmp.connect", "qemu.qmp.send", "qemu.start.cont", "qemu.start.publish", "qemu.stop.term",
        "qemu.stop.recorded", "qemu.record.delete",
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(points); i++) {
        die_at(points[i]);
        if (fake.n_domains == FAKE_DOMAINS_MAX) {
            stop_driver();
            fake_host_done(true);
            fake_host_init(false);
            start_driver();
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_guest_is_started_steered_and_destroyed),
        TEST(a_paused_start_runs_nothing_until_resumed),
        TEST(a_guest_that_is_killed_has_crashed),
        TEST(a_guest_that_is_terminated_from_outside_has_shut_down),
        TEST(a_running_guest_is_found_again_with_pid_and_id),
        TEST(a_guest_that_ended_while_nobody_looked_is_seen_as_crashed),
        TEST(a_transient_domain_is_gone_when_it_ends),
        TEST(a_start_without_a_quorum_takes_a_number_of_the_node),
        TEST(a_start_that_loses_the_quorum_goes_on_without_it),
        TEST(a_guest_that_the_log_tells_of_and_that_is_not_here_has_ended),
        TEST(autodestroy_ends_the_guest_with_its_connection),
        TEST(monitor_commands_go_through_and_come_back_as_they_are),
        TEST(stats_of_all_domains_have_their_groups),
        TEST(qemu_runs_as_its_user_and_images_come_back),
        TEST(a_console_carries_what_the_guest_says_and_belongs_to_one_client),
        TEST(a_guest_that_powers_off_is_shut_off),
        TEST(a_guest_that_powered_off_while_nobody_looked_is_shut_off),
        TEST(a_reboot_by_the_button_survives_a_restart_of_the_daemon),
        TEST(a_qemu_that_dies_at_any_step_of_the_start_fails_it_cleanly),
        TEST(what_qemu_printed_before_it_left_is_in_the_error),
        TEST(an_emulator_that_cannot_be_run_is_named),
        TEST(a_refusal_at_cont_fails_the_start),
        TEST(garbage_on_the_monitor_never_ends_the_guest),
        TEST(a_monitor_that_never_greets_does_not_hold_up_the_recovery_or_the_end),
        TEST(two_destroys_and_a_kill_are_one_end),
        TEST(a_guest_that_ignores_sigterm_is_killed_by_destroy),
        TEST(another_process_with_the_recorded_pid_is_never_touched),
        TEST(unknown_words_in_a_record_end_no_guest),
        TEST(a_record_that_cannot_be_read_is_kept_aside),
        TEST(a_guest_of_another_boot_is_off),
        TEST(a_daemon_that_dies_at_any_step_leaves_nothing_behind),
        TEST(of_two_that_start_at_once_one_has_the_image), /* last: it leaves the host's network */
        TEST(a_disk_whose_writes_would_go_where_they_should_not_is_refused), /* last: it leaves the host's network */
        TEST(a_tap_joins_its_bridge_is_counted_and_goes_with_the_guest), /* last: it leaves the host's network */
    };

    vq_log_level = getenv("VQ_TEST_LOG") != NULL ? VQ_LOG_DEBUG : VQ_LOG_ERROR;
    cmocka_set_test_filter(getenv("VQ_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
