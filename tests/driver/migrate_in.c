/* A guest that comes from another node: the destination's side under a fake host and with a fake QEMU that says what its script
 * says. Each test ends with a look for leftovers, and with a look at what the log was told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/log.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_in.h"
#include "proto/gen/node.h"
#include "proto/gen/remote.h"
#include "tests/driver/fake_host.h"

static struct vq_driver *const driver = &vq_qemu_driver;
static char emulator[128];

enum { OWN_NODE = 1, SOURCE_NODE = 2, SESSION = 7, ID = 70 };

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
    fake.driver = NULL;
    driver->stop(driver, stopped, NULL);
    while (!is_stopped)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
}

static struct vq_qemu *qemu(void)
{
    return driver->state;
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

/* The data that the script's "wait" waits for are there. */
static void let_data_come(void)
{
    char path[160];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s.go", emulator);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

static int unlink_go(void)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s.go", emulator);
    return unlink(path);
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

static char live_xml[16384];
static const char *more_devices = ""; /* of the next domain */
static const char *wanted_name, *kept_xml; /* of the next prepare; NULL: as they are */
static const char *offered_disk;      /* that the source wants to copy; NULL: none */

/* A domain that runs on the other node; its live XML is in live_xml. */
static struct fake_domain *remote_domain(const char *script)
{
    struct vq_domain *definition = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    struct fake_domain *domain;
    char text[2048];
    char *xml;

    use_script(script);
    (void)snprintf(text, sizeof(text),
                   "<domain type='qemu'><name>t%zu</name><uuid>%s%02zx</uuid>"
                   "<memory unit='MiB'>32</memory><currentMemory unit='MiB'>32</currentMemory><vcpu>1</vcpu>"
                   "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>"
                   "<devices><emulator>%s</emulator><graphics type='vnc' port='-1' autoport='yes'/>%s</devices></domain>",
                   fake.n_domains + 1, fake_uuid_prefix(), fake.n_domains + 1, emulator, more_devices);
    if (vq_domain_parse(text, 0, &definition, &err) < 0)
        fail_msg("%s", err.message);
    found_caps = NULL;
    vq_qemu_emulators_get(qemu()->emulators, emulator, caps_known, NULL);
    assert_true(fake_host_until(has_caps, NULL));
    if (vq_qemu_definition_fill(definition, found_caps, fake.host.random, &err) < 0)
        fail_msg("%s", err.message);
    vq_qemu_capabilities_free(found_caps);
    definition->id = ID;
    xml = vq_domain_format(definition, VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE);
    (void)snprintf(live_xml, sizeof(live_xml), "%s", xml);
    free(xml);
    xml = vq_domain_format(definition, VQ_FORMAT_INACTIVE);
    domain = fake_domain_add(definition->name, xml, true);
    free(xml);
    vq_domain_free(definition);
    domain->info.owner = SOURCE_NODE;
    domain->info.id = ID;
    domain->info.run = 5;
    fake.next_run = fake.next_run > 5 ? fake.next_run : 5; /* what comes later has a higher number */
    domain->info.state = VIR_DOMAIN_RUNNING;
    domain->info.reason = VIR_DOMAIN_RUNNING_BOOTED;
    return domain;
}

static struct vq_qemu_guest *guest_of(const struct fake_domain *domain)
{
    return vq_qemu_guest_find(qemu(), domain->info.uuid);
}

static bool has_ended(void *data)
{
    return guest_of(data) == NULL;
}

static bool has_arrived(void *data)
{
    const struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->phase == VQ_GUEST_ACTIVE && guest->migration == NULL;
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

static void nothing_is_left(void)
{
    assert_int_equal(signal_processes(0), 0);
    assert_int_equal(count_entries("records", "qemu.run"), 0);
    assert_int_equal(count_entries("lib/qemu", "domain-"), 0);
}

/* It is as if nobody had asked: the other node runs it. */
static void it_stays_where_it_was(const struct fake_domain *domain)
{
    nothing_is_left();
    assert_false(domain->is_gone);
    assert_int_equal(domain->info.owner, SOURCE_NODE);
    assert_int_equal(domain->info.moving_to, 0);
    assert_int_equal(domain->info.state, VIR_DOMAIN_RUNNING);
    assert_null(strstr(fake.trace, "5/")); /* no end was reported of a run that is not ours */
}

static void begin(void)
{
    fake_host_init(false);
    (void)fake_allow_userfaultfd(); /* else post-copy is refused where the host does not */
    fake.nodes[0].address = "127.0.0.1"; /* one that can really be bound */
    start_driver();
    driver->autostart(driver); /* the node has caught up */
}

/* Room for more domains. */
static void begin_anew(void)
{
    if (fake.n_domains < FAKE_DOMAINS_MAX)
        return;
    stop_driver();
    fake_host_done(true);
    begin();
}

static int setup(void **state)
{
    (void)state;
    more_devices = "";
    offered_disk = wanted_name = kept_xml = NULL;
    begin();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_dead_storage_end();
    stop_driver();
    fake_release_proposals();
    (void)signal_processes(SIGKILL);
    fake_host_done(true);
    return 0;
}

/* ---- The calls ---- */

/* One call of the destination's, and its answer. */
struct call {
    struct vq_arena *arena;
    struct vq_request request;
    bool is_answered;
    struct vq_error err;
    char uri[256], name[64];
    uint32_t cookie_length;
};

static const struct vq_caller caller = { .entry_node = OWN_NODE, .session = SESSION };
static struct call prepare_call, finish_call;

static void call_begin(struct call *call)
{
    vq_arena_free(call->arena);
    *call = (struct call){ .arena = vq_arena_new(0) };
    call->request = (struct vq_request){ .arena = call->arena, .caller = &caller, .driver = driver };
}

static void prepared(const char *uri, const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    struct call *call = data;

    assert_false(call->is_answered);
    call->is_answered = true;
    call->err = err != NULL ? *err : VQ_ERROR_INIT;
    (void)snprintf(call->uri, sizeof(call->uri), "%s", uri != NULL ? uri : "");
    call->cookie_length = cookie_length;
    assert_true(err != NULL || cookie != NULL);
}

static void finished(const struct vq_qemu_guest *guest, const uint8_t *cookie, uint32_t cookie_length,
                     const struct vq_error *err, void *data)
{
    struct call *call = data;

    (void)cookie;
    assert_false(call->is_answered);
    call->is_answered = true;
    call->err = err != NULL ? *err : VQ_ERROR_INIT;
    assert_true((guest != NULL) == (err == NULL));
    (void)snprintf(call->name, sizeof(call->name), "%s", guest != NULL ? guest->name : "");
    call->cookie_length = cookie_length;
}

static bool is_answered(void *data)
{
    return ((struct call *)data)->is_answered;
}

static bool refuses_resume;

/* The source has nothing against it. */
static int source_answers(const struct vq_procedure *procedure, const void *args, void *ret, struct vq_arena *arena,
                          struct vq_error *err, void *data)
{
    (void)args;
    (void)arena;
    (void)data;
    if (vq_streq(procedure->name, "migrate_facts"))
        ((struct vq_node_migrate_facts_ret *)ret)->boot_id = "that-boot";
    else if (vq_streq(procedure->name, "try_port"))
        *(struct vq_node_try_port_ret *)ret = (struct vq_node_try_port_ret){ .reached = 1, .text = "" };
    else if (vq_streq(procedure->name, "migrate_resume") && !refuses_resume)
        let_data_come();
    else
        return vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_NO_SUPPORT, "%s", procedure->name);
    return 0;
}

static struct fake_peer source;

static void begin_prepare(const struct fake_domain *domain, uint64_t flags, uint64_t source_node)
{
    struct vq_migrate_options options;
    struct vq_migrate_cookie cookie = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *bytes;
    uint32_t length;

    call_begin(&prepare_call);
    fake_peer_init(&source, SOURCE_NODE, "node2", source_answers, NULL);
    fake.peer = &source.peer;
    vq_migrate_options_init(&options);
    options.flags = flags;
    options.dxml = strdup(live_xml);
    options.dname = wanted_name != NULL ? strdup(wanted_name) : NULL;
    options.persistent_xml = kept_xml != NULL ? strdup(kept_xml) : NULL;
    vq_migrate_cookie_init(&cookie, qemu(), domain->info.uuid, domain->info.name);
    memset(cookie.host_uuid, 0x77, sizeof(cookie.host_uuid));
    vq_set_text(&cookie.host_name, "host2");
    cookie.node = source_node;
    memcpy(cookie.cluster_id, fake.cluster_id, sizeof(cookie.cluster_id));
    cookie.owned = strdup("[[\"/nonsense\",1,2],[]]");
    cookie.has_nbd = offered_disk != NULL;
    if (offered_disk != NULL)
        vq_migrate_cookie_add_disk(&cookie, offered_disk, 1048576);
    assert_int_equal(vq_migrate_cookie_write(&cookie, prepare_call.arena, &bytes, &length, &err), 0);
    vq_migrate_in_prepare(&prepare_call.request, &options, bytes, length, -1, prepared, &prepare_call);
    vq_migrate_cookie_done(&cookie);
    vq_migrate_options_done(&options);
}

static int prepare(const struct fake_domain *domain, uint64_t flags)
{
    begin_prepare(domain, flags, SOURCE_NODE);
    assert_true(fake_host_until(is_answered, &prepare_call));
    return prepare_call.err.code;
}

static void must_prepare_from(const struct fake_domain *domain, uint64_t flags, uint64_t source_node)
{
    begin_prepare(domain, flags, source_node);
    assert_true(fake_host_until(is_answered, &prepare_call));
    if (prepare_call.err.code != VIR_ERR_OK)
        fail_msg("prepare: %d %s", prepare_call.err.code, prepare_call.err.message);
}

static void must_prepare(const struct fake_domain *domain, uint64_t flags)
{
    if (prepare(domain, flags) != VIR_ERR_OK)
        fail_msg("prepare: %d %s", prepare_call.err.code, prepare_call.err.message);
}

static void begin_finish(const struct fake_domain *domain, uint64_t flags, bool cancelled)
{
    struct vq_migrate_options options;

    call_begin(&finish_call);
    vq_migrate_options_init(&options);
    options.flags = flags;
    options.dname = strdup(wanted_name != NULL ? wanted_name : domain->info.name);
    vq_migrate_in_finish(&finish_call.request, &options, NULL, 0, cancelled, finished, &finish_call);
    vq_migrate_options_done(&options);
}

static int finish(const struct fake_domain *domain, bool cancelled)
{
    begin_finish(domain, 0, cancelled);
    assert_true(fake_host_until(is_answered, &finish_call));
    return finish_call.err.code;
}

static void must_finish(const struct fake_domain *domain)
{
    if (finish(domain, false) != VIR_ERR_OK)
        fail_msg("finish: %d %s", finish_call.err.code, finish_call.err.message);
    assert_string_equal(finish_call.name, domain->info.name);
}

static void destroy(struct fake_domain *domain)
{
    static const uint8_t no_flags[256];

    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_destroy", domain, no_flags), VIR_ERR_OK);
    nothing_is_left();
}

/* ---- It comes ---- */

static void a_guest_that_has_come_is_this_nodes(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active completed\n");
    struct vq_qemu_guest *guest;
    char path[200];

    (void)state;
    must_prepare(domain, 0);
    assert_true(strncmp(prepare_call.uri, "tcp:127.0.0.1:49", 16) == 0);
    assert_true(prepare_call.cookie_length > 0);
    must_finish(domain);
    assert_string_equal(fake.trace, "commit 1/2+2.1+4.1 ");
    assert_int_equal(domain->info.owner, OWN_NODE);
    guest = guest_of(domain);
    assert_true(has_arrived(domain));
    assert_int_equal(guest->id, ID);
    assert_int_equal(guest->run, domain->info.run);
    assert_int_equal(guest->n_ports, 1); /* the display's */
    (void)snprintf(path, sizeof(path), "%s/qemu/keys.psk", guest->dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(finish(domain, true), VIR_ERR_OPERATION_INVALID); /* too late */
    fake.trace[0] = '\0';
    destroy(domain);
    assert_string_equal(fake.trace, "4/0+6.2 5/2+5.1 ");
}

static void a_paused_guest_stays_paused(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active completed\n");

    (void)state;
    must_prepare(domain, VIR_MIGRATE_PAUSED);
    must_finish(domain);
    assert_string_equal(fake.trace, "commit 3/1+2.1+3.0 ");
    destroy(domain);
}

static void nobody_needs_to_call_finish(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active completed\n");

    (void)state;
    must_prepare(domain, 0);
    assert_true(fake_host_until(has_arrived, domain));
    must_finish(domain); /* and when it comes, it is answered */
    destroy(domain);
}

/* The first of two ports that nobody has just now. */
static uint16_t two_free_ports(void)
{
    for (;;) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fds[2] = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
        socklen_t length = sizeof(address);
        uint16_t port;
        bool are_free;

        assert_int_equal(bind(fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(getsockname(fds[0], (struct sockaddr *)&address, &length), 0);
        port = ntohs(address.sin_port);
        address.sin_port = htons((uint16_t)(port + 1));
        are_free = port < UINT16_MAX - 1 && bind(fds[1], (struct sockaddr *)&address, sizeof(address)) == 0;
        (void)close(fds[0]);
        (void)close(fds[1]);
        if (are_free)
            return port;
    }
}

static void a_port_that_is_taken_is_passed_over(void **state)
{
    struct fake_domain *domain = remote_domain("refuse_first migrate-incoming\nincoming setup active completed\n");
    uint16_t port = two_free_ports();
    char uri[64];

    (void)state;
    qemu()->settings.migration_port_min = port;
    qemu()->settings.migration_port_max = (uint16_t)(port + 1);
    must_prepare(domain, 0);
    (void)snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%u", port + 1U);
    assert_string_equal(prepare_call.uri, uri);
    must_finish(domain);
    destroy(domain);
}

/* The name changes for the whole cluster, with the owner. */
static void a_guest_may_come_with_another_name(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active completed\n");

    (void)state;
    wanted_name = "other";
    must_prepare(domain, 0);
    assert_string_equal(guest_of(domain)->name, "other");
    must_finish(domain); /* asks for it by the new one */
    assert_string_equal(domain->name, "other");
    assert_non_null(strstr(domain->xml, "<name>other</name>"));
    assert_int_equal(domain->info.flags & VQ_INFO_PERSISTENT, VQ_INFO_PERSISTENT);
    assert_string_equal(fake.trace, "commit 1/2+2.1+4.1 ");
    destroy(domain);
}

static void a_name_that_is_taken_is_refused_before_anything_is_made(void **state)
{
    struct fake_domain *other = remote_domain("");
    struct fake_domain *domain = remote_domain("");

    (void)state;
    wanted_name = other->name;
    assert_int_equal(prepare(domain, 0), VIR_ERR_OPERATION_FAILED);
    assert_null(guest_of(domain));
    assert_string_equal(fake.trace, "");
    it_stays_where_it_was(domain);
}

static char *with_text(const char *xml, const char *before, const char *text)
{
    const char *at = strstr(xml, before);
    char *made = NULL;

    assert_non_null(at);
    assert_true(asprintf(&made, "%.*s%s%s", (int)(at - xml), xml, text, at) > 0);
    return made;
}

static void the_definition_that_the_caller_wants_is_kept_with_the_commit(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active completed\n");
    char *xml = with_text(domain->xml, "<memory", "<description>as wanted</description>");

    (void)state;
    kept_xml = xml;
    must_prepare(domain, VIR_MIGRATE_PERSIST_DEST);
    must_finish(domain);
    assert_non_null(strstr(domain->xml, "as wanted"));
    kept_xml = NULL;
    free(xml);
    destroy(domain);
}

static void a_definition_that_the_guest_would_notice_is_not_kept(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active completed\n");
    char *xml = strdup(domain->xml), *vcpus = strstr(xml, "<vcpu");

    (void)state;
    *strchr(vcpus, '1') = '2';
    kept_xml = xml;
    assert_int_equal(prepare(domain, VIR_MIGRATE_PERSIST_DEST), VIR_ERR_CONFIG_UNSUPPORTED);
    assert_non_null(strstr(prepare_call.err.message, "persistent XML"));
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "");
    it_stays_where_it_was(domain);
    kept_xml = NULL;
    free(xml);
}

static bool key_is_there(const struct vq_qemu_guest *guest)
{
    char path[200], text[256] = "";
    struct stat status;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/qemu/keys.psk", guest->dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(read(fd, text, sizeof(text)), 5 + 64 + 1);
    assert_memory_equal(text, "qemu:", 5);
    (void)close(fd);
    return guest->migration->has_key;
}

static void a_guest_on_its_way_cannot_be_used_and_is_the_other_nodes(void **state)
{
    struct fake_domain *domain = remote_domain("incoming wait active completed\n");
    static const uint8_t no_flags[256];

    (void)state;
    must_prepare(domain, 0);
    assert_true(key_is_there(guest_of(domain)));
    assert_int_equal(domain->info.owner, SOURCE_NODE);
    assert_int_equal(domain->info.moving_to, OWN_NODE);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_REMOTE, "domain_suspend", domain, no_flags), VIR_ERR_OPERATION_INVALID);
    assert_string_equal(fake.trace, "");
    begin_prepare(domain, 0, SOURCE_NODE); /* once is enough */
    assert_true(is_answered(&prepare_call));
    assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_FAILED);
    let_data_come();
    must_finish(domain);
    destroy(domain);
}

