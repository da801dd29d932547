/* Saving, restoring and dumping under a fake host: with the real QEMU, with one that fails at each step, over the death of the daemon
 * at each failure point. Each test ends with a look for leftovers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/save.h"
#include "drivers/qemu/save_image.h"
#include "proto/gen/remote.h"
#include "tests/driver/fake_host.h"

static struct vq_driver *const driver = &vq_qemu_driver;
static char emulator[128], image[160], managed[200];

#define WELL "outgoing setup active completed\nincoming setup active completed\n"

/* ---- Helpers ---- */

static void start_driver(void)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(driver->start(driver, &fake.host, &err), 0);
    fake.driver = driver;
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

/* script NULL: the real QEMU. */
static struct fake_domain *define(const char *script, const char *more)
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
                   "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>%s"
                   "<devices><emulator>%s</emulator></devices></domain>",
                   fake.n_domains + 1, fake_uuid_prefix(), fake.n_domains + 1, more, emulator);
    if (vq_domain_parse(text, 0, &definition, &err) < 0)
        fail_msg("%s", err.message);
    found_caps = NULL;
    vq_qemu_emulators_get(qemu()->emulators, emulator, caps_known, NULL);
    assert_true(fake_host_until(has_caps, NULL));
    if (vq_qemu_definition_fill(definition, found_caps, fake.host.random, &err) < 0)
        fail_msg("%s", err.message);
    xml = vq_domain_format(definition, VQ_FORMAT_INACTIVE);
    domain = fake_domain_add(definition->name, xml, true);
    free(xml);
    vq_domain_free(definition);
    vq_qemu_capabilities_free(found_caps);
    (void)snprintf(image, sizeof(image), "%s/%s.image", fake.dir, domain->name);
    (void)snprintf(managed, sizeof(managed), "%s/lib/qemu/save/%s.save", fake.dir, domain->name);
    return domain;
}

static int ask(const char *procedure, struct fake_domain *domain, const void *args)
{
    return fake_call(driver, VQ_PROGRAM_REMOTE, procedure, domain, args);
}

static void must(const char *procedure, struct fake_domain *domain, const void *args)
{
    static const uint8_t no_flags[256]; /* of every argument struct */
    int code = ask(procedure, domain, args != NULL ? args : no_flags);

    if (code != VIR_ERR_OK)
        fail_msg("%s: %d %s", procedure, code, fake_error.message);
}

static int save(struct fake_domain *domain, uint32_t flags)
{
    const struct vq_remote_domain_save_flags_args args = { .to = image, .flags = flags };

    return ask("domain_save_flags", domain, &args);
}

static int managed_save(struct fake_domain *domain)
{
    const struct vq_remote_domain_managed_save_args args = { .flags = 0 };

    return ask("domain_managed_save", domain, &args);
}

static int restore(uint32_t flags)
{
    const struct vq_remote_domain_restore_flags_args args = { .from = image, .flags = flags };

    return ask("domain_restore_flags", NULL, &args);
}

static int start(struct fake_domain *domain, uint32_t flags)
{
    const struct vq_remote_domain_create_with_flags_args args = { .flags = flags };

    return ask("domain_create_with_flags", domain, &args);
}

static int dump(struct fake_domain *domain, uint32_t flags)
{
    const struct vq_remote_domain_core_dump_args args = { .to = image, .flags = flags };

    return ask("domain_core_dump", domain, &args);
}

#define WELL_DONE(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != VIR_ERR_OK)                                                                                      \
            fail_msg("%s: %s", #call, fake_error.message);                                                             \
    } while (0)

