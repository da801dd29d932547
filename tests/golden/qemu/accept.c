/* Does the real emulator take the command lines that we write? Each case that this machine can run is started with its
 * CPUs stopped, asked for its status, and told to quit.
 *
 * Files that a case names are made in a directory of the test; what needs a host's devices is left out, with the reason. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/command.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/firmware.h"
#include "tests/golden/qemu/support.h"

enum { START_MS = 60000, ANSWER_MAX = 65536 };

static char dir[64];
static bool has_taps;

static void remove_dir(void)
{
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf '%s'", dir);

    assert_int_equal(system(command), 0);
}

/* ---- What a case needs of this machine ---- */

static const char *why_not_disk(const struct vq_disk *disk)
{
    static const char *const unmade[] = {"qcow", "qed", "vmdk", "vdi", "vpc", "bochs", "cloop", "dmg", "fat"};

    if (disk->source.type != VQ_SOURCE_FILE && disk->source.type != VQ_SOURCE_BLOCK && disk->source.type != VQ_SOURCE_DIR &&
        disk->source.type != VQ_SOURCE_UNSET)
        return "no server, or no such device";
    if (disk->source.encryption != NULL || disk->encryption != NULL)
        return "no encrypted image";
    if (disk->io == VQ_DISK_IO_URING)
        return "io_uring may not be there";
    for (size_t i = 0; i < VQ_N_ELEMENTS(unmade); i++)
        if (vq_streq(disk->format, unmade[i]))
            return "no image of that format";
    for (const struct vq_backing *backing = disk->backing; backing != NULL; backing = backing->backing)
        if (backing->source.type == VQ_SOURCE_NETWORK || backing->source.encryption != NULL ||
            vq_streq(backing->format, "qed"))
            return "no such image to lie on";
    return NULL;
}

static bool needs_other_end(const struct vq_chardev *source)
{
    return source->type == VQ_CHARDEV_DEV || source->type == VQ_CHARDEV_PIPE || source->type == VQ_CHARDEV_STDIO ||
           ((source->type == VQ_CHARDEV_TCP || source->type == VQ_CHARDEV_UNIX) && source->mode != VQ_CHARDEV_BIND) ||
           source->tls == VQ_SWITCH_ON;
}

static const char *why_not_device(const struct vq_devices *devices)
{
    if (devices->n_hostdevs > 0)
        return "no such host device";
    if (devices->n_tpms > 0)
        return "no TPM";
    if (devices->vsock != NULL)
        return "vhost-vsock may not be there";
    if (devices->iommu != NULL && devices->iommu->eim == VQ_SWITCH_ON)
        return "extended interrupts need KVM";
    for (size_t i = 0; i < devices->n_inputs; i++)
        if (devices->inputs[i]->type == VQ_INPUT_EVDEV || devices->inputs[i]->type == VQ_INPUT_PASSTHROUGH)
            return "no such input device";
    for (size_t i = 0; i < devices->n_disks; i++)
        if (devices->disks[i]->device == VQ_DISK_DEVICE_LUN)
            return "no SCSI device";
    for (size_t i = 0; i < devices->n_disks; i++)
        if (why_not_disk(devices->disks[i]) != NULL)
            return why_not_disk(devices->disks[i]);
    for (size_t i = 0; i < devices->n_serials; i++)
        if (needs_other_end(&devices->serials[i]->source))
            return "nobody at the other end";
    for (size_t i = 0; i < devices->n_smartcards; i++)
        if (devices->smartcards[i]->mode != VQ_SMARTCARD_PASSTHROUGH)
            return "no smartcard";
    for (size_t i = 0; i < devices->n_filesystems; i++)
        if (vq_streq(devices->filesystems[i]->driver_type, "virtiofs"))
            return "no virtiofsd";
    for (size_t i = 0; i < devices->n_shmems; i++)
        if (vq_streq(devices->shmems[i]->model, "ivshmem-doorbell"))
            return "no ivshmem server";
    for (size_t i = 0; i < devices->n_memories; i++)
        if (devices->memories[i]->is_pmem)
            return "QEMU may be built without libpmem";
        else if (devices->memories[i]->source_pagesize_kib > 4)
            return "huge pages may not be there";
    for (size_t i = 0; i < devices->n_redirdevs; i++)
        if (devices->redirdevs[i]->source.type == VQ_CHARDEV_TCP)
            return "nobody to connect to";
    for (size_t i = 0; i < devices->n_rngs; i++)
        if (devices->rngs[i]->backend == VQ_RNG_EGD)
            return "no source of entropy";
    return NULL;
}