/* ---- It does not come ---- */

static void what_does_not_fit_is_refused_before_anything_is_made(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    begin_prepare(domain, 0, OWN_NODE);
    assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_INVALID);
    begin_prepare(domain, 0, 3);
    assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_INVALID);
    domain->info.id = -1;
    begin_prepare(domain, 0, SOURCE_NODE);
    assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_INVALID);
    domain->info.id = ID;
    (void)snprintf(live_xml, sizeof(live_xml), "<domain");
    begin_prepare(domain, 0, SOURCE_NODE);
    assert_int_not_equal(prepare_call.err.code, VIR_ERR_OK);
    assert_null(guest_of(domain));
    assert_string_equal(fake.trace, "");
    it_stays_where_it_was(domain);
}

static void a_move_that_is_refused_leaves_nothing(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    (void)vq_error_set_from(&fake.refusal, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "no such move");
    assert_int_equal(prepare(domain, 0), VIR_ERR_OPERATION_INVALID);
    assert_string_equal(prepare_call.err.message, "no such move");
    assert_true(fake_host_until(has_ended, domain));
    it_stays_where_it_was(domain);
}

static void a_cancel_before_data_came_clears_away(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    must_prepare(domain, 0);
    assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
    assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK); /* again: nothing is here */
    assert_int_equal(finish(domain, false), VIR_ERR_NO_DOMAIN);
}