/* What became of the domain, without the numbers of the work. */
static const char *changes(void)
{
    static char text[sizeof(fake.trace)];
    char copy[sizeof(fake.trace)], *rest = copy;
    const char *word;

    memcpy(copy, fake.trace, sizeof(copy));
    text[0] = '\0';
    while ((word = strtok_r(rest, " ", &rest)) != NULL)
        if (strncmp(word, "event", 5) != 0)
            (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", word);
    return text;
}

static struct vq_qemu_guest *guest_of(const struct fake_domain *domain)
{
    return vq_qemu_guest_find(qemu(), domain->info.uuid);
}

static bool has_ended(void *data)
{
    return guest_of(data) == NULL;
}

/* Nothing is under way any more, and the CPUs run. */
static bool runs(void *data)
{
    const struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->phase == VQ_GUEST_ACTIVE && guest->saving == NULL && guest->restoring == NULL &&
           guest->state == VIR_DOMAIN_RUNNING;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static bool is_unmarked(void *data)
{
    return (((struct fake_domain *)data)->info.flags & VQ_INFO_MANAGED_SAVE) == 0 && !is_there(managed);
}

static bool is_marked(const struct fake_domain *domain)
{
    return (domain->info.flags & VQ_INFO_MANAGED_SAVE) != 0;
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
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
             strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
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

/* Temporary files begin with a dot. */
static void nothing_is_left(void)
{
    assert_int_equal(signal_processes(0), 0);
    assert_int_equal(count_entries("records", "qemu.run"), 0);
    assert_int_equal(count_entries("lib/qemu", "domain-"), 0);
    assert_int_equal(count_entries(".", ".t"), 0);
    assert_int_equal(count_entries("lib/qemu/save", "."), 0);
}

static int setup(void **state)
{
    (void)state;
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

static void write_setting(const char *line)
{
    char path[160];
    FILE *file;

    stop_driver();
    (void)snprintf(path, sizeof(path), "%s/qemu.conf", fake.host.config_dir);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fprintf(file, "%s\n", line) > 0);
    assert_int_equal(fclose(file), 0);
    start_driver();
}

/* While a call waits. */
static uv_timer_t meanwhile_timer;
static void (*meanwhile_fn)(struct fake_domain *domain);

static void meanwhile_due(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
    meanwhile_fn(timer->data);
}

static void meanwhile(struct fake_domain *domain, void (*fn)(struct fake_domain *domain))
{
    meanwhile_fn = fn;
    (void)uv_timer_init(&fake.loop, &meanwhile_timer);
    meanwhile_timer.data = domain;
    (void)uv_timer_start(&meanwhile_timer, meanwhile_due, 150, 0);
}

/* ---- The real QEMU ---- */

static void a_guest_goes_into_a_file_and_comes_out_of_it_in_every_format(void **state)
{
    static const char *const formats[] = { "raw", "gzip", "bzip2", "xz", "zstd" };
    struct fake_domain *domain = define(NULL, "");

    (void)state;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        struct vq_save_image found = { 0 };
        struct vq_error err = VQ_ERROR_INIT;
        bool is_incomplete;
        char line[64];
        int fd;

        (void)snprintf(line, sizeof(line), "save_image_format = \"%s\"", formats[i]);
        write_setting(line);
        WELL_DONE(start(domain, 0));
        fake.trace[0] = '\0';
        WELL_DONE(save(domain, 0));
        assert_string_equal(changes(), "3/3+3.0 5/5+5.4 ");
        nothing_is_left();
        fd = open(image, O_RDONLY | O_CLOEXEC);
        if (vq_save_image_read(fd, &found, &is_incomplete, &err) < 0)
            fail_msg("%s", err.message);
        assert_string_equal(vq_save_format_name(found.format), formats[i]);
        assert_int_equal(found.was_running, 1);
        assert_int_equal(found.data % VQ_SAVE_ALIGN_BYTES, 0);
        vq_save_image_done(&found);
        (void)close(fd);
        fake.trace[0] = '\0';
        WELL_DONE(restore(0));
        assert_string_equal(changes(), "1/3+2.2+4.2 ");
        assert_true(is_there(image));
        must("domain_destroy", domain, NULL);
        nothing_is_left();
    }
}

static void around_the_cache_it_is_the_same_file(void **state)
{
    struct fake_domain *domain = define(NULL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(save(domain, VIR_DOMAIN_SAVE_BYPASS_CACHE));
    WELL_DONE(restore(VIR_DOMAIN_SAVE_BYPASS_CACHE));
    WELL_DONE(save(domain, 0));
    WELL_DONE(restore(VIR_DOMAIN_SAVE_BYPASS_CACHE | VIR_DOMAIN_SAVE_PAUSED));
    assert_int_equal(domain->info.state, VIR_DOMAIN_PAUSED);
    must("domain_resume", domain, NULL);
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void a_file_cut_anywhere_is_refused_and_nothing_is_left(void **state)
{
    struct fake_domain *domain = define(NULL, "");
    struct stat status;

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(save(domain, 0));
    assert_int_equal(stat(image, &status), 0);
    for (off_t size = status.st_size; size > 50; size = size * 2 / 3) {
        assert_int_equal(truncate(image, size - 1), 0);
        assert_int_not_equal(restore(0), VIR_ERR_OK);
        assert_true(fake_error.message[0] != '\0');
        assert_null(guest_of(domain));
        nothing_is_left();
    }
}

static void dumps_are_made_in_their_formats_and_the_guest_goes_on(void **state)
{
    static const uint32_t flags[] = { 0, VIR_DUMP_LIVE, VIR_DUMP_MEMORY_ONLY, VIR_DUMP_MEMORY_ONLY | VIR_DUMP_LIVE,
                                      VIR_DUMP_BYPASS_CACHE, VIR_DUMP_MEMORY_ONLY | VIR_DUMP_BYPASS_CACHE, VIR_DUMP_RESET };
    struct fake_domain *domain = define(NULL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        char magic[4] = "";
        int fd;

        WELL_DONE(dump(domain, flags[i]));
        assert_true(fake_host_until(runs, domain));
        fd = open(image, O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, magic, 4), 4);
        (void)close(fd);
        assert_memory_equal(magic, (flags[i] & VIR_DUMP_MEMORY_ONLY) != 0 ? "\177ELF" : "QEVM", 4);
    }
    fake.trace[0] = '\0';
    WELL_DONE(dump(domain, VIR_DUMP_CRASH));
    assert_string_equal(changes(), "3/4+3.0 5/3+5.2 ");
    nothing_is_left();
}

/* ---- What the caller may ask ---- */

static void flags_that_exclude_each_other_are_refused(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    assert_int_equal(save(domain, VIR_DOMAIN_SAVE_RUNNING | VIR_DOMAIN_SAVE_PAUSED), VIR_ERR_INVALID_ARG);
    assert_int_equal(save(domain, 0x80), VIR_ERR_INVALID_ARG);
    assert_int_equal(dump(domain, VIR_DUMP_CRASH | VIR_DUMP_LIVE), VIR_ERR_INVALID_ARG);
    assert_int_equal(dump(domain, VIR_DUMP_CRASH | VIR_DUMP_RESET), VIR_ERR_INVALID_ARG);
    assert_int_equal(dump(domain, VIR_DUMP_LIVE | VIR_DUMP_RESET), VIR_ERR_INVALID_ARG);
    (void)snprintf(image, sizeof(image), "relative");
    assert_int_equal(save(domain, 0), VIR_ERR_INVALID_ARG);
    assert_int_equal(restore(0), VIR_ERR_INVALID_ARG);
    assert_true(runs(domain));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void the_state_of_a_restored_guest_is_what_was_asked_for(void **state)
{
    static const struct { bool pause; uint32_t save, restore; bool comes_running; } cases[] = {
        { false, 0, 0, true }, { true, 0, 0, false }, { true, VIR_DOMAIN_SAVE_RUNNING, 0, true },
        { false, VIR_DOMAIN_SAVE_PAUSED, 0, false }, { false, 0, VIR_DOMAIN_SAVE_PAUSED, false },
        { true, 0, VIR_DOMAIN_SAVE_RUNNING, true },
    };
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        WELL_DONE(start(domain, cases[i].pause ? VIR_DOMAIN_START_PAUSED : 0));
        WELL_DONE(save(domain, cases[i].save));
        fake.trace[0] = '\0';
        WELL_DONE(restore(cases[i].restore));
        assert_string_equal(changes(), cases[i].comes_running ? "1/3+2.2+4.2 " : "3/2+2.2+3.4 ");
        must("domain_destroy", domain, NULL);
        nothing_is_left();
    }
}

static void the_file_that_is_there_stays_until_the_new_one_is_complete(void **state)
{
    struct fake_domain *domain = define("outgoing setup active failed\n", "");
    char text[8] = "";
    struct stat status;
    FILE *file;

    (void)state;
    WELL_DONE(start(domain, 0));
    file = fopen(image, "we");
    assert_true(fputs("before", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(image, 0640), 0);
    assert_int_not_equal(save(domain, 0), VIR_ERR_OK);
    file = fopen(image, "re");
    assert_non_null(fgets(text, sizeof(text), file));
    assert_int_equal(fclose(file), 0);
    assert_string_equal(text, "before");
    must("domain_destroy", domain, NULL);
    use_script(WELL);
    WELL_DONE(start(domain, 0));
    WELL_DONE(save(domain, 0));
    assert_int_equal(stat(image, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    assert_true(status.st_size >= VQ_SAVE_ALIGN_BYTES);
    nothing_is_left();
}

static void a_program_that_is_missing_fails_a_save_and_a_dump_is_raw(void **state)
{
    struct fake_domain *domain;

    (void)state;
    write_setting("save_image_format = \"lzop\"\ndump_image_format = \"lzop\"");
    domain = define(WELL, "");
    WELL_DONE(start(domain, 0));
    if (!is_there("/usr/bin/lzop")) {
        assert_int_equal(save(domain, 0), VIR_ERR_OPERATION_FAILED);
        assert_non_null(strstr(fake_error.message, "isn't available"));
    }
    WELL_DONE(dump(domain, 0));
    assert_true(runs(domain));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

/* ---- QEMU fails ---- */

static void a_failed_save_lets_the_guest_run_again(void **state)
{
    struct fake_domain *domain = define("outgoing setup active failed\n", "");

    (void)state;
    WELL_DONE(start(domain, 0));
    fake.trace[0] = '\0';
    assert_int_equal(save(domain, 0), VIR_ERR_OPERATION_FAILED);
    assert_string_equal(changes(), "3/3+3.0 1/7+4.0 ");
    assert_false(is_there(image));
    assert_true(runs(domain));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void a_refusal_at_any_question_lets_the_guest_run_again(void **state)
{
    static const char *const of_save[] = { "stop", "query-migrate-capabilities", "migrate-set-capabilities",
                                           "migrate-set-parameters", "getfd", "migrate" };
    static const char *const of_dump[] = { "stop", "getfd", "dump-guest-memory" };

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        char script[128];
        struct fake_domain *domain;

        (void)snprintf(script, sizeof(script), "outgoing setup active completed\nrefuse %s\n",
                       i < 6 ? of_save[i] : of_dump[i - 6]);
        domain = define(script, "");
        WELL_DONE(start(domain, 0));
        assert_int_not_equal(i < 6 ? save(domain, 0) : dump(domain, VIR_DUMP_MEMORY_ONLY), VIR_ERR_OK);
        assert_non_null(strstr(fake_error.message, "the script refuses it"));
        assert_true(fake_host_until(runs, domain));
        assert_false(is_there(image));
        must("domain_destroy", domain, NULL);
        nothing_is_left();
        if (fake.n_domains == FAKE_DOMAINS_MAX) {
            (void)teardown(NULL);
            (void)setup(NULL);
        }
    }
}

/* The commands of a start are about a dozen: those after them are the save's. */
static void a_qemu_that_dies_at_any_step_of_a_save_leaves_nothing(void **state)
{
    int n_died = 0;

    (void)state;
    for (int n = 6; n < 24; n++) {
        char script[128];
        struct fake_domain *domain;

        (void)snprintf(script, sizeof(script), WELL "at %d die\n", n);
        domain = define(script, "");
        if (start(domain, 0) == VIR_ERR_OK && save(domain, 0) != VIR_ERR_OK) {
            assert_true(fake_host_until(has_ended, domain));
            assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
            assert_false(is_there(image));
            n_died++;
        }
        if (guest_of(domain) != NULL)
            must("domain_destroy", domain, NULL);
        nothing_is_left();
        if (fake.n_domains == FAKE_DOMAINS_MAX) {
            (void)teardown(NULL);
            (void)setup(NULL);
        }
    }
    assert_in_range(n_died, 4, 12);
}

static void a_qemu_that_dies_while_it_loads_fails_the_restore_with_its_words(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(save(domain, 0));
    use_script("incoming setup active die\n");
    assert_int_equal(restore(0), VIR_ERR_INTERNAL_ERROR);
    assert_non_null(strstr(fake_error.message, "load of migration failed: as told"));
    assert_true(is_there(image));
    nothing_is_left();
}

static void cancel_it(struct fake_domain *domain)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(guest_of(domain)->activity.abort(guest_of(domain), false, &err), 0);
}

static void a_client_that_cancels_gets_its_guest_back(void **state)
{
    struct fake_domain *domain = define("outgoing setup active hang\n", "");

    (void)state;
    WELL_DONE(start(domain, 0));
    meanwhile(domain, cancel_it);
    assert_int_equal(save(domain, 0), VIR_ERR_OPERATION_ABORTED);
    assert_string_equal(fake_error.message, "domain save job: canceled by client");
    assert_true(runs(domain));
    assert_int_equal(guest_of(domain)->completed.type, VIR_DOMAIN_JOB_CANCELLED);
    assert_false(is_there(image));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void cannot_cancel(struct fake_domain *domain)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(guest_of(domain)->activity.abort(guest_of(domain), false, &err), -1);
    assert_string_equal(err.message, "cannot abort memory-only dump");
    vq_qemu_guest_end(guest_of(domain), VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED, true);
}

static void a_dump_of_memory_ends_only_with_the_guest(void **state)
{
    struct fake_domain *domain = define("dump hang\n", "");

    (void)state;
    WELL_DONE(start(domain, 0));
    meanwhile(domain, cannot_cancel);
    assert_int_equal(dump(domain, VIR_DUMP_MEMORY_ONLY), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(fake_error.message, "guest unexpectedly quit"));
    assert_true(fake_host_until(has_ended, domain));
    assert_false(is_there(image));
    nothing_is_left();
}

static void destroy_it(struct fake_domain *domain)
{
    vq_qemu_guest_end(guest_of(domain), VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED, true);
}

static void destroying_it_meanwhile_ends_the_save(void **state)
{
    struct fake_domain *domain = define("outgoing setup active hang\n", "");

    (void)state;
    WELL_DONE(start(domain, 0));
    meanwhile(domain, destroy_it);
    assert_int_equal(save(domain, 0), VIR_ERR_OPERATION_FAILED);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.reason, VIR_DOMAIN_SHUTOFF_DESTROYED);
    assert_false(is_there(image));
    nothing_is_left();
}

static bool has_saving(void *data)
{
    return guest_of(data)->saving == NULL;
}

static void stop_it(struct fake_domain *domain)
{
    (void)domain;
    assert_false(has_saving(domain));
}

/* As at the end of the daemon's service, and at its next begin. */
static void a_daemon_that_stops_meanwhile_undoes_it_when_it_comes_back(void **state)
{
    struct fake_domain *domain = define("outgoing setup active hang\n", "");
    const struct vq_saving_options options = { .kind = VQ_SAVING_FILE, .path = image, .will_run = true,
                                               .take_xml = strdup("<domain/>") };
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    WELL_DONE(start(domain, 0));
    assert_int_equal(vq_saving_start(guest_of(domain), &options, NULL, NULL, &err), 0);
    while (guest_of(domain)->saving->qemu != VQ_SAVING_AT_WORK)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    stop_it(domain);
    stop_driver();
    assert_int_equal(count_entries(".", ".t"), 1);
    start_driver();
    driver->recover(driver);
    assert_true(fake_host_until(runs, domain));
    assert_false(is_there(image));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

/* The thread that hangs is waited for, and the loop goes on meanwhile: else this would not be called. */
static void cancel_and_revive(struct fake_domain *domain)
{
    assert_true(guest_of(domain)->saving->work != NULL);
    cancel_it(domain);
    fake_dead_storage_end();
}

static void dead_storage_fails_the_save_and_the_guest_never_stops(void **state)
{
    struct fake_domain *domain = define(WELL, "");
    char dir[128];

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/dead", fake.dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    if (!fake_dead_storage_begin(dir))
        skip();
    WELL_DONE(start(domain, 0));
    (void)snprintf(image, sizeof(image), "%s/image", dir);
    meanwhile(domain, cancel_and_revive);
    fake.trace[0] = '\0';
    assert_int_equal(save(domain, 0), VIR_ERR_OPERATION_ABORTED);
    assert_true(fake_host_until(runs, domain));
    assert_string_equal(changes(), "");
    must("domain_destroy", domain, NULL);
}

/* ---- Managed saves ---- */

static void a_managed_save_is_where_the_next_start_begins(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    assert_true(is_marked(domain) && is_there(managed));
    nothing_is_left();
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, 0));
    assert_string_equal(changes(), "1/3+2.2+4.2 ");
    assert_true(fake_host_until(is_unmarked, domain));
    assert_int_equal(count_entries("records", "qemu.save"), 0);
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void force_boot_and_removal_discard_the_image(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, VIR_DOMAIN_START_FORCE_BOOT));
    assert_string_equal(changes(), "1/1+4.0+2.0 ");
    assert_true(fake_host_until(is_unmarked, domain));
    WELL_DONE(managed_save(domain));
    must("domain_managed_save_remove", domain, NULL);
    assert_true(fake_host_until(is_unmarked, domain));
    assert_int_equal(count_entries("records", "qemu.save"), 0);
    nothing_is_left();
}

static void an_image_that_somebody_removed_is_not_missed(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    assert_int_equal(unlink(managed), 0);
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, 0));
    assert_string_equal(changes(), "1/1+4.0+2.0 ");
    assert_true(fake_host_until(is_unmarked, domain));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

/* What was mounted there is not: the promise is kept by refusing. */
static void a_directory_that_is_another_one_refuses_the_start(void **state)
{
    struct fake_domain *domain = define(WELL, "");
    char dir[160], away[170];

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    (void)snprintf(dir, sizeof(dir), "%s/lib/qemu/save", fake.dir);
    (void)snprintf(away, sizeof(away), "%s.away", dir);
    assert_int_equal(rename(dir, away), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(start(domain, 0), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(fake_error.message, managed));
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(rename(away, dir), 0);
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, 0));
    assert_string_equal(changes(), "1/3+2.2+4.2 ");
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void an_image_of_an_earlier_run_is_refused(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    domain->info.run++; /* it ran elsewhere, or from its XML */
    assert_int_equal(start(domain, 0), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(fake_error.message, "has run since its state was saved"));
    assert_null(guest_of(domain));
    WELL_DONE(start(domain, VIR_DOMAIN_START_FORCE_BOOT));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void put_magic(const char *magic)
{
    int fd = open(managed, O_WRONLY | O_CLOEXEC);

    assert_int_equal(pwrite(fd, magic, strlen(magic), 0), (ssize_t)strlen(magic));
    (void)close(fd);
}

static void an_incomplete_image_is_set_aside_and_a_damaged_one_is_an_error(void **state)
{
    struct fake_domain *domain = define(WELL, "");
    char aside[220];

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    put_magic("LibvirtQemudPart");
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, 0));
    assert_string_equal(changes(), "1/1+4.0+2.0 ");
    (void)snprintf(aside, sizeof(aside), "%s.aside", managed);
    assert_true(is_there(aside) && fake_host_until(is_unmarked, domain));
    WELL_DONE(managed_save(domain));
    put_magic("damaged");
    assert_int_equal(start(domain, 0), VIR_ERR_OPERATION_FAILED);
    assert_string_equal(fake_error.message, "image magic is incorrect");
    assert_true(is_marked(domain) && is_there(managed));
    nothing_is_left();
}

static void a_file_that_is_nobodys_is_neither_used_nor_lost(void **state)
{
    struct fake_domain *domain = define(WELL, "");
    char aside[220], dir[160];
    FILE *file;

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/lib/qemu/save", fake.dir);
    (void)snprintf(aside, sizeof(aside), "%s/lib/qemu", fake.dir);
    (void)mkdir(aside, 0700);
    assert_int_equal(mkdir(dir, 0700), 0);
    file = fopen(managed, "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, 0));
    assert_string_equal(changes(), "1/1+4.0+2.0 ");
    assert_true(is_there(managed));
    WELL_DONE(managed_save(domain));
    (void)snprintf(aside, sizeof(aside), "%s.aside", managed);
    assert_true(is_there(aside));
    nothing_is_left();
}

static void an_image_elsewhere_refuses_the_start(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    domain->info.flags |= VQ_INFO_MANAGED_SAVE;
    assert_int_equal(start(domain, 0), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(fake_error.message, "is not on this host"));
    WELL_DONE(start(domain, VIR_DOMAIN_START_FORCE_BOOT));
    assert_true(fake_host_until(is_unmarked, domain));
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void without_a_quorum_there_is_no_managed_save(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    fake.has_quorum = false;
    fake.trace[0] = '\0';
    assert_int_equal(managed_save(domain), VIR_ERR_OPERATION_INVALID);
    assert_string_equal(changes(), "");
    fake.has_quorum = true;
    fake.loses_quorum = true; /* the mark may be set, and may not be */
    assert_int_equal(managed_save(domain), VIR_ERR_OPERATION_TIMEOUT);
    assert_true(fake_host_until(runs, domain));
    assert_false(is_there(managed));
    fake.has_quorum = true;
    driver->autostart(driver);
    assert_true(fake_host_until(is_unmarked, domain));
    must("domain_destroy", domain, NULL);
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, 0));
    assert_string_equal(changes(), "1/1+4.0+2.0 ");
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void a_start_that_fails_keeps_the_image(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    use_script(WELL "refuse cont\n");
    assert_int_not_equal(start(domain, 0), VIR_ERR_OK);
    assert_true(is_marked(domain) && is_there(managed));
    use_script("incoming setup active die\n");
    assert_int_not_equal(start(domain, 0), VIR_ERR_OK);
    assert_true(is_marked(domain) && is_there(managed));
    use_script(WELL);
    fake.trace[0] = '\0';
    WELL_DONE(start(domain, 0));
    assert_string_equal(changes(), "1/3+2.2+4.2 ");
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

static void autostart_begins_where_the_managed_save_ended(void **state)
{
    struct fake_domain *domain = define(WELL, "");

    (void)state;
    WELL_DONE(start(domain, 0));
    WELL_DONE(managed_save(domain));
    domain->info.flags |= VQ_INFO_AUTOSTART;
    fake.trace[0] = '\0';
    driver->autostart(driver);
    assert_true(fake_host_until(runs, domain));
    assert_string_equal(changes(), "1/3+2.2+4.2 ");
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

/* ---- Dumps that nobody asked for ---- */

static void a_panic_is_dumped_and_then_what_the_definition_says(void **state)
{
    struct fake_domain *domain = define("nmi panic\n", "<on_crash>coredump-destroy</on_crash>");

    (void)state;
    WELL_DONE(start(domain, 0));
    must("domain_inject_nmi", domain, NULL);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.reason, VIR_DOMAIN_SHUTOFF_CRASHED);
    assert_int_equal(count_entries("lib/qemu/dump", ""), 1);
    domain = define("nmi panic\n", "<on_crash>coredump-restart</on_crash>");
    WELL_DONE(start(domain, 0));
    must("domain_inject_nmi", domain, NULL);
    assert_true(fake_host_until(runs, domain));
    assert_int_equal(count_entries("lib/qemu/dump", ""), 2);
    must("domain_destroy", domain, NULL);
    nothing_is_left();
}

/* ---- The daemon dies ---- */

/* A child does it and dies at the failure point; the driver recovers here. Undone: the guest runs. Done: the image starts it. */
static void die_at(const char *point, int (*doing)(struct fake_domain *domain))
{
    struct fake_domain *domain = define(WELL, "");
    struct vq_qemu_guest *guest;
    int status;
    pid_t child;

    stop_driver();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        char setting[128];

        (void)uv_loop_init(&fake.loop); /* the parent's descriptors are not ours to poll */
        start_driver();
        (void)start(domain, 0);
        (void)snprintf(setting, sizeof(setting), "%s=crash", point);
        (void)setenv("VQ_FAILPOINTS", setting, 1);
        (void)doing(domain);
        _exit(77);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        fail_msg("failure point %s was never reached", point);
    domain->info.run = fake.next_run = 1; /* as the log has it */
    start_driver();
    driver->recover(driver);
    driver->autostart(driver);
    guest = guest_of(domain);
    if (guest != NULL && guest->phase == VQ_GUEST_FOUND && !guest->end.is_set) {
        while (guest_of(domain) != NULL && !runs(domain))
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
    }
    if (guest_of(domain) != NULL && !runs(domain))
        assert_true(fake_host_until(has_ended, domain));
    if (guest_of(domain) == NULL) { /* saved, or its restore was undone: whatever there is starts it */
        WELL_DONE(start(domain, 0));
        assert_true(fake_host_until(runs, domain));
    }
    must("domain_destroy", domain, NULL);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    nothing_is_left();
    assert_true(fake_host_until(is_unmarked, domain));
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0);
    (void)teardown(NULL);
    (void)setup(NULL);
}

static int do_save(struct fake_domain *domain)
{
    return save(domain, 0);
}

static int do_dump(struct fake_domain *domain)
{
    return dump(domain, VIR_DUMP_MEMORY_ONLY);
}

static int do_restore(struct fake_domain *domain)
{
    int code = managed_save(domain) == VIR_ERR_OK ? start(domain, 0) : -1;

    (void)fake_host_until(is_unmarked, domain); /* the image goes behind the answer */
    return code;
}

static void a_daemon_that_dies_at_any_step_of_a_save_leaves_a_legal_state(void **state)
{
    static const char *const points[] = {
        "qemu.save.look", "qemu.save.record", "qemu.save.make", "qemu.save.file.make", "qemu.save.file.made", "qemu.save.stop",
        "qemu.save.filter", "qemu.save.tell", "qemu.save.send", "qemu.save.sending", "qemu.save.finish",
        "qemu.save.file.finish", "qemu.save.complete", "qemu.save.place", "qemu.save.file.place", "qemu.save.ending",
        "qemu.stop.term", "qemu.stop.recorded",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        die_at(points[i], do_save);
}

static void a_daemon_that_dies_in_a_managed_save_leaves_a_legal_state(void **state)
{
    static const char *const points[] = { "qemu.save.managed", "qemu.save.managed.record", "qemu.save.ending",
                                          "qemu.save.file.place" };

    (void)state;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        die_at(points[i], managed_save);
}

static void a_daemon_that_dies_in_a_dump_leaves_a_legal_state(void **state)
{
    static const char *const points[] = { "qemu.save.record", "qemu.save.file.made", "qemu.save.sending", "qemu.save.finish",
                                          "qemu.save.place", "qemu.save.run" };

    (void)state;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        die_at(points[i], do_dump);
}

static void a_daemon_that_dies_in_a_restore_leaves_a_legal_state(void **state)
{
    static const char *const points[] = { "qemu.restore.load", "qemu.restore.use", "qemu.save.managed.drop",
                                          "qemu.start.cont", "qemu.start.publish" };

    (void)state;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        die_at(points[i], do_restore);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_guest_goes_into_a_file_and_comes_out_of_it_in_every_format),
        TEST(around_the_cache_it_is_the_same_file),
        TEST(a_file_cut_anywhere_is_refused_and_nothing_is_left),
        TEST(dumps_are_made_in_their_formats_and_the_guest_goes_on),
        TEST(flags_that_exclude_each_other_are_refused),
        TEST(the_state_of_a_restored_guest_is_what_was_asked_for),
        TEST(the_file_that_is_there_stays_until_the_new_one_is_complete),
        TEST(a_program_that_is_missing_fails_a_save_and_a_dump_is_raw),
        TEST(a_failed_save_lets_the_guest_run_again),
        TEST(a_refusal_at_any_question_lets_the_guest_run_again),
        TEST(a_qemu_that_dies_at_any_step_of_a_save_leaves_nothing),
        TEST(a_qemu_that_dies_while_it_loads_fails_the_restore_with_its_words),
        TEST(a_client_that_cancels_gets_its_guest_back),
        TEST(a_dump_of_memory_ends_only_with_the_guest),
        TEST(destroying_it_meanwhile_ends_the_save),
        TEST(a_daemon_that_stops_meanwhile_undoes_it_when_it_comes_back),
        TEST(a_managed_save_is_where_the_next_start_begins),
        TEST(force_boot_and_removal_discard_the_image),
        TEST(an_image_that_somebody_removed_is_not_missed),
        TEST(a_directory_that_is_another_one_refuses_the_start),
        TEST(an_image_of_an_earlier_run_is_refused),
        TEST(an_incomplete_image_is_set_aside_and_a_damaged_one_is_an_error),
        TEST(a_file_that_is_nobodys_is_neither_used_nor_lost),
        TEST(an_image_elsewhere_refuses_the_start),
        TEST(without_a_quorum_there_is_no_managed_save),
        TEST(a_start_that_fails_keeps_the_image),
        TEST(autostart_begins_where_the_managed_save_ended),
        TEST(a_panic_is_dumped_and_then_what_the_definition_says),
        TEST(a_daemon_that_dies_at_any_step_of_a_save_leaves_a_legal_state),
        TEST(a_daemon_that_dies_in_a_managed_save_leaves_a_legal_state),
        TEST(a_daemon_that_dies_in_a_dump_leaves_a_legal_state),
        TEST(a_daemon_that_dies_in_a_restore_leaves_a_legal_state),
        TEST(dead_storage_fails_the_save_and_the_guest_never_stops),
    };

    cmocka_set_test_filter(getenv("VQ_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