static const char *why_not_interface(const struct vq_devices *devices)
{
    for (size_t i = 0; i < devices->n_interfaces; i++) {
        enum vq_interface_type type = devices->interfaces[i]->type;
        if (type == VQ_INTERFACE_VHOSTUSER || type == VQ_INTERFACE_VDPA || type == VQ_INTERFACE_HOSTDEV)
            return "no such network device";
        if (type == VQ_INTERFACE_CLIENT || type == VQ_INTERFACE_MCAST)
            return "no network to join";
    }
    return NULL;
}

/* Windows, sound servers and GPUs of a desktop. */
static const char *why_not_desktop(const struct vq_devices *devices)
{
    for (size_t i = 0; i < devices->n_graphics; i++)
        if (devices->graphics[i]->type == VQ_GRAPHICS_SDL || devices->graphics[i]->type == VQ_GRAPHICS_EGL_HEADLESS ||
            devices->graphics[i]->type == VQ_GRAPHICS_DBUS || devices->graphics[i]->gl == VQ_SWITCH_ON)
            return "no desktop";
    for (size_t i = 0; i < devices->n_videos; i++)
        if (devices->videos[i]->blob == VQ_SWITCH_ON && access("/dev/udmabuf", F_OK) < 0)
            return "no /dev/udmabuf";
    for (size_t i = 0; i < devices->n_audios; i++)
        if (!vq_streq(devices->audios[i]->type, "none") && !vq_streq(devices->audios[i]->type, "spice") &&
            !vq_streq(devices->audios[i]->type, "file"))
            return "no sound server";
    return NULL;
}

static const char *why_not(const struct vq_domain *def)
{
    const char *reason = why_not_device(&def->devices);

    if (reason == NULL)
        reason = why_not_interface(&def->devices);
    if (reason == NULL)
        reason = why_not_desktop(&def->devices);
    if (reason != NULL)
        return reason;
    if (def->type == VQ_VIRT_KVM)
        return "KVM may not work here";
    if (def->memory_backing != NULL && def->memory_backing->has_hugepages)
        return "huge pages may not be there";
    if (def->memory_backing != NULL && def->memory_backing->locked)
        return "memory may not be locked";
    if (def->os.dtb != NULL || def->os.initrd != NULL)
        return "no kernel";
    if (def->os.loader != NULL && def->os.loader_readonly == VQ_SWITCH_OFF)
        return "no firmware of one's own";
    if (def->os.nvram_source.type != VQ_SOURCE_UNSET)
        return "no such store";
    if (access(golden_capabilities_of(def)->path, X_OK) < 0)
        return "no such emulator";
    if (def->n_qemu_devices > 0)
        return "the user's own properties are not ours to answer for";
    if (def->qemu != NULL && def->qemu->n_args > 0 && strcmp(def->qemu->args[0]->value, "-d") != 0)
        return "the user's own words are not ours to answer for";
    return NULL;
}