static void a_cancel_by_the_source_clears_away(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    must_prepare(domain, 0);
    begin_finish(domain, 0, false);
    domain->info.moving_to = domain->info.moving_run = 0; /* applied: the move is over */
    driver->changed(driver, domain->info.uuid);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(finish_call.err.code, VIR_ERR_OPERATION_ABORTED);
    it_stays_where_it_was(domain);
}

static void without_data_it_is_given_up(void **state)
{
    struct fake_domain *domain = remote_domain("");
    uv_timer_t *timer;

    (void)state;
    must_prepare(domain, 0);
    timer = vq_incoming_of(guest_of(domain))->timer;
    assert_true(uv_is_active((uv_handle_t *)timer));
    assert_in_range(uv_timer_get_due_in(timer), 25000, 30000);
    timer->timer_cb(timer); /* half a minute later */
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(finish(domain, false), VIR_ERR_OPERATION_TIMEOUT); /* the reason is kept for whoever asks */
    it_stays_where_it_was(domain);
}

/* QEMU of the source hangs: what came stays, and nothing follows. */
static void a_load_that_nothing_comes_for_asks_the_log_for_a_cancel(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active hang\n");
    struct vq_incoming *incoming;

    (void)state;
    must_prepare(domain, 0);
    incoming = vq_incoming_of(guest_of(domain));
    while (guest_of(domain)->migration->stage != VQ_MIGRATE_LOADING)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    assert_true(uv_is_active((uv_handle_t *)incoming->timer));
    incoming->timer->timer_cb(incoming->timer);
    assert_false(incoming->wants_end); /* it has only just begun */
    fake.holds_proposals = true;
    incoming->loads_since -= VQ_INCOMING_SILENT_MS; /* a minute later */
    incoming->timer->timer_cb(incoming->timer);
    assert_true(incoming->wants_end);
    assert_int_equal(signal_processes(0), 1); /* nothing is ended before the log has decided */
    fake_release_proposals();
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(finish(domain, false), VIR_ERR_OPERATION_TIMEOUT);
    assert_non_null(strstr(finish_call.err.message, "has sent nothing"));
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
}

static void a_connection_tells_when_data_came_last(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t age = 0;
    uint16_t port;
    int receiver;

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    port = ntohs(address.sin_port);
    if (!vq_incoming_data_age(port, &age))
        skip();
    assert_true(age == UINT64_MAX);
    assert_int_equal(connect(sender, (struct sockaddr *)&address, sizeof(address)), 0);
    receiver = accept(listener, NULL, NULL);
    assert_int_equal(write(sender, "x", 1), 1);
    (void)usleep(200000);
    assert_true(vq_incoming_data_age(port, &age));
    assert_in_range(age, 150, 5000);
    assert_int_equal(write(sender, "x", 1), 1);
    assert_true(vq_incoming_data_age(port, &age));
    assert_in_range(age, 0, 140);
    (void)close(receiver);
    (void)close(sender);
    (void)close(listener);
}

static void the_end_of_the_clients_connection_clears_away(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    must_prepare(domain, 0);
    driver->session_ended(driver, OWN_NODE, SESSION + 1); /* somebody else's */
    assert_non_null(guest_of(domain));
    driver->session_ended(driver, OWN_NODE, SESSION);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
}

static void a_client_that_goes_away_before_prepare_is_answered_leaves_nothing(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    for (int has_begun = 0; has_begun <= 1; has_begun++) {
        begin_prepare(domain, 0, SOURCE_NODE);
        while (has_begun && guest_of(domain) == NULL)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
        driver->session_ended(driver, OWN_NODE, SESSION);
        assert_true(fake_host_until(is_answered, &prepare_call));
        assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_ABORTED);
        assert_true(fake_host_until(has_ended, domain));
        it_stays_where_it_was(domain);
    }
}

static void the_loss_of_the_source_clears_away(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active\n");

    (void)state;
    must_prepare(domain, 0);
    driver->session_ended(driver, SOURCE_NODE, 0);
    assert_true(fake_host_until(has_ended, domain));
    it_stays_where_it_was(domain);
}

static void a_client_that_goes_away_when_all_is_loaded_stops_nothing(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active completed\n");

    (void)state;
    must_prepare(domain, 0);
    fake.holds_proposals = true;
    while (!vq_incoming_of(guest_of(domain))->is_loaded)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    driver->session_ended(driver, OWN_NODE, SESSION);
    fake_release_proposals();
    assert_true(fake_host_until(has_arrived, domain));
    destroy(domain);
}

/* ---- QEMU dies ---- */

static void a_qemu_that_dies_while_it_loads_is_told_by_its_last_words(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active die\n");

    (void)state;
    must_prepare(domain, 0);
    assert_int_equal(finish(domain, false), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(finish_call.err.message, "load of migration failed: as told"));
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
}

static void its_last_words_are_kept_for_a_finish_that_comes_later(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active die\n");

    (void)state;
    must_prepare(domain, 0);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(finish(domain, true), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(finish_call.err.message, "load of migration failed: as told"));
    assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK); /* once */
    it_stays_where_it_was(domain);
}

static void a_qemu_that_says_failed_is_cleared_away(void **state)
{
    struct fake_domain *domain = remote_domain("incoming setup active failed\n");

    (void)state;
    must_prepare(domain, 0);
    assert_true(fake_host_until(has_ended, domain));
    it_stays_where_it_was(domain);
}

static void a_qemu_that_dies_at_any_command_before_data_fails_the_prepare(void **state)
{
    char script[64];
    int n = 0;

    (void)state;
    for (int at = 1; n == 0; at++) {
        struct fake_domain *domain;

        begin_anew();
        (void)snprintf(script, sizeof(script), "at %d die\nincoming wait\n", at);
        domain = remote_domain(script);
        if (prepare(domain, 0) == VIR_ERR_OK) {
            n = at;
            assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK);
        }
        assert_true(fake_host_until(has_ended, domain));
        it_stays_where_it_was(domain);
        fake.trace[0] = '\0';
    }
    assert_in_range(n, 7, 20);
}

static void a_qemu_that_dies_right_after_the_commit_is_this_nodes_loss(void **state)
{
    struct fake_domain *domain = remote_domain("at 9 die\nincoming active completed\n");

    (void)state;
    must_prepare(domain, 0);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.owner, OWN_NODE);
    assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
    assert_string_equal(fake.trace, "commit 5/3+5.5 ");
    nothing_is_left();
}

static void a_qemu_that_dies_while_the_commit_is_under_way_is_judged_by_the_log(void **state)
{
    (void)state;
    for (int commit = 0; commit <= 1; commit++) {
        struct fake_domain *domain = remote_domain("incoming wait active completed\n");

        must_prepare(domain, 0);
        fake.holds_proposals = true;
        let_data_come();
        while (!vq_incoming_of(guest_of(domain))->is_asking)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
        assert_int_equal(signal_processes(SIGKILL), 1);
        while (!guest_of(domain)->job.is_unwinding)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
        if (commit == 0) /* the source was quicker */
            domain->info.moving_to = domain->info.moving_run = 0;
        fake_release_proposals();
        assert_true(fake_host_until(has_ended, domain));
        assert_string_equal(fake.trace, commit == 1 ? "commit 5/6+5.5 " : "");
        assert_int_equal(domain->info.owner, commit == 1 ? OWN_NODE : SOURCE_NODE);
        nothing_is_left();
        begin_anew();
    }
}

static void cpus_that_do_not_run_leave_the_guest_here_and_paused(void **state)
{
    struct fake_domain *domain = remote_domain("refuse cont\nincoming active completed\n");

    (void)state;
    must_prepare(domain, 0);
    assert_int_equal(finish(domain, false), VIR_ERR_INTERNAL_ERROR);
    assert_int_equal(domain->info.owner, OWN_NODE);
    assert_int_equal(domain->info.state, VIR_DOMAIN_PAUSED);
    assert_true(has_arrived(domain));
    destroy(domain);
}

/* ---- The log ---- */

static void a_commit_that_is_lost_is_proposed_again(void **state)
{
    struct fake_domain *domain = remote_domain("incoming wait active completed\n");

    (void)state;
    must_prepare(domain, 0);
    fake.loses_quorum = true;
    let_data_come();
    while (fake.has_quorum)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    assert_non_null(guest_of(domain));
    fake.has_quorum = true;
    must_finish(domain);
    assert_string_equal(fake.trace, "commit 1/2+2.1+4.1 ");
    destroy(domain);
}

static void a_commit_that_is_never_taken_becomes_a_cancel(void **state)
{
    struct fake_domain *domain = remote_domain("incoming wait active completed\n");

    (void)state;
    must_prepare(domain, 0);
    let_data_come();
    for (int i = 0; i < VQ_INCOMING_COMMIT_TRIES; i++) {
        (void)vq_error_set_from(&fake.refusal, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_FAILED, "not like this");
        while (fake.refusal.code != VIR_ERR_OK)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
    }
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
}

static void while_the_outcome_is_unknown_it_stays_paused_and_nothing_is_ended(void **state)
{
    struct fake_domain *domain = remote_domain("incoming wait active completed\n");

    (void)state;
    must_prepare(domain, 0);
    fake.holds_proposals = true;
    let_data_come();
    while (!vq_incoming_of(guest_of(domain))->is_asking)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    begin_finish(domain, 0, true); /* too late to know */
    for (int i = 0; i < 20; i++)
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
    assert_false(is_answered(&finish_call));
    assert_int_equal(signal_processes(0), 1);
    fake_release_proposals(); /* the commit was first */
    assert_true(fake_host_until(is_answered, &finish_call));
    assert_int_equal(finish_call.err.code, VIR_ERR_OPERATION_INVALID);
    assert_true(has_arrived(domain));
    destroy(domain);
}

static void a_finish_that_waits_too_long_is_told_so(void **state)
{
    struct fake_domain *domain = remote_domain("incoming wait active completed\n");
    uv_timer_t *timer;

    (void)state;
    must_prepare(domain, 0);
    begin_finish(domain, 0, false);
    timer = vq_incoming_of(guest_of(domain))->finish_timer;
    timer->timer_cb(timer);
    assert_int_equal(finish_call.err.code, VIR_ERR_OPERATION_TIMEOUT);
    let_data_come();
    assert_true(fake_host_until(has_arrived, domain));
    destroy(domain);
}

static void a_move_to_this_node_that_it_does_not_know_is_ended(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    domain->info.moving_to = OWN_NODE;
    domain->info.moving_run = 99;
    driver->changed(driver, domain->info.uuid);
    while (domain->info.moving_to != 0)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
}

/* ---- Post-copy ---- */

static bool is_postcopy(void *data)
{
    const struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->phase == VQ_GUEST_ACTIVE && guest->migration != NULL &&
           guest->migration->stage == VQ_MIGRATE_POSTCOPY;
}

static bool has_failed(void *data)
{
    const struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->migration != NULL && guest->migration->stage == VQ_MIGRATE_POSTCOPY_FAILED;
}

static void post_copy_runs_before_all_is_there(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active postcopy-active later wait completed\n");

    (void)state;
    must_prepare(domain, VIR_MIGRATE_POSTCOPY);
    must_finish(domain);
    assert_true(is_postcopy(domain));
    assert_string_equal(fake.trace, "commit 1/10+2.1+4.3 ");
    assert_true(key_is_there(guest_of(domain)));
    let_data_come();
    assert_true(fake_host_until(has_arrived, domain));
    assert_string_equal(fake.trace, "commit 1/10+2.1+4.3 1/2+4.1 ");
    destroy(domain);
}

/* The source commits before it lets QEMU send the rest. */
static void a_commit_before_the_data_waits_for_them(void **state)
{
    (void)state;
    for (int failed = 0; failed <= 1; failed++) {
        struct fake_domain *domain =
            remote_domain(failed == 0 ? "incoming active wait postcopy-active completed\n" : "incoming active wait failed\n");

        must_prepare(domain, VIR_MIGRATE_POSTCOPY);
        while (guest_of(domain)->migration->stage != VQ_MIGRATE_LOADING)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
        domain->info.owner = OWN_NODE;
        domain->info.run = domain->info.moving_run;
        domain->info.moving_to = domain->info.moving_run = 0;
        fake.trace[0] = '\0';
        driver->changed(driver, domain->info.uuid);
        driver->session_ended(driver, OWN_NODE, SESSION);
        for (int i = 0; i < 20; i++)
            (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        assert_int_equal(guest_of(domain)->migration->stage, VQ_MIGRATE_LOADING);
        assert_string_equal(fake.trace, "");
        let_data_come();
        assert_true(fake_host_until(failed == 0 ? has_arrived : has_ended, domain));
        assert_null(strstr(fake.trace, "commit"));
        if (failed == 0)
            destroy(domain);
        else
            assert_non_null(strstr(fake.trace, "5/")); /* it was this node's, and is lost */
        (void)unlink_go();
    }
}

static void post_copy_that_has_failed_goes_on_when_it_is_resumed(void **state)
{
    struct fake_domain *domain =
        remote_domain("incoming active postcopy-active later postcopy-paused later postcopy-recover postcopy-active completed\n");

    (void)state;
    must_prepare(domain, VIR_MIGRATE_POSTCOPY);
    must_finish(domain);
    assert_true(fake_host_until(has_failed, domain));
    assert_string_equal(fake.trace, "commit 1/10+2.1+4.3 1/11+4.4 ");
    assert_int_equal(prepare(domain, VIR_MIGRATE_POSTCOPY | VIR_MIGRATE_POSTCOPY_RESUME), VIR_ERR_OK);
    assert_true(strncmp(prepare_call.uri, "tcp:127.0.0.1:49", 16) == 0);
    assert_true(fake_host_until(has_arrived, domain));
    assert_string_equal(fake.trace, "commit 1/10+2.1+4.3 1/11+4.4 1/10+4.3 1/2+4.1 ");
    assert_int_equal(prepare(domain, VIR_MIGRATE_POSTCOPY | VIR_MIGRATE_POSTCOPY_RESUME), VIR_ERR_OPERATION_INVALID);
    destroy(domain);
}

static void resume_told(const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    (void)cookie;
    (void)cookie_length;
    assert_false(((struct call *)data)->is_answered);
    ((struct call *)data)->is_answered = true;
    ((struct call *)data)->err = err != NULL ? *err : VQ_ERROR_INIT;
}

static int resume(struct fake_domain *domain, uint64_t flags)
{
    struct vq_migrate_options options;

    vq_migrate_options_init(&options);
    options.flags = VIR_MIGRATE_POSTCOPY | VIR_MIGRATE_POSTCOPY_RESUME | flags;
    call_begin(&finish_call);
    finish_call.request.domain = &domain->info;
    fake_peer_init(&source, SOURCE_NODE, "node2", source_answers, NULL);
    fake.peer = &source.peer;
    vq_migrate_resume_perform(&finish_call.request, &options, resume_told, &finish_call);
    vq_migrate_options_done(&options);
    assert_true(fake_host_until(is_answered, &finish_call));
    return finish_call.err.code;
}

static void perform_has_the_source_send_the_rest(void **state)
{
    const uint64_t flags = VIR_MIGRATE_POSTCOPY | VIR_MIGRATE_POSTCOPY_RESUME;

    (void)state;
    for (int is_p2p = 0; is_p2p <= 1; is_p2p++) {
        struct fake_domain *domain = remote_domain("incoming active postcopy-active later postcopy-paused later "
                                                   "wait postcopy-recover postcopy-active completed\n");

        must_prepare(domain, VIR_MIGRATE_POSTCOPY);
        must_finish(domain);
        assert_true(fake_host_until(has_failed, domain));
        if (!is_p2p) {
            assert_int_equal(resume(domain, 0), VIR_ERR_OPERATION_INVALID); /* QEMU does not listen */
            assert_int_equal(prepare(domain, flags), VIR_ERR_OK);
        }
        assert_int_equal(resume(domain, is_p2p ? VIR_MIGRATE_PEER2PEER : 0), VIR_ERR_OK);
        assert_string_equal(source.calls, "migrate_resume ");
        assert_true(has_arrived(domain));
        assert_int_equal(resume(domain, 0), VIR_ERR_OPERATION_INVALID); /* nothing is left to be resumed */
        (void)unlink_go();
        destroy(domain);
    }
}

static void resuming_that_fails_can_be_tried_again(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active postcopy-active later postcopy-paused later wait "
                                               "postcopy-recover postcopy-paused later wait postcopy-recover "
                                               "postcopy-active completed\n");

    (void)state;
    must_prepare(domain, VIR_MIGRATE_POSTCOPY);
    must_finish(domain);
    assert_true(fake_host_until(has_failed, domain));
    assert_int_equal(resume(domain, VIR_MIGRATE_PEER2PEER), VIR_ERR_OPERATION_FAILED);
    assert_string_equal(finish_call.err.message, "migration out job: post-copy failed");
    assert_true(has_failed(domain));
    assert_int_equal(resume(domain, VIR_MIGRATE_PEER2PEER), VIR_ERR_OK);
    assert_true(has_arrived(domain));
    destroy(domain);
}