static void make_file(char **path, const char *format, off_t size)
{
    static unsigned n;
    int fd;

    free(*path);
    *path = vq_asprintf("%s/image%u", dir, n++);
    if (vq_streq(format, "qcow2")) {
        VQ_AUTOFREE char *command = vq_asprintf("qemu-img create -q -f qcow2 %s 64M", *path);
        assert_int_equal(system(command), 0);
        return;
    }
    fd = open(*path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    (void)close(fd);
}

static void make_images(struct vq_domain *live)
{
    enum { FLOPPY = 1440 * 1024, DISK = 64 * 1024 * 1024 };

    for (size_t i = 0; i < live->devices.n_disks; i++) {
        struct vq_disk *disk = live->devices.disks[i];
        if (disk->source.path == NULL)
            continue;
        disk->source.type = VQ_SOURCE_FILE; /* a block device is a file for this purpose */
        make_file(&disk->source.path, disk->format, disk->device == VQ_DISK_DEVICE_FLOPPY ? FLOPPY : DISK);
        for (struct vq_backing *backing = disk->backing; backing != NULL; backing = backing->backing)
            if (backing->source.path != NULL) {
                backing->source.type = VQ_SOURCE_FILE;
                make_file(&backing->source.path, backing->format, DISK);
            }
    }
}

/* A table has a header that says how long it is. */
static void make_slic(char **path)
{
    static const unsigned char header[36] = {'S', 'L', 'I', 'C', 36};
    int fd;

    make_file(path, "raw", 0);
    fd = open(*path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
    (void)close(fd);
}

static void make_firmware(struct vq_os *os)
{
    bool is_arm = vq_streq(os->arch, "aarch64"); /* whose flash has one size */
    off_t code = (is_arm ? 64 : 2) * 1024 * 1024, variables = is_arm ? code : 256 * 1024;

    if (os->loader != NULL && os->loader_type == VQ_LOADER_PFLASH)
        make_file(&os->loader, "raw", code);
    else if (os->loader != NULL)
        make_file(&os->loader, "raw", variables);
    if (os->nvram != NULL)
        make_file(&os->nvram, "raw", variables);
    for (size_t i = 0; i < os->n_acpi_tables; i++)
        make_slic(&os->acpi_tables[i]->path);
    /* A kernel has to be one; what QEMU does with it is no business of the options' syntax. */
    vq_set_text(&os->kernel, NULL);
    vq_set_text(&os->initrd, NULL);
    vq_set_text(&os->cmdline, NULL);
}

static void make_chardev(struct vq_chardev *source)
{
    if (source->type == VQ_CHARDEV_FILE || source->type == VQ_CHARDEV_UNIX)
        make_file(&source->path, "raw", 0);
    if (source->type == VQ_CHARDEV_UNIX)
        (void)unlink(source->path);
    if (source->log_file != NULL)
        make_file(&source->log_file, "raw", 0);
}

static void make_ports(struct vq_devices *devices)
{
    for (size_t i = 0; i < devices->n_serials; i++)
        make_chardev(&devices->serials[i]->source);
    for (size_t i = 0; i < devices->n_parallels; i++)
        make_chardev(&devices->parallels[i]->source);
    for (size_t i = 0; i < devices->n_consoles; i++)
        make_chardev(&devices->consoles[i]->source);
    for (size_t i = 0; i < devices->n_channels; i++)
        make_chardev(&devices->channels[i]->source);
    for (size_t i = 0; i < devices->n_graphics; i++)
        if (devices->graphics[i]->socket != NULL)
            vq_set_text(&devices->graphics[i]->socket, NULL);
    for (size_t i = 0; i < devices->n_graphics; i++)
        for (size_t k = 0; k < devices->graphics[i]->n_listens; k++)
            if (devices->graphics[i]->listens[k]->socket != NULL) {
                make_file(&devices->graphics[i]->listens[k]->socket, "raw", 0);
                (void)unlink(devices->graphics[i]->listens[k]->socket);
            }
}

static int open_tap(char name[IFNAMSIZ], bool is_multi)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (is_multi ? IFF_MULTI_QUEUE : 0))};
    int fd = open("/dev/net/tun", O_RDWR);

    memcpy(request.ifr_name, name, IFNAMSIZ);
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) < 0) {
        (void)close(fd);
        fd = -1;
    }
    memcpy(name, request.ifr_name, IFNAMSIZ);
    return fd;
}