static void a_source_that_refuses_to_resume_is_told(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active postcopy-active later postcopy-paused later\n");

    (void)state;
    must_prepare(domain, VIR_MIGRATE_POSTCOPY);
    must_finish(domain);
    assert_true(fake_host_until(has_failed, domain));
    refuses_resume = true;
    assert_int_equal(resume(domain, VIR_MIGRATE_PEER2PEER), VIR_ERR_NO_SUPPORT);
    refuses_resume = false;
    assert_true(has_failed(domain));
    destroy(domain);
}

static void a_restart_during_post_copy_ends_nothing(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active postcopy-active later\n");

    (void)state;
    must_prepare(domain, VIR_MIGRATE_POSTCOPY);
    must_finish(domain);
    stop_driver();
    start_driver();
    fake.trace[0] = '\0';
    driver->recover(driver);
    assert_true(fake_host_until(is_postcopy, domain));
    assert_string_equal(fake.trace, "1/10 1/10 "); /* as it was, and after QEMU was asked */
    destroy(domain);
}

/* ---- Images that are copied ---- */

static char image_path[160], image_xml[512];

static struct fake_domain *domain_with_image(const char *format, const char *script)
{
    (void)snprintf(image_path, sizeof(image_path), "%s/images", fake.dir);
    assert_int_equal(mkdir(image_path, 0755), 0);
    (void)snprintf(image_path, sizeof(image_path), "%s/images/vda", fake.dir);
    (void)snprintf(image_xml, sizeof(image_xml),
                   "<disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s'/>"
                   "<target dev='vda' bus='virtio'/></disk>", format, image_path);
    more_devices = image_xml;
    offered_disk = "vda";
    return remote_domain(script);
}

static void no_images_are_left(void)
{
    char dir[160];

    assert_int_equal(access(image_path, F_OK), -1);
    (void)snprintf(dir, sizeof(dir), "%s/images", fake.dir);
    assert_int_equal(rmdir(dir), 0);
}

static void an_image_that_is_missing_is_made_and_goes_again_when_the_guest_does_not_come(void **state)
{
    static const char *const formats[] = { "raw", "qcow2" };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(formats); i++) {
        struct fake_domain *domain = domain_with_image(formats[i], "");
        struct stat status;

        must_prepare(domain, VIR_MIGRATE_NON_SHARED_DISK);
        assert_int_equal(stat(image_path, &status), 0);
        if (i == 0)
            assert_int_equal(status.st_size, 1048576);
        else
            assert_true(status.st_size > 1000); /* its format was written */
        assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK);
        assert_true(fake_host_until(has_ended, domain));
        it_stays_where_it_was(domain);
        no_images_are_left();
    }
}

static void an_image_that_is_there_is_neither_made_nor_removed(void **state)
{
    struct fake_domain *domain = domain_with_image("raw", "");
    int fd;

    (void)state;
    fd = open(image_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 1048576), 0);
    (void)close(fd);
    must_prepare(domain, VIR_MIGRATE_NON_SHARED_DISK);
    assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(unlink(image_path), 0);
    no_images_are_left();
}

static void a_failure_while_images_are_made_leaves_none(void **state)
{
    struct fake_domain *domain = domain_with_image("raw", "");

    (void)state;
    (void)setenv("VQ_FAILPOINTS", "qemu.migrate.disks.make=error", 1);
    assert_int_equal(prepare(domain, VIR_MIGRATE_NON_SHARED_DISK), VIR_ERR_INTERNAL_ERROR);
    (void)unsetenv("VQ_FAILPOINTS");
    assert_true(fake_host_until(has_ended, domain));
    it_stays_where_it_was(domain);
    no_images_are_left();
}

static void begin_dead_storage(void)
{
    char dir[160];

    (void)snprintf(dir, sizeof(dir), "%s/images", fake.dir);
    if (!fake_dead_storage_begin(dir)) {
        (void)rmdir(dir);
        skip();
    }
}

/* Storage that answered when it was looked at, and does not when images are made, or removed. */
static void storage_that_hangs_holds_up_neither_the_loop_nor_the_stop(void **state)
{
    uint64_t begin_ns;

    (void)state;
    for (int is_prepared = 0; is_prepared <= 1; is_prepared++) {
        struct fake_domain *domain = domain_with_image("raw", "");

        if (is_prepared)
            must_prepare(domain, VIR_MIGRATE_NON_SHARED_DISK);
        begin_dead_storage();
        if (is_prepared)
            begin_finish(domain, 0, true);
        else
            begin_prepare(domain, VIR_MIGRATE_NON_SHARED_DISK, SOURCE_NODE);
        assert_in_range(fake_host_slowest_turn(500), 0, 300);
        begin_ns = uv_hrtime();
        stop_driver();
        assert_in_range((uv_hrtime() - begin_ns) / 1000000, 0, 1000);
        assert_true(is_answered(is_prepared ? &finish_call : &prepare_call));
        fake_dead_storage_end();
        (void)signal_processes(SIGKILL);
        start_driver();
        driver->recover(driver);
        driver->autostart(driver);
        assert_true(fake_host_until(has_ended, domain));
        it_stays_where_it_was(domain);
        no_images_are_left();
    }
}

/* ---- From a daemon outside ---- */

/* A domain of this node that is off, and that a daemon outside runs. */
static struct fake_domain *outside_domain(const char *script)
{
    struct fake_domain *domain = remote_domain(script);

    vq_set_text(&qemu()->settings.migration_host, "127.0.0.1");
    domain->info.owner = OWN_NODE;
    domain->info.id = -1;
    domain->info.state = VIR_DOMAIN_SHUTOFF;
    return domain;
}

static void a_guest_from_outside_runs_when_finish_says_so(void **state)
{
    struct fake_domain *domain = outside_domain("incoming active completed\n");

    (void)state;
    must_prepare_from(domain, 0, 0);
    assert_false(guest_of(domain)->migration->has_key);
    while (!vq_incoming_of(guest_of(domain))->is_loaded)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    for (int i = 0; i < 20; i++)
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
    assert_string_equal(fake.trace, ""); /* nobody has said that it may run */
    must_finish(domain);
    assert_string_equal(fake.trace, "1/2+2.1+4.1 ");
    destroy(domain);
}

/* What QEMU was told, as its script notes it. */
static const char *said(void)
{
    static char text[8192];
    char path[160];
    size_t length = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s.said", emulator);
    file = fopen(path, "re");
    if (file != NULL) {
        length = fread(text, 1, sizeof(text) - 1, file);
        (void)fclose(file);
    }
    text[length] = '\0';
    return text;
}

static bool has_taken_back(void *data)
{
    (void)data;
    return strstr(said(), "object-del {\"id\":\"migrate-in\"}") != NULL;
}

static void from_outside_certificates_encrypt_if_asked_and_go_afterwards(void **state)
{
    struct fake_domain *domain =
        outside_domain("note object-add object-del migrate-set-parameters migrate-incoming\nincoming active completed\n");
    const char *added, *set;

    (void)state;
    qemu()->settings.migrate_tls.verifies = 0;
    must_prepare_from(domain, VIR_MIGRATE_TLS, 0);
    added = strstr(said(), "object-add");
    assert_non_null(added);
    assert_non_null(strstr(added, "\"endpoint\":\"server\",\"id\":\"migrate-in\","
                                  "\"qom-type\":\"tls-creds-x509\",\"verify-peer\":false"));
    set = strstr(added, "migrate-set-parameters {\"tls-creds\":\"migrate-in\"}");
    assert_non_null(set);
    assert_non_null(strstr(set, "migrate-incoming"));
    assert_false(has_taken_back(NULL));
    must_finish(domain);
    assert_true(fake_host_until(has_taken_back, NULL));
    assert_string_equal(fake.trace, "1/2+2.1+4.1 ");
    destroy(domain);
}

static void a_certificate_that_qemu_refuses_ends_prepare(void **state)
{
    struct fake_domain *domain = outside_domain("refuse object-add\n");

    (void)state;
    begin_prepare(domain, VIR_MIGRATE_TLS, 0);
    assert_true(fake_host_until(is_answered, &prepare_call));
    assert_int_equal(prepare_call.err.code, VIR_ERR_INTERNAL_ERROR);
    assert_non_null(strstr(prepare_call.err.message, "the script refuses it"));
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
    nothing_is_left();
}

static void a_guest_from_outside_that_is_cancelled_leaves_its_domain_off(void **state)
{
    struct fake_domain *domain = outside_domain("incoming active completed\n");

    (void)state;
    for (int how = 0; how < 2; how++) {
        must_prepare_from(domain, 0, 0);
        while (!vq_incoming_of(guest_of(domain))->is_loaded)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
        if (how == 0)
            assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK);
        else
            driver->session_ended(driver, OWN_NODE, SESSION);
        assert_true(fake_host_until(has_ended, domain));
        assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
        assert_int_equal(domain->info.owner, OWN_NODE);
        assert_false(domain->is_gone);
        nothing_is_left();
    }
}

static void a_restart_clears_a_guest_from_outside_away(void **state)
{
    struct fake_domain *domain = outside_domain("incoming active completed\n");

    (void)state;
    must_prepare_from(domain, 0, 0);
    stop_driver();
    start_driver();
    driver->recover(driver);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
    nothing_is_left();
}

static void a_domain_that_runs_here_or_elsewhere_does_not_come_from_outside(void **state)
{
    struct fake_domain *domain = outside_domain("");

    (void)state;
    domain->info.owner = SOURCE_NODE;
    fake.nodes[1].is_online = false; /* it may have started the domain by itself */
    begin_prepare(domain, 0, 0);
    assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_INVALID);
    assert_non_null(strstr(prepare_call.err.message, "is defined on node2, which is not reachable"));
    fake.nodes[1].is_online = true;
    domain->info.id = 3;
    begin_prepare(domain, 0, 0);
    assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_INVALID);
    domain->info.owner = OWN_NODE;
    begin_prepare(domain, 0, 0);
    assert_int_equal(prepare_call.err.code, VIR_ERR_OPERATION_INVALID);
    domain->info.id = -1;
    domain->info.uuid[0] ^= 1; /* the name is another's */
    begin_prepare(domain, 0, 0);
    assert_int_not_equal(prepare_call.err.code, VIR_ERR_OK);
    assert_null(qemu()->guests);
    nothing_is_left();
}

static void a_guest_that_comes_back_takes_over_its_domain_from_another_node(void **state)
{
    struct fake_domain *domain = outside_domain("incoming active completed\n");

    (void)state;
    domain->info.owner = SOURCE_NODE;
    must_prepare_from(domain, 0, 0);
    assert_string_equal(fake.trace, "owner1 ");
    must_finish(domain);
    assert_string_equal(fake.trace, "owner1 1/2+2.1+4.1 ");
    assert_int_equal(domain->info.owner, OWN_NODE);
    destroy(domain);
    assert_int_equal(domain->info.owner, OWN_NODE);
    assert_false(domain->is_gone);
}

static bool is_given_back(void *data)
{
    const struct fake_domain *domain = data;

    return domain->info.owner == SOURCE_NODE;
}

static void a_domain_whose_guest_does_not_come_back_is_given_back(void **state)
{
    enum { CANCELLED, CLIENT_GONE, GONE_EARLY, RESTART, HOWS };
    struct fake_domain *domain = outside_domain("incoming active completed\n");

    (void)state;
    for (int how = 0; how < HOWS; how++) {
        domain->info.owner = SOURCE_NODE;
        begin_prepare(domain, 0, 0);
        if (how == GONE_EARLY) {
            while (domain->info.owner == SOURCE_NODE && !prepare_call.is_answered)
                (void)uv_run(&fake.loop, UV_RUN_ONCE);
            driver->session_ended(driver, OWN_NODE, SESSION);
        }
        assert_true(fake_host_until(is_answered, &prepare_call));
        assert_int_equal(prepare_call.err.code, how == GONE_EARLY ? VIR_ERR_OPERATION_ABORTED : VIR_ERR_OK);
        if (how == CANCELLED) {
            assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK);
        } else if (how == CLIENT_GONE) {
            driver->session_ended(driver, OWN_NODE, SESSION);
        } else if (how == RESTART) {
            stop_driver();
            assert_int_equal(domain->info.owner, OWN_NODE); /* not by a daemon that stops: the next one looks */
            start_driver();
            driver->recover(driver);
        }
        assert_true(fake_host_until(has_ended, domain));
        assert_true(fake_host_until(is_given_back, domain));
        nothing_is_left();
    }
}

/* Also by a daemon that is started later, when the log had no quorum. */
static void giving_a_domain_back_is_tried_until_it_is_known(void **state)
{
    struct fake_domain *domain = outside_domain("incoming active completed\n");

    (void)state;
    for (int with_restart = 0; with_restart <= 1; with_restart++) {
        domain->info.owner = SOURCE_NODE;
        begin_prepare(domain, 0, 0);
        assert_true(fake_host_until(is_answered, &prepare_call));
        assert_int_equal(prepare_call.err.code, VIR_ERR_OK);
        begin_finish(domain, 0, true);
        fake.takes_nothing = true;
        assert_true(fake_host_until(is_answered, &finish_call)); /* nobody waits for the log */
        assert_int_equal(finish_call.err.code, VIR_ERR_MIGRATE_FINISH_OK);
        (void)fake_host_slowest_turn(200);
        assert_int_equal(domain->info.owner, OWN_NODE);
        assert_int_equal(count_entries("records", "qemu.run"), 1);
        if (with_restart) {
            stop_driver();
            start_driver();
            driver->recover(driver);
            (void)fake_host_slowest_turn(200);
        }
        assert_non_null(guest_of(domain));
        fake.takes_nothing = false;
        assert_true(fake_host_until(has_ended, domain));
        assert_int_equal(domain->info.owner, SOURCE_NODE);
        nothing_is_left();
    }
}

static void a_domain_that_somebody_else_has_taken_is_not_given_back(void **state)
{
    struct fake_domain *domain = outside_domain("incoming active completed\n");

    (void)state;
    domain->info.owner = SOURCE_NODE;
    begin_prepare(domain, 0, 0);
    assert_true(fake_host_until(is_answered, &prepare_call));
    domain->info.owner = SOURCE_NODE + 1;
    domain->info.generation++;
    begin_finish(domain, 0, true);
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.owner, SOURCE_NODE + 1);
    nothing_is_left();
}

static void a_domain_that_is_not_given_up_by_the_log_is_not_taken(void **state)
{
    struct fake_domain *domain = outside_domain("");

    (void)state;
    domain->info.owner = SOURCE_NODE;
    begin_prepare(domain, 0, 0);
    (void)vq_error_set_from(&fake.refusal, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "it has been started");
    assert_true(fake_host_until(is_answered, &prepare_call));
    assert_string_equal(prepare_call.err.message, "it has been started");
    assert_null(qemu()->guests);
    assert_int_equal(domain->info.owner, SOURCE_NODE);
    nothing_is_left();
}