static void make_taps(struct vq_devices *devices, struct vq_qemu_queues *taps)
{
    for (size_t i = 0; i < devices->n_interfaces; i++) {
        struct vq_interface *interface = devices->interfaces[i];
        size_t n = taps[i].n_taps;
        char name[IFNAMSIZ] = "";
        bool is_tap = interface->type == VQ_INTERFACE_NETWORK || interface->type == VQ_INTERFACE_BRIDGE ||
                      interface->type == VQ_INTERFACE_ETHERNET || interface->type == VQ_INTERFACE_DIRECT;

        taps[i] = (struct vq_qemu_queues){.n_taps = 0};
        for (size_t k = 0; is_tap && has_taps && k < n; k++) {
            taps[i].tap[k] = open_tap(name, n > 1);
            assert_true(taps[i].tap[k] >= 0);
            taps[i].n_taps++;
        }
        if (is_tap && taps[i].n_taps == 0)
            interface->type = VQ_INTERFACE_USER;
    }
}

static void close_taps(struct vq_qemu_queues *taps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < taps[i].n_taps; k++)
            (void)close(taps[i].tap[k]);
}

/* ---- One emulator ---- */

static int listen_socket(char path[108])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(path, 108, "%s/monitor", dir);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    (void)unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static int connect_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Reads until the text has come; false: the other side closed, or it took too long. */
static bool wait_for(int fd, char *answer, const char *text)
{
    size_t length = 0;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    answer[0] = '\0';
    while (strstr(answer, text) == NULL) {
        if (poll(&poll_fd, 1, START_MS) <= 0)
            return false;
        ssize_t n = read(fd, answer + length, ANSWER_MAX - 1 - length);
        if (n <= 0)
            return false;
        length += (size_t)n;
        answer[length] = '\0';
    }
    return true;
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static pid_t spawn(const struct vq_qemu_command *command, const char *log)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int output = open(log, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        (void)dup2(open("/dev/null", O_RDONLY), 0);
        (void)dup2(output, 1);
        (void)dup2(output, 2);
        (void)execve(command->argv[0], command->argv, command->environment);
        _exit(127);
    }
    return pid;
}