/* A domain that the cluster does not know yet: what the log makes of it. */
static struct fake_domain *made_domain(const struct fake_domain *old)
{
    for (size_t i = 0; i < fake.n_domains; i++)
        if (!fake.domains[i].is_gone && memcmp(fake.domains[i].info.uuid, old->info.uuid, sizeof(old->info.uuid)) == 0)
            return &fake.domains[i];
    return NULL;
}

static void a_guest_from_outside_that_nobody_knows_is_transient(void **state)
{
    struct fake_domain *old = outside_domain("incoming active completed\n"), *made;

    (void)state;
    old->is_gone = true;
    must_prepare_from(old, 0, 0);
    made = made_domain(old);
    assert_non_null(made);
    assert_int_equal(made->info.owner, OWN_NODE);
    assert_int_equal(made->info.flags & VQ_INFO_PERSISTENT, 0);
    must_finish(made);
    assert_string_equal(fake.trace, "1/2+2.1+4.1 ");
    destroy(made);
    assert_true(made->is_gone);
}

static void a_guest_from_outside_that_nobody_knows_and_that_does_not_come_leaves_no_domain(void **state)
{
    static const char *const points[] = { NULL, "qemu.migrate.in.begin", "qemu.start.claim", "qemu.start.spawn",
                                          "qemu.migrate.in.listen", "qemu.migrate.in.loaded" };
    struct fake_domain *old = outside_domain("incoming active completed\n");

    (void)state;
    old->is_gone = true;
    for (size_t i = 0; i < VQ_N_ELEMENTS(points); i++) {
        char setting[128];

        (void)snprintf(setting, sizeof(setting), "%s=error", points[i] != NULL ? points[i] : "none");
        (void)setenv("VQ_FAILPOINTS", setting, 1);
        begin_prepare(old, 0, 0);
        assert_true(fake_host_until(is_answered, &prepare_call));
        if (points[i] == NULL)
            assert_int_equal(finish(old, true), VIR_ERR_MIGRATE_FINISH_OK);
        assert_true(fake_host_until(has_ended, old));
        (void)unsetenv("VQ_FAILPOINTS");
        assert_null(made_domain(old));
        nothing_is_left();
    }
}

static void a_guest_from_outside_is_kept_when_that_is_asked_for(void **state)
{
    (void)state;
    for (int is_known = 0; is_known <= 1; is_known++) {
        struct fake_domain *old = outside_domain("incoming active completed\n"), *made;
        uint64_t version = old->info.version;

        old->is_gone = !is_known;
        begin_prepare(old, VIR_MIGRATE_PERSIST_DEST, 0);
        assert_true(fake_host_until(is_answered, &prepare_call));
        assert_int_equal(prepare_call.err.code, VIR_ERR_OK);
        made = made_domain(old);
        assert_int_equal(made->info.flags & VQ_INFO_PERSISTENT, is_known ? VQ_INFO_PERSISTENT : 0);
        must_finish(made);
        assert_int_equal(made->info.flags & VQ_INFO_PERSISTENT, VQ_INFO_PERSISTENT);
        assert_non_null(strstr(made->xml, made->name));
        assert_true(made->info.version > version);
        destroy(made);
        assert_false(made->is_gone);
    }
}

static void a_definition_that_cannot_be_kept_leaves_the_guest_with_its_source(void **state)
{
    struct fake_domain *old = outside_domain("incoming active completed\n");

    (void)state;
    old->is_gone = true;
    begin_prepare(old, VIR_MIGRATE_PERSIST_DEST, 0);
    assert_true(fake_host_until(is_answered, &prepare_call));
    (void)vq_error_set_from(&fake.refusal, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_FAILED, "not this one");
    assert_int_equal(finish(old, false), VIR_ERR_OPERATION_FAILED);
    assert_string_equal(finish_call.err.message, "not this one");
    assert_true(fake_host_until(has_ended, old));
    assert_null(made_domain(old));
    nothing_is_left();
}

/* ---- The daemon goes and comes back ---- */

static struct fake_domain *restart(struct fake_domain *domain)
{
    struct vq_domain_info info = domain->info;
    char *name = strdup(domain->name), *xml = strdup(domain->xml);

    stop_driver();
    fake_release_proposals();
    fake_host_done(false);
    fake_host_init(true);
    domain = fake_domain_add(name, xml, true);
    info.name = domain->name;
    domain->info = info;
    free(name);
    free(xml);
    start_driver();
    return domain;
}

static void a_restart_before_data_came_ends_the_move(void **state)
{
    struct fake_domain *domain = remote_domain("");

    (void)state;
    must_prepare(domain, 0);
    domain = restart(domain);
    driver->recover(driver);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
}

static void a_restart_when_all_is_loaded_takes_over(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active completed\n");

    (void)state;
    must_prepare(domain, 0);
    fake.holds_proposals = true;
    while (!vq_incoming_of(guest_of(domain))->is_asking)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    stop_driver();
    fake.holds_proposals = false;
    start_driver();
    driver->recover(driver);
    assert_true(fake_host_until(has_arrived, domain));
    assert_string_equal(fake.trace, "commit 1/2+2.1+4.1 ");
    fake_release_proposals(); /* the first one, late: refused */
    must_finish(domain);
    destroy(domain);
}

static void a_restart_after_the_commit_lets_it_run(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active completed\n");

    (void)state;
    must_prepare(domain, 0);
    fake.holds_proposals = true;
    while (!vq_incoming_of(guest_of(domain))->is_asking)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    stop_driver();
    fake_release_proposals();
    while (domain->info.moving_to != 0)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    start_driver();
    driver->recover(driver);
    driver->autostart(driver);
    assert_true(fake_host_until(has_arrived, domain));
    assert_string_equal(fake.trace, "commit 1/2+2.1+4.1 ");
    destroy(domain);
}

static void a_restart_with_a_state_that_is_too_old_waits_for_the_log(void **state)
{
    struct fake_domain *domain = remote_domain("incoming active completed\n");
    uint64_t run;

    (void)state;
    must_prepare(domain, 0);
    fake.holds_proposals = true;
    while (!vq_incoming_of(guest_of(domain))->is_asking)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    stop_driver();
    fake_release_proposals();
    run = domain->info.moving_run;
    while (domain->info.moving_to != 0)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    /* As it was before the move began: this node had seen more when it died. */
    domain->info.owner = SOURCE_NODE;
    domain->info.run = 5;
    domain->info.last_move = 0;
    domain->info.generation--;
    fake.has_quorum = false;
    fake.holds_proposals = true;
    start_driver();
    driver->recover(driver);
    for (int i = 0; i < 50; i++) {
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
    assert_non_null(guest_of(domain));
    assert_int_equal(signal_processes(0), 1);
    domain->info.owner = OWN_NODE;
    domain->info.run = run;
    domain->info.generation++;
    driver->changed(driver, domain->info.uuid);
    assert_true(fake_host_until(has_arrived, domain));
    fake_release_proposals();
    destroy(domain);
}

static void a_restart_after_qemu_has_died_ends_the_move(void **state)
{
    struct fake_domain *domain = remote_domain("");
    pid_t pid;

    (void)state;
    must_prepare(domain, 0);
    pid = guest_of(domain)->pid;
    stop_driver();
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    start_driver();
    driver->recover(driver);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "cancel ");
    it_stays_where_it_was(domain);
}

/* The daemon was away while the source ended the move; after its restart in the same boot nobody tells of it again. */
static void a_restart_after_the_source_has_cancelled_leaves_room_for_the_next(void **state)
{
    enum { QEMU_LIVES = 1, IS_UNDEFINED = 2 };

    (void)state;
    for (int how = 0; how < 4; how++) {
        struct fake_domain *domain = remote_domain((how & QEMU_LIVES) != 0 ? "incoming active\n" : "");
        pid_t pid;

        must_prepare(domain, 0);
        pid = guest_of(domain)->pid;
        stop_driver();
        if ((how & QEMU_LIVES) == 0) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
        }
        domain->info.moving_to = domain->info.moving_run = 0;
        domain->is_gone = (how & IS_UNDEFINED) != 0;
        start_driver();
        driver->recover(driver);
        assert_true(fake_host_until(has_ended, domain));
        if (domain->is_gone) {
            nothing_is_left();
        } else {
            it_stays_where_it_was(domain);
            must_prepare(domain, 0);
            assert_int_equal(finish(domain, true), VIR_ERR_MIGRATE_FINISH_OK);
            assert_true(fake_host_until(has_ended, domain));
            it_stays_where_it_was(domain);
        }
    }
}

/* Run the arrival in a child that dies at the failure point; then recover here, with the log as it would be. */
static void die_at(const char *point, bool has_moved, bool is_committed)
{
    struct fake_domain *domain = remote_domain("incoming active completed\n");
    int status;
    pid_t child;

    stop_driver();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        char setting[128];

        (void)snprintf(setting, sizeof(setting), "%s=crash", point);
        (void)setenv("VQ_FAILPOINTS", setting, 1);
        (void)uv_loop_init(&fake.loop);
        start_driver();
        (void)prepare(domain, 0);
        (void)fake_host_until(has_arrived, domain);
        _exit(77);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        fail_msg("failure point %s was never reached", point);
    if (has_moved && !is_committed) {
        domain->info.moving_to = OWN_NODE;
        domain->info.moving_run = fake.next_run + 1;
    } else if (is_committed) {
        domain->info.owner = OWN_NODE;
        domain->info.run = fake.next_run + 1;
    }
    fake.next_run++;
    fake.trace[0] = '\0';
    start_driver();
    driver->recover(driver);
    driver->autostart(driver);
    while (!has_arrived(domain) && !has_ended(domain))
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    assert_int_equal(domain->info.moving_to, 0);
    if (is_committed || strstr(fake.trace, "commit") != NULL) {
        assert_true(has_arrived(domain));
        assert_int_equal(domain->info.owner, OWN_NODE);
        destroy(domain);
    } else {
        it_stays_where_it_was(domain);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void a_daemon_that_dies_at_any_step_leaves_one_owner_and_nothing_else(void **state)
{
    static const struct {
        const char *point;
        bool has_moved, is_committed;
    } rows[] = {
        { "qemu.migrate.in.begin", false, false },  { "qemu.migrate.in.claim", false, false },
        { "qemu.start.files", true, false },        { "qemu.start.spawn", true, false },
        { "qemu.start.go", true, false },           { "qemu.start.greet", true, false },
        { "qemu.migrate.in.tell", true, false },    { "qemu.migrate.in.listen", true, false },
        { "qemu.migrate.in.wait", true, false },    { "qemu.migrate.in.load", true, false },
        { "qemu.migrate.in.loaded", true, false },  { "qemu.migrate.in.commit", true, false },
        { "qemu.migrate.in.ours", true, true },     { "qemu.migrate.in.arrived", true, true },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        die_at(rows[i].point, rows[i].has_moved, rows[i].is_committed);
        begin_anew();
    }
}

/* Each step fails by itself. */
static void a_failure_at_any_step_is_undone(void **state)
{
    static const char *const points[] = { "qemu.migrate.in.begin", "qemu.migrate.in.claim", "qemu.start.files",
                                          "qemu.start.ports", "qemu.start.spawn", "qemu.start.greet",
                                          "qemu.migrate.in.tell", "qemu.migrate.in.listen", "qemu.migrate.in.wait",
                                          "qemu.migrate.in.load", "qemu.migrate.in.loaded", "qemu.record.write" };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(points); i++) {
        struct fake_domain *domain = remote_domain("incoming active completed\n");
        char setting[128];

        (void)snprintf(setting, sizeof(setting), "%s=error", points[i]);
        (void)setenv("VQ_FAILPOINTS", setting, 1);
        (void)prepare(domain, 0);
        assert_true(fake_host_until(has_ended, domain));
        (void)unsetenv("VQ_FAILPOINTS");
        it_stays_where_it_was(domain);
        begin_anew();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_guest_that_has_come_is_this_nodes),
        TEST(a_paused_guest_stays_paused),
        TEST(nobody_needs_to_call_finish),
        TEST(a_port_that_is_taken_is_passed_over),
        TEST(a_guest_may_come_with_another_name),
        TEST(a_name_that_is_taken_is_refused_before_anything_is_made),
        TEST(the_definition_that_the_caller_wants_is_kept_with_the_commit),
        TEST(a_definition_that_the_guest_would_notice_is_not_kept),
        TEST(a_guest_on_its_way_cannot_be_used_and_is_the_other_nodes),
        TEST(what_does_not_fit_is_refused_before_anything_is_made),
        TEST(a_move_that_is_refused_leaves_nothing),
        TEST(a_cancel_before_data_came_clears_away),
        TEST(a_cancel_by_the_source_clears_away),
        TEST(without_data_it_is_given_up),
        TEST(a_load_that_nothing_comes_for_asks_the_log_for_a_cancel),
        TEST(a_connection_tells_when_data_came_last),
        TEST(the_end_of_the_clients_connection_clears_away),
        TEST(a_client_that_goes_away_before_prepare_is_answered_leaves_nothing),
        TEST(the_loss_of_the_source_clears_away),
        TEST(a_client_that_goes_away_when_all_is_loaded_stops_nothing),
        TEST(a_qemu_that_dies_while_it_loads_is_told_by_its_last_words),
        TEST(its_last_words_are_kept_for_a_finish_that_comes_later),
        TEST(a_qemu_that_says_failed_is_cleared_away),
        TEST(a_qemu_that_dies_at_any_command_before_data_fails_the_prepare),
        TEST(a_qemu_that_dies_right_after_the_commit_is_this_nodes_loss),
        TEST(a_qemu_that_dies_while_the_commit_is_under_way_is_judged_by_the_log),
        TEST(cpus_that_do_not_run_leave_the_guest_here_and_paused),
        TEST(a_commit_that_is_lost_is_proposed_again),
        TEST(a_commit_that_is_never_taken_becomes_a_cancel),
        TEST(while_the_outcome_is_unknown_it_stays_paused_and_nothing_is_ended),
        TEST(a_finish_that_waits_too_long_is_told_so),
        TEST(a_move_to_this_node_that_it_does_not_know_is_ended),
        TEST(post_copy_runs_before_all_is_there),
        TEST(a_commit_before_the_data_waits_for_them),
        TEST(post_copy_that_has_failed_goes_on_when_it_is_resumed),
        TEST(perform_has_the_source_send_the_rest),
        TEST(resuming_that_fails_can_be_tried_again),
        TEST(a_source_that_refuses_to_resume_is_told),
        TEST(a_restart_during_post_copy_ends_nothing),
        TEST(an_image_that_is_missing_is_made_and_goes_again_when_the_guest_does_not_come),
        TEST(an_image_that_is_there_is_neither_made_nor_removed),
        TEST(a_failure_while_images_are_made_leaves_none),
        TEST(storage_that_hangs_holds_up_neither_the_loop_nor_the_stop),
        TEST(a_guest_from_outside_runs_when_finish_says_so),
        TEST(from_outside_certificates_encrypt_if_asked_and_go_afterwards),
        TEST(a_certificate_that_qemu_refuses_ends_prepare),
        TEST(a_guest_from_outside_that_is_cancelled_leaves_its_domain_off),
        TEST(a_restart_clears_a_guest_from_outside_away),
        TEST(a_domain_that_runs_here_or_elsewhere_does_not_come_from_outside),
        TEST(a_guest_that_comes_back_takes_over_its_domain_from_another_node),
        TEST(a_domain_whose_guest_does_not_come_back_is_given_back),
        TEST(giving_a_domain_back_is_tried_until_it_is_known),
        TEST(a_domain_that_somebody_else_has_taken_is_not_given_back),
        TEST(a_domain_that_is_not_given_up_by_the_log_is_not_taken),
        TEST(a_guest_from_outside_that_nobody_knows_is_transient),
        TEST(a_guest_from_outside_that_nobody_knows_and_that_does_not_come_leaves_no_domain),
        TEST(a_guest_from_outside_is_kept_when_that_is_asked_for),
        TEST(a_definition_that_cannot_be_kept_leaves_the_guest_with_its_source),
        TEST(a_restart_before_data_came_ends_the_move),
        TEST(a_restart_when_all_is_loaded_takes_over),
        TEST(a_restart_after_the_commit_lets_it_run),
        TEST(a_restart_with_a_state_that_is_too_old_waits_for_the_log),
        TEST(a_restart_after_qemu_has_died_ends_the_move),
        TEST(a_restart_after_the_source_has_cancelled_leaves_room_for_the_next),
        TEST(a_daemon_that_dies_at_any_step_leaves_one_owner_and_nothing_else),
        TEST(a_failure_at_any_step_is_undone),
    };

    vq_log_level = getenv("VQ_TEST_LOG") != NULL ? VQ_LOG_DEBUG : VQ_LOG_ERROR;
    cmocka_set_test_filter(getenv("VQ_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