static void run_emulator(const char *name, const struct vq_qemu_command *command, const char *monitor, int monitor_fd)
{
    VQ_AUTOFREE char *answer = vq_calloc(ANSWER_MAX, 1);
    VQ_AUTOFREE char *log = vq_asprintf("%s/log", dir);
    pid_t pid = spawn(command, log);
    int status = -1, fd;
    bool is_good;

    (void)close(monitor_fd);
    fd = connect_socket(monitor);
    is_good = wait_for(fd, answer, "QMP");
    if (is_good) {
        say(fd, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-status\"}");
        is_good = wait_for(fd, answer, "prelaunch");
    }
    if (is_good)
        say(fd, "{\"execute\":\"quit\"}");
    else
        (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    (void)close(fd);
    if (!is_good || status != 0) {
        VQ_AUTOFREE char *text = golden_read(dir, "log", "");
        print_error("case %s: status %d\n%s\n", name, status, text == NULL ? "" : text);
    }
    assert_true(is_good);
    assert_int_equal(status, 0);
}

static void make_rest(struct vq_domain *live)
{
    struct vq_devices *devices = &live->devices;

    for (size_t i = 0; i < devices->n_memories; i++)
        if (devices->memories[i]->path != NULL)
            make_file(&devices->memories[i]->path, "raw", 0);
    for (size_t i = 0; i < devices->n_filesystems; i++)
        vq_set_text(&devices->filesystems[i]->source_dir, dir);
    for (size_t i = 0; i < devices->n_interfaces; i++)
        if (devices->interfaces[i]->info.rom_file != NULL)
            make_file(&devices->interfaces[i]->info.rom_file, "raw", 1024);
    for (size_t i = 0; i < devices->n_audios; i++)
        if (devices->audios[i]->path != NULL)
            make_file(&devices->audios[i]->path, "raw", 0);
    for (size_t i = 0; i < live->n_sysinfos; i++)
        for (size_t k = 0; k < live->sysinfos[i]->n_fwcfg; k++)
            if (live->sysinfos[i]->fwcfg[k]->file != NULL)
                make_file(&live->sysinfos[i]->fwcfg[k]->file, "raw", 16);
}

static void prepare(struct vq_domain *live, struct vq_qemu_queues *taps)
{
    golden_choose_numbers(live, taps, 0);
    make_images(live);
    make_firmware(&live->os);
    make_ports(&live->devices);
    make_rest(live);
    make_taps(&live->devices, taps);
}

static void start_case(void **state)
{
    const char *name = *state;
    VQ_AUTOFREE char *xml = golden_read(GOLDEN_DIR, name, ".xml");
    VQ_AUTOFREE char *error = golden_read(GOLDEN_DIR, name, ".error");
    VQ_AUTOPTR(vq_domain) live = NULL;
    VQ_AUTOPTR(vq_qemu_command) command = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    char monitor[108];

    if (error != NULL)
        return; /* it is refused: the other test */
    golden_random_reset();
    assert_int_equal(vq_domain_parse(xml, VQ_PARSE_INACTIVE, &live, &err), 0);
    const char *reason = why_not(live);
    if (reason != NULL) {
        print_message("case %s is left out: %s\n", name, reason);
        return;
    }
    assert_int_equal(vq_qemu_definition_fill(live, golden_capabilities_of(live), golden_random, &err), 0);
    assert_int_equal(vq_qemu_definition_begin_run(live, 1, dir, &err), 0);
    assert_int_equal(vq_qemu_firmware_choose(live, golden_firmwares(), &err), 0);

    VQ_AUTOFREE struct vq_qemu_queues *taps = vq_calloc(live->devices.n_interfaces + 1, sizeof(*taps));
    int monitor_fd = listen_socket(monitor);
    prepare(live, taps);
    const struct vq_qemu_launch launch = {.dir = dir, .monitor_fd = monitor_fd, .taps = taps,
                                          .n_taps = live->devices.n_interfaces, .vsock_fd = -1, .sandbox = true,
                                          .memory_dir = dir, .now_s = 1700000000};
    if (vq_qemu_command_build(live, golden_capabilities_of(live), &launch, &command, &err) < 0)
        print_error("case %s: %s\n", name, err.message);
    assert_non_null(command);
    run_emulator(name, command, monitor, monitor_fd);
    close_taps(taps, live->devices.n_interfaces);
}

/* With a word: only cases whose names begin with it. */
int main(int argc, char **argv)
{
    char **names = golden_cases(GOLDEN_DIR);
    struct CMUnitTest *tests;
    size_t n = 0, n_tests = 0;
    int rc;

    if (access(golden_capabilities()->path, X_OK) < 0)
        return 77; /* skipped: nothing to ask */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(dir, sizeof(dir), "/tmp/accept.XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    has_taps = unshare(CLONE_NEWNET) == 0; /* taps and ports of our own */
    if (has_taps) {
        struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        (void)ioctl(fd, SIOCSIFFLAGS, &loopback);
        (void)close(fd);
    }
    while (names[n] != NULL)
        n++;
    tests = vq_calloc(n + 1, sizeof(*tests));
    for (size_t i = 0; i < n; i++)
        if (argc < 2 || strncmp(names[i], argv[1], strlen(argv[1])) == 0)
            tests[n_tests++] = (struct CMUnitTest){.name = names[i], .test_func = start_case, .initial_state = names[i]};
    rc = n_tests == 0 ? 1 : _cmocka_run_group_tests("accept", tests, n_tests, NULL, NULL);
    remove_dir();
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
    free(tests);
    return rc;
}
