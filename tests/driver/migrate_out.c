/* A guest that leaves: the source's side under a fake host, with a fake QEMU that says what its script says. Each test ends with
 * a look at who owns the guest, at what was told, and for leftovers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_out.h"
#include "proto/cluster.pb-c.h"
#include "proto/gen/node.h"
#include "proto/gen/remote.h"
#include "tests/driver/fake_host.h"

static struct vq_driver *const driver = &vq_qemu_driver;
static char emulator[128];
static int listener = -1;            /* where the data would go */
static struct fake_peer peer;
static bool has_display;             /* at the peer, a spice one */
static const char *more_devices = ""; /* of the next domain */
static const char *wanted_name, *kept_xml; /* of the next begin or perform; NULL: as they are */

enum { OWN_NODE = 1, PEER_NODE = 2, SESSION = 7 };

/* ---- The daemon ---- */

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
    fake.driver = NULL;
    is_stopped = false;
    driver->stop(driver, stopped, NULL);
    while (!is_stopped)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
}

static struct vq_qemu *qemu(void)
{
    return driver->state;
}

static void data_path(char *path, size_t size)
{
    (void)snprintf(path, size, "%s/data.sock", fake.dir);
}

static void listen_for_data(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    data_path(address.sun_path, sizeof(address.sun_path));
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 16), 0);
}

static void begin(void)
{
    fake_host_init(false);
    start_driver();
    driver->autostart(driver);
    listen_for_data();
}

static void end(void)
{
    stop_driver();
    fake_release_proposals();
    (void)close(listener);
    fake_host_done(true);
}

/* Room for more domains. */
static void begin_anew(void)
{
    if (fake.n_domains < FAKE_DOMAINS_MAX)
        return;
    end();
    begin();
}

/* ---- Guests ---- */

static void use_script(const char *script)
{
    char path[160];
    FILE *file;

    (void)snprintf(emulator, sizeof(emulator), "%s/qemu", fake.dir);
    (void)unlink(emulator);
    assert_int_equal(symlink(VQ_FAKE_QEMU, emulator), 0);
    (void)snprintf(path, sizeof(path), "%s.go", emulator);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s.script", emulator);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(script, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* What the script's "wait" waits for. */
static void let_it_go_on(void)
{
    char path[160];
    int fd;

    (void)snprintf(path, sizeof(path), "%s.go", emulator);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void let_it_wait_again(void)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s.go", emulator);
    (void)unlink(path);
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

static struct vq_qemu_guest *guest_of(const struct fake_domain *domain)
{
    return vq_qemu_guest_find(qemu(), domain->info.uuid);
}

static bool has_ended(void *data)
{
    return guest_of(data) == NULL;
}

static int call(const char *procedure, struct fake_domain *domain)
{
    static const uint8_t no_flags[256];

    return fake_call(driver, VQ_PROGRAM_REMOTE, procedure, domain, no_flags);
}

static void must(const char *procedure, struct fake_domain *domain)
{
    int code = call(procedure, domain);

    if (code != VIR_ERR_OK)
        fail_msg("%s: %d %s", procedure, code, fake_error.message);
}

/* A guest that runs here. */
static struct fake_domain *run(const char *script)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_domain *definition = NULL;
    struct fake_domain *domain;
    char text[2048];
    char *xml;

    use_script(script);
    (void)snprintf(text, sizeof(text),
                   "<domain type='qemu'><name>t%zu</name><uuid>%s%02zx</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
                   "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><emulator>%s</emulator>%s</devices></domain>",
                   fake.n_domains + 1, fake_uuid_prefix(), fake.n_domains + 1, emulator, more_devices);
    assert_int_equal(vq_domain_parse(text, 0, &definition, &err), 0);
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
    must("domain_create", domain);
    fake.trace[0] = '\0';
    return domain;
}

/* ---- What is left ---- */

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
        if (length <= 0 || memmem(text, (size_t)length, fake_uuid_prefix(), strlen(fake_uuid_prefix())) == NULL ||
            memmem(text, (size_t)length, "-uuid", 5) == NULL)
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

/* It is the peer's, and nothing was told of an end of its run here. */
static void it_has_left(struct fake_domain *domain)
{
    assert_true(fake_host_until(has_ended, domain));
    assert_int_equal(domain->info.owner, PEER_NODE);
    assert_int_equal(domain->info.moving_to, 0);
    assert_null(strstr(fake.trace, "5/"));
    nothing_is_left();
}

static bool move_is_over(void *data)
{
    const struct fake_domain *domain = data;

    return domain->info.moving_to == 0;
}

static bool is_idle(void *data)
{
    const struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->phase == VQ_GUEST_ACTIVE && guest->migration == NULL && !guest->activity.is_active;
}

/* It runs here as before, and may be destroyed, or migrated anew. */
static void it_runs_here(struct fake_domain *domain)
{
    assert_true(fake_host_until(is_idle, domain));
    assert_true(fake_host_until(move_is_over, domain));
    assert_int_equal(domain->info.owner, OWN_NODE);
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_RUNNING);
    assert_int_equal(domain->info.state, VIR_DOMAIN_RUNNING);
    must("domain_destroy", domain);
    nothing_is_left();
}

static void free_calls(void);

static int setup(void **state)
{
    (void)state;
    has_display = false;
    more_devices = "";
    wanted_name = kept_xml = NULL;
    begin();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free_calls();
    fake_dead_storage_end();
    (void)signal_processes(SIGKILL);
    end();
    return 0;
}

/* ---- The other node ---- */

static const uint8_t key[VQ_MIGRATE_KEY_BYTES] = { 1, 2, 3 };

static int peer_answers(const struct vq_procedure *procedure, const void *args, void *ret, struct vq_arena *arena,
                        struct vq_error *err, void *data)
{
    struct vq_node_migrate_key_ret *answer = ret;

    (void)args;
    (void)arena;
    (void)err;
    (void)data;
    assert_string_equal(procedure->name, "migrate_key");
    answer->key = key;
    answer->n_key = sizeof(key);
    return 0;
}

/* As prepare there would have done. */
static void enter_move(struct fake_domain *domain)
{
    domain->info.moving_to = PEER_NODE;
    domain->info.moving_run = domain->info.last_move = ++fake.next_run;
    fake_peer_init(&peer, PEER_NODE, "node2", peer_answers, NULL);
    fake.peer = &peer.peer;
}

static void ended(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    (void)result;
    (void)err;
    *(bool *)data = true;
}

static bool is_true(void *data)
{
    return *(bool *)data;
}

/* The peer proposes an end of the move. */
static void peer_ends(struct fake_domain *domain, bool commit)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainMoveEnd move_end = VQ__DOMAIN_MOVE_END__INIT;
    bool is_over = false;

    move_end.uuid = (ProtobufCBinaryData){ .data = domain->info.uuid, .len = 16 };
    move_end.to = PEER_NODE;
    move_end.run = domain->info.moving_run;
    move_end.commit = commit;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_MOVE_END;
    command.domain_move_end = &move_end;
    fake.host.propose(&command, 0, ended, &is_over);
    assert_true(fake_host_until(is_true, &is_over));
}

/* ---- The calls ---- */

struct call {
    struct vq_arena *arena;
    struct vq_request request;
    struct fake_domain *domain;
    bool is_answered;
    struct vq_error err;
    uint32_t cookie_length;
    bool has_nbd;                /* as told in the cookie */
    struct vq_qemu_job_stats stats;
};

static const struct vq_caller caller = { .entry_node = OWN_NODE, .session = SESSION };
static struct call perform_call, other_call;

static void call_init(struct call *one, struct fake_domain *domain)
{
    vq_arena_free(one->arena);
    *one = (struct call){ .arena = vq_arena_new(0), .domain = domain };
    one->request = (struct vq_request){ .arena = one->arena, .caller = &caller, .driver = driver, .domain = &domain->info };
}

static struct vq_migrate_cookie begun_cookie;

static void free_calls(void)
{
    vq_arena_free(vq_take(perform_call.arena));
    vq_arena_free(vq_take(other_call.arena));
    vq_migrate_cookie_done(&begun_cookie);
    begun_cookie = (struct vq_migrate_cookie){ 0 };
}

static void performed(const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    struct vq_error own = VQ_ERROR_INIT;
    struct vq_migrate_cookie told;
    struct call *one = data;

    assert_false(one->is_answered); /* exactly once */
    one->is_answered = true;
    one->err = err != NULL ? *err : VQ_ERROR_INIT;
    one->cookie_length = cookie_length;
    assert_int_equal(vq_migrate_cookie_read(cookie, cookie_length, &told, &own), 0);
    one->has_nbd = told.has_nbd;
    if (told.stats != NULL)
        one->stats = *told.stats;
    vq_migrate_cookie_done(&told);
}

static bool is_answered(void *data)
{
    return ((struct call *)data)->is_answered;
}

static void perform_with(struct fake_domain *domain, uint64_t flags, uint64_t node, uint64_t move_run, const char *uri)
{
    struct vq_migrate_cookie cookie;
    struct vq_migrate_options options;
    struct vq_error err = VQ_ERROR_INIT;
    uint32_t length = 0;
    uint8_t *bytes = NULL;

    call_init(&perform_call, domain);
    vq_migrate_cookie_init(&cookie, qemu(), domain->info.uuid, domain->name);
    free(cookie.host_name);
    cookie.host_name = strdup("host2");
    memset(cookie.host_uuid, 0x5a, sizeof(cookie.host_uuid));
    cookie.graphics.type = has_display ? strdup("spice") : NULL;
    cookie.graphics.listen = has_display ? strdup("0.0.0.0") : NULL;
    cookie.graphics.port = has_display ? 5900 : 0;
    cookie.node = node;
    cookie.run = move_run;
    assert_int_equal(vq_migrate_cookie_write(&cookie, perform_call.arena, &bytes, &length, &err), 0);
    vq_migrate_cookie_done(&cookie);
    vq_migrate_options_init(&options);
    options.flags = flags;
    options.uri = strdup(uri);
    options.dname = wanted_name != NULL ? strdup(wanted_name) : NULL;
    options.tls_destination = (flags & VIR_MIGRATE_TLS) != 0 ? strdup("host2") : NULL;
    vq_migrate_out_perform(&perform_call.request, &options, bytes, length, performed, &perform_call);
    vq_migrate_options_done(&options);
}

static void begin_perform_to(struct fake_domain *domain, uint64_t flags, uint64_t node)
{
    char path[96], uri[128];

    data_path(path, sizeof(path));
    (void)snprintf(uri, sizeof(uri), "unix://%s", path);
    perform_with(domain, flags, node, node != 0 ? domain->info.moving_run : 0, uri);
}

static void begin_perform(struct fake_domain *domain)
{
    enter_move(domain);
    begin_perform_to(domain, VIR_MIGRATE_LIVE, PEER_NODE);
}

static int perform_code(void)
{
    assert_true(fake_host_until(is_answered, &perform_call));
    return perform_call.err.code;
}

static void must_perform(void)
{
    if (perform_code() != VIR_ERR_OK)
        fail_msg("perform: %d %s", perform_call.err.code, perform_call.err.message);
}

static int confirm(struct fake_domain *domain, uint64_t flags, bool cancelled)
{
    struct vq_migrate_options options;

    vq_migrate_options_init(&options);
    options.flags = flags;
    call_init(&other_call, domain);
    vq_migrate_out_confirm(&other_call.request, &options, NULL, 0, cancelled, performed, &other_call);
    vq_migrate_options_done(&options);
    assert_true(fake_host_until(is_answered, &other_call));
    return other_call.err.code;
}

static char begun_xml[16384];

static void begun(const char *xml, const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    struct call *one = data;
    struct vq_error own = VQ_ERROR_INIT;

    assert_false(one->is_answered);
    one->is_answered = true;
    one->err = err != NULL ? *err : VQ_ERROR_INIT;
    (void)snprintf(begun_xml, sizeof(begun_xml), "%s", xml != NULL ? xml : "");
    vq_migrate_cookie_done(&begun_cookie);
    assert_int_equal(vq_migrate_cookie_read(cookie, cookie_length, &begun_cookie, &own), 0);
}

static int begin_call(struct fake_domain *domain, uint64_t flags, const char *dxml)
{
    struct vq_migrate_options options;

    vq_migrate_options_init(&options);
    options.flags = flags;
    options.dxml = dxml != NULL ? strdup(dxml) : NULL;
    options.persistent_xml = kept_xml != NULL ? strdup(kept_xml) : NULL;
    call_init(&other_call, domain);
    vq_migrate_out_begin(&other_call.request, &options, begun, &other_call);
    vq_migrate_options_done(&options);
    assert_true(fake_host_until(is_answered, &other_call));
    return other_call.err.code;
}

static bool qemu_says(void *data)
{
    const char *const *wanted = data;

    return strstr(fake.trace, *wanted) != NULL;
}

static void until_trace(const char *wanted)
{
    if (!fake_host_until(qemu_says, &wanted))
        fail_msg("'%s' never came: %s", wanted, fake.trace);
}

static bool is_sent(void *data)
{
    struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && vq_migrate_is_leaving(guest) && vq_leaving_of(guest)->qemu == VQ_LEAVING_QEMU_COMPLETED;
}

static enum vq_leaving_qemu wanted_status;

static bool has_status(void *data)
{
    struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && vq_migrate_is_leaving(guest) && vq_leaving_of(guest)->qemu == wanted_status;
}

static void until_status(struct fake_domain *domain, enum vq_leaving_qemu status)
{
    wanted_status = status;
    assert_true(fake_host_until(has_status, domain));
}

/* ---- Between nodes ---- */

static void a_guest_that_was_sent_is_let_go_when_the_log_says_so(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
    assert_false(perform_call.is_answered);
    peer_ends(domain, true);
    must_perform();
    assert_true(perform_call.cookie_length > 0);
    assert_string_equal(fake.trace, "event20 3/2+3.1 commit event21 ");
    assert_string_equal(peer.calls, "migrate_key ");
    assert_true(peer.is_closed);
    it_has_left(domain);
}

static void the_logs_word_may_come_before_qemus(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold device hang\n");

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_DEVICE);
    peer_ends(domain, true);
    must_perform();
    it_has_left(domain);
}

static void viewers_that_were_told_get_time_to_follow(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold device completed wait viewers\n");

    (void)state;
    has_display = true;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    assert_true(vq_leaving_of(guest_of(domain))->has_viewers);
    peer_ends(domain, true);
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
    assert_false(perform_call.is_answered);
    let_it_go_on();
    must_perform();
    it_has_left(domain);
}

static void viewers_that_do_not_follow_or_cannot_be_told_stop_nothing(void **state)
{
    static const char *const scripts[] = { "", "refuse client_migrate_info\n" };

    (void)state;
    has_display = true;
    for (size_t i = 0; i < VQ_N_ELEMENTS(scripts); i++) {
        struct fake_domain *domain = run(scripts[i]);

        begin_perform(domain);
        assert_true(fake_host_until(is_sent, domain));
        assert_int_equal(vq_leaving_of(guest_of(domain))->has_viewers, i == 0);
        peer_ends(domain, true);
        must_perform();
        it_has_left(domain);
        begin_anew();
    }
}

static void while_the_outcome_is_unknown_it_stays_paused(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    fake.has_quorum = false;
    for (int i = 0; i < 50; i++) {
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
    assert_false(perform_call.is_answered);
    assert_int_equal(call("domain_resume", domain), VIR_ERR_OPERATION_TIMEOUT);
    fake.has_quorum = true;
    peer_ends(domain, true);
    must_perform();
    it_has_left(domain);
}

static void a_peer_that_gives_up_lets_it_run_on(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    peer_ends(domain, false);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    until_trace("1/6+4.1");
    it_runs_here(domain);
}

static void a_peer_that_gives_up_while_it_is_sent_lets_it_run_on(void **state)
{
    struct fake_domain *domain = run("outgoing setup active hang\n");

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    peer_ends(domain, false);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    it_runs_here(domain);
}

static void a_qemu_that_fails_is_not_told_to_run(void **state)
{
    static const char *const scripts[] = { "outgoing setup failed\n", "outgoing setup active failed\n",
                                           "outgoing setup active stop pre-switchover hold failed\n",
                                           "outgoing setup active stop pre-switchover hold device failed\n" };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(scripts); i++) {
        struct fake_domain *domain = run(scripts[i]);

        begin_perform(domain);
        assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
        it_runs_here(domain);
        begin_anew();
    }
}

/* ---- Cancelled ---- */

static void cancel_at(const char *script, enum vq_leaving_qemu status)
{
    struct fake_domain *domain = run(script);

    begin_perform(domain);
    until_status(domain, status);
    must("domain_abort_job", domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    assert_string_equal(perform_call.err.message, "migration out job: canceled by client");
    assert_null(strstr(fake.trace, "commit"));
    it_runs_here(domain);
    begin_anew();
}

static void a_cancel_at_any_stage_leaves_it_running_here(void **state)
{
    (void)state;
    cancel_at("outgoing setup hang\n", VQ_LEAVING_QEMU_ACTIVE);
    cancel_at("outgoing setup active pass hang\n", VQ_LEAVING_QEMU_ACTIVE);
    cancel_at("outgoing setup active stop pre-switchover hold device hang\n", VQ_LEAVING_QEMU_DEVICE);
    cancel_at("", VQ_LEAVING_QEMU_COMPLETED);
}

static void a_cancel_that_comes_after_the_commit_changes_nothing(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    fake.holds_proposals = true;
    must("domain_abort_job", domain);
    fake.holds_proposals = false;
    peer_ends(domain, true);
    fake_release_proposals();
    must_perform();
    it_has_left(domain);
}

static void without_a_quorum_a_cancel_waits_for_the_log(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    (void)vq_error_set_from(&fake.refusal, VIR_FROM_NONE, VIR_ERR_OPERATION_INVALID, "1 of 3 voters reachable");
    must("domain_abort_job", domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    assert_non_null(strstr(fake.trace, "cancel "));
    it_runs_here(domain);
}

static void the_end_of_the_clients_connection_cancels(void **state)
{
    struct fake_domain *domain = run("outgoing setup active hang\n");

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    driver->session_ended(driver, OWN_NODE, SESSION + 1);
    assert_false(perform_call.is_answered);
    driver->session_ended(driver, OWN_NODE, SESSION);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    it_runs_here(domain);
}

static void a_client_that_goes_away_when_all_is_sent_stops_nothing(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    driver->session_ended(driver, OWN_NODE, SESSION);
    peer_ends(domain, true);
    must_perform();
    it_has_left(domain);
}

static void a_peer_that_is_lost_while_it_is_sent_ends_it(void **state)
{
    struct fake_domain *domain = run("outgoing setup active hang\n");

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    driver->session_ended(driver, PEER_NODE + 1, 0);
    assert_false(perform_call.is_answered);
    driver->session_ended(driver, PEER_NODE, 0);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    it_runs_here(domain);
}

static void a_peer_that_is_lost_when_all_is_sent_gets_time_to_take_it(void **state)
{
    for (int commit = 0; commit <= 1; commit++) {
        struct fake_domain *domain = run("");

        (void)state;
        begin_perform(domain);
        assert_true(fake_host_until(is_sent, domain));
        driver->session_ended(driver, PEER_NODE, 0);
        assert_false(perform_call.is_answered);
        if (commit == 1)
            peer_ends(domain, true);
        assert_int_equal(perform_code(), commit == 1 ? VIR_ERR_OK : VIR_ERR_OPERATION_FAILED);
        if (commit == 1)
            it_has_left(domain);
        else
            it_runs_here(domain);
    }
}

/* ---- The peer's QEMU hangs ---- */

/* The deadline of the step that waits passes. */
static void let_time_pass(struct fake_domain *domain, unsigned from_ms, unsigned to_ms)
{
    uv_timer_t *timer = &vq_leaving_of(guest_of(domain))->job_timer;

    assert_true(uv_is_active((uv_handle_t *)timer));
    assert_in_range(uv_timer_get_due_in(timer), from_ms, to_ms);
    timer->timer_cb(timer);
}

static void a_switch_over_or_an_outcome_that_does_not_come_asks_the_log_for_a_cancel(void **state)
{
    static const struct {
        const char *script;
        enum vq_leaving_qemu status;
    } rows[] = { { "outgoing setup active stop pre-switchover hold device hang\n", VQ_LEAVING_QEMU_DEVICE },
                 { "", VQ_LEAVING_QEMU_COMPLETED } };

    (void)state;
    for (size_t i = 0; i < 2 * VQ_N_ELEMENTS(rows); i++) {
        bool is_committed = i % 2 != 0;
        struct fake_domain *domain = run(rows[i / 2].script);

        begin_perform(domain);
        until_status(domain, rows[i / 2].status);
        fake.holds_proposals = true;
        let_time_pass(domain, 25000, 30000);
        assert_true(vq_leaving_of(guest_of(domain))->is_asking);
        assert_false(perform_call.is_answered); /* nothing is decided here */
        assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
        fake.holds_proposals = false;
        if (is_committed) /* the destination was quicker after all */
            peer_ends(domain, true);
        fake_release_proposals();
        assert_int_equal(perform_code(), is_committed ? VIR_ERR_OK : VIR_ERR_OPERATION_TIMEOUT);
        if (is_committed)
            it_has_left(domain);
        else
            it_runs_here(domain);
        begin_anew();
    }
}

static void the_deadline_leaves_room_for_the_downtime_that_was_allowed(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold device hang\n");

    (void)state;
    guest_of(domain)->migration_downtime_ms = 100000;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_DEVICE);
    let_time_pass(domain, 120000, 130000);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_TIMEOUT);
    it_runs_here(domain);
}

static void outside_a_switch_over_that_does_not_end_lets_it_run_on(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold device hang\n");

    (void)state;
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    until_status(domain, VQ_LEAVING_QEMU_DEVICE);
    let_time_pass(domain, 25000, 30000);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_TIMEOUT);
    it_runs_here(domain);
}

/* ---- QEMU dies ---- */

static void a_qemu_that_dies_before_all_was_sent_is_this_nodes_loss(void **state)
{
    static const char *const scripts[] = { "outgoing die\n", "outgoing setup active die\n",
                                           "outgoing setup active stop pre-switchover die\n" };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(scripts); i++) {
        struct fake_domain *domain = run(scripts[i]);

        begin_perform(domain);
        assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
        assert_true(fake_host_until(has_ended, domain));
        assert_int_equal(domain->info.owner, OWN_NODE);
        until_trace("5/3+5.5");
        nothing_is_left();
        begin_anew();
    }
}

static void a_qemu_that_dies_when_all_was_sent_is_judged_by_the_log(void **state)
{
    for (int commit = 0; commit <= 1; commit++) {
        struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold device completed wait die\n");

        (void)state;
        begin_perform(domain);
        assert_true(fake_host_until(is_sent, domain));
        let_it_go_on();
        while (signal_processes(0) > 0)
            (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        assert_non_null(guest_of(domain));
        peer_ends(domain, commit == 1);
        assert_int_equal(perform_code() == VIR_ERR_OK, commit == 1);
        assert_true(fake_host_until(has_ended, domain));
        assert_int_equal(domain->info.owner, commit == 1 ? PEER_NODE : OWN_NODE);
        assert_int_equal(strstr(fake.trace, "5/3+5.5") != NULL, commit == 0);
        nothing_is_left();
        begin_anew();
    }
}

/* ---- Begin ---- */

static void begin_tells_what_goes_and_changes_nothing(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE, NULL), VIR_ERR_OK);
    assert_non_null(strstr(begun_xml, domain->name));
    assert_string_equal(begun_cookie.name, domain->name);
    assert_int_equal(begun_cookie.node, OWN_NODE);
    assert_memory_equal(begun_cookie.uuid, domain->info.uuid, 16);
    assert_int_equal(begun_cookie.n_capabilities, 3); /* "events" is our own affair */
    assert_true(is_idle(domain));
    assert_string_equal(fake.trace, "");
    it_runs_here(domain);
}

static void a_change_is_refused_between_begin_and_perform_if_asked(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION, NULL), VIR_ERR_OK);
    assert_int_equal(call("domain_reset", domain), VIR_ERR_OPERATION_TIMEOUT);
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE, NULL), VIR_ERR_OPERATION_TIMEOUT);
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    peer_ends(domain, true);
    must_perform();
    it_has_left(domain);
}

static void what_was_begun_ends_with_confirm_or_with_the_client(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION, NULL), VIR_ERR_OK);
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION, true), VIR_ERR_OK);
    assert_true(is_idle(domain));
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION, NULL), VIR_ERR_OK);
    driver->session_ended(driver, OWN_NODE, SESSION);
    assert_true(is_idle(domain));
    it_runs_here(domain);
}

static void a_cancel_between_begin_and_perform_ends_it(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION, NULL), VIR_ERR_OK);
    must("domain_abort_job", domain);
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    assert_string_equal(perform_call.err.message, "migration out job: canceled by client");
    assert_true(is_idle(domain)); /* without a confirm */
    assert_string_equal(fake.trace, "");
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    must_perform();
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE, true), VIR_ERR_OK);
    it_runs_here(domain);
}

static void a_definition_of_the_callers_must_look_the_same_to_the_guest(void **state)
{
    struct fake_domain *domain = run("");
    char *other = vq_domain_format(guest_of(domain)->live, VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE);
    char *at = strstr(other, "<vcpu");

    (void)state;
    if (begin_call(domain, VIR_MIGRATE_LIVE, other) != VIR_ERR_OK)
        fail_msg("%s", other_call.err.message);
    assert_non_null(at);
    at = strchr(at, '1');
    assert_non_null(at);
    *at = '2';
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE, other), VIR_ERR_CONFIG_UNSUPPORTED);
    assert_non_null(strstr(other_call.err.message, "vcpu"));
    free(other);
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE, "<domain"), VIR_ERR_XML_ERROR);
    it_runs_here(domain);
}

/* The one to be kept as well, when it would be. */
static void a_persistent_definition_of_the_callers_must_look_the_same_to_the_guest(void **state)
{
    const uint64_t keeps = VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST;
    struct fake_domain *domain = run("");
    char *other = strdup(domain->xml), *at = strstr(other, "<vcpu");

    (void)state;
    kept_xml = domain->xml;
    assert_int_equal(begin_call(domain, keeps, NULL), VIR_ERR_OK);
    *strchr(at, '1') = '2';
    kept_xml = other;
    assert_int_equal(begin_call(domain, keeps, NULL), VIR_ERR_CONFIG_UNSUPPORTED);
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE, NULL), VIR_ERR_OK);
    kept_xml = "<domain";
    assert_int_equal(begin_call(domain, keeps, NULL), VIR_ERR_XML_ERROR);
    kept_xml = NULL;
    free(other);
    it_runs_here(domain);
}

static void a_guest_that_waits_for_its_disk_is_refused_unless_forced(void **state)
{
    struct fake_domain *domain = run("");
    struct vq_qemu_guest *guest = guest_of(domain);

    (void)state;
    must("domain_suspend", domain);
    guest->reason = VIR_DOMAIN_PAUSED_IOERROR;
    (void)snprintf(guest->io_error_target, sizeof(guest->io_error_target), "vda");
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE, NULL), VIR_ERR_OPERATION_INVALID);
    assert_string_equal(other_call.err.message, "cannot migrate domain with I/O error: it is paused because of disk vda");
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_UNSAFE, NULL), VIR_ERR_OK);
    must("domain_resume", domain);
    it_runs_here(domain);
}

/* ---- With a daemon outside ---- */

static void outside_confirm_ends_it(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    must_perform();
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE, false), VIR_ERR_OK);
    assert_true(fake_host_until(has_ended, domain));
    assert_string_equal(fake.trace, "event20 3/2+3.1 event21 5/4+5.3 ");
    assert_false(domain->is_gone);
    nothing_is_left();
}

/* The time counts from the begin, not from the last look at it. */
static void outside_perform_tells_the_numbers(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION, NULL), VIR_ERR_OK);
    for (int i = 0; i < 10; i++) {
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    must("domain_get_job_info", domain);
    must_perform();
    assert_true(perform_call.stats.elapsed_ms >= 100);
    assert_true(perform_call.stats.stopped_ms > 0);
    assert_false(perform_call.has_nbd);
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE, true), VIR_ERR_OK);
    it_runs_here(domain);
}

static void outside_perform_tells_that_disks_were_copied(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_NON_SHARED_DISK, 0);
    must_perform();
    assert_true(perform_call.has_nbd);
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE, true), VIR_ERR_OK);
    it_runs_here(domain);
}

static void outside_confirm_undefines_it_if_asked(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_UNDEFINE_SOURCE, 0);
    must_perform();
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_UNDEFINE_SOURCE, false), VIR_ERR_OK);
    assert_true(domain->is_gone);
    nothing_is_left();
}

static void outside_confirm_cancelled_lets_it_run_on(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    must_perform();
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE, true), VIR_ERR_OK);
    until_trace("1/6+4.1");
    it_runs_here(domain);
}

static void outside_a_client_that_is_lost_before_confirm_leaves_it_paused(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    must_perform();
    driver->session_ended(driver, OWN_NODE, SESSION);
    assert_true(fake_host_until(is_idle, domain));
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
    must("domain_resume", domain);
    it_runs_here(domain);
}

/* ---- Images that both hosts should see ---- */

static char image_dir[128], image_xml[512];

static struct fake_domain *run_with_image(void)
{
    char path[160];
    int fd;

    (void)snprintf(image_dir, sizeof(image_dir), "%s/images", fake.dir);
    assert_int_equal(mkdir(image_dir, 0755), 0);
    (void)snprintf(path, sizeof(path), "%s/vda", image_dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)snprintf(image_xml, sizeof(image_xml),
                   "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/>"
                   "<target dev='vda' bus='virtio'/></disk>", path);
    more_devices = image_xml;
    return run("");
}

static void outside_an_image_of_this_host_alone_is_unsafe(void **state)
{
    struct fake_domain *domain = run_with_image();

    (void)state;
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    assert_false(perform_call.is_answered); /* it is looked at aside */
    assert_int_equal(perform_code(), VIR_ERR_MIGRATE_UNSAFE);
    assert_non_null(strstr(perform_call.err.message, "Migration without shared storage is unsafe"));
    assert_string_equal(fake.trace, "");
    assert_true(is_idle(domain));
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_UNSAFE, 0);
    must_perform();
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE, true), VIR_ERR_OK);
    it_runs_here(domain);
}

/* A host that is in no cluster tells it in begin already. */
static void on_a_host_of_its_own_begin_tells_that_an_image_is_unsafe(void **state)
{
    struct fake_domain *domain = run_with_image();

    (void)state;
    memset(fake.cluster_id, 0, sizeof(fake.cluster_id));
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE, NULL), VIR_ERR_MIGRATE_UNSAFE);
    assert_int_equal(begin_call(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_UNSAFE, NULL), VIR_ERR_OK);
    it_runs_here(domain);
}

static void storage_that_hangs_holds_up_neither_the_loop_nor_the_stop(void **state)
{
    struct fake_domain *domain = run_with_image();
    uint64_t begin_ns;

    (void)state;
    if (!fake_dead_storage_begin(image_dir))
        skip();
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    assert_in_range(fake_host_slowest_turn(500), 0, 300);
    assert_false(perform_call.is_answered);
    must("domain_abort_job", domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    begin_ns = uv_hrtime();
    stop_driver();
    assert_in_range((uv_hrtime() - begin_ns) / 1000000, 0, 1000);
    assert_true(perform_call.is_answered);
    fake_dead_storage_end();
    start_driver();
    driver->recover(driver);
    driver->autostart(driver);
    it_runs_here(domain);
}

static void storage_that_does_not_answer_is_told(void **state)
{
    struct fake_domain *domain = run_with_image();

    (void)state;
    if (!fake_dead_storage_begin(image_dir))
        skip();
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_TIMEOUT);
    assert_string_equal(perform_call.err.message, "the file systems of the guest's images do not answer");
    fake_dead_storage_end();
    it_runs_here(domain);
}

/* ---- Encrypted ---- */

/* What QEMU was told of encryption, as its script notes it: "" when it was told nothing. */
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

static int count_said(const char *wanted)
{
    int n = 0;

    for (const char *at = said(); (at = strstr(at, wanted)) != NULL; at += strlen(wanted))
        n++;
    return n;
}

static void make_certificates(void)
{
    char dir[96], path[128];
    int fd;

    (void)snprintf(dir, sizeof(dir), "%s/pki", fake.dir);
    (void)mkdir(dir, 0755);
    (void)snprintf(path, sizeof(path), "%s/ca-cert.pem", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    (void)close(fd);
    vq_set_text(&qemu()->settings.migrate_tls.dir, dir);
}

static int n_removals;

static bool has_removed(void *data)
{
    (void)data;
    return count_said("object-del") == n_removals;
}

#define NOTE "note object-add object-del migrate-set-parameters\n"

static void to_a_daemon_outside_certificates_encrypt_if_asked(void **state)
{
    struct fake_domain *domain = run(NOTE);
    const char *added, *set;

    (void)state;
    make_certificates();
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, 0);
    must_perform();
    assert_int_equal(count_said("object-add"), 1);
    added = strstr(said(), "object-add");
    assert_non_null(strstr(added, "\"endpoint\":\"client\",\"id\":\"migrate-out\","
                                  "\"qom-type\":\"tls-creds-x509\",\"verify-peer\":true"));
    set = strstr(added, "migrate-set-parameters");
    assert_non_null(set);
    assert_non_null(strstr(set, "\"tls-creds\":\"migrate-out\",\"tls-hostname\":\"host2\""));
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, false), VIR_ERR_OK);
    assert_true(fake_host_until(has_ended, domain));
    nothing_is_left();
}

static void certificates_are_taken_back_when_it_stays(void **state)
{
    static const char *const scripts[] = { NOTE "outgoing setup active failed run\n",
                                           NOTE "outgoing setup active hang\n", NOTE };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(scripts); i++) {
        struct fake_domain *domain = run(scripts[i]);
        int before = count_said("object-del");

        make_certificates();
        begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, 0);
        if (i == 1) {
            until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
            must("domain_abort_job", domain);
        }
        if (i < 2) {
            assert_int_equal(perform_code(), i == 0 ? VIR_ERR_OPERATION_FAILED : VIR_ERR_OPERATION_ABORTED);
        } else {
            must_perform();
            assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, true), VIR_ERR_OK);
        }
        assert_true(fake_host_until(is_idle, domain));
        assert_int_equal(count_said("object-add"), (int)i + 1);
        n_removals = before + 2; /* what an earlier one may have left, and this one's */
        assert_true(fake_host_until(has_removed, NULL)); /* nobody waits for the answer */
        it_runs_here(domain);
    }
}

/* The certificates of a migration whose outcome never became known. */
static void certificates_that_were_left_do_not_stop_the_next_one(void **state)
{
    struct fake_domain *domain = run(NOTE);

    (void)state;
    make_certificates();
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, 0);
    must_perform();
    driver->session_ended(driver, OWN_NODE, SESSION);
    assert_true(fake_host_until(is_idle, domain));
    must("domain_resume", domain);
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0); /* in clear: nothing is left of it */
    must_perform();
    assert_non_null(strstr(strrchr(said(), '{'), "\"tls-creds\":\"\",\"tls-hostname\":\"\""));
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE, true), VIR_ERR_OK);
    assert_true(fake_host_until(is_idle, domain));
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, 0);
    must_perform();
    const char *rest = strstr(said(), "object-add") + 1;
    assert_true(strstr(rest, "object-del") < strstr(rest, "object-add"));
    assert_int_equal(confirm(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, true), VIR_ERR_OK);
    it_runs_here(domain);
}

/* So that no client takes the word of the destination, which knows less, for it. */
static void a_handshake_that_fails_has_a_code_of_its_own(void **state)
{
    struct fake_domain *domain = run("outgoing setup failed\n");

    (void)state;
    make_certificates();
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, 0);
    assert_int_equal(perform_code(), VIR_ERR_AUTH_FAILED);
    begin_perform_to(domain, VIR_MIGRATE_LIVE, 0); /* in clear there is none */
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    it_runs_here(domain);
}

static void a_certificate_that_qemu_refuses_leaves_it_untouched(void **state)
{
    struct fake_domain *domain = run("refuse object-add\n");

    (void)state;
    make_certificates();
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, 0);
    assert_int_equal(perform_code(), VIR_ERR_INTERNAL_ERROR);
    assert_non_null(strstr(perform_call.err.message, "the script refuses it"));
    assert_null(strstr(fake.trace, "3/")); /* it was never stopped */
    vq_set_text(&qemu()->settings.migrate_tls.dir, "/nonexistent");
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS, 0);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_INVALID);
    assert_non_null(strstr(perform_call.err.message, "/nonexistent/ca-cert.pem"));
    it_runs_here(domain);
}

/* ---- What is refused ---- */

static void what_changes_the_guest_is_refused_meanwhile(void **state)
{
    struct fake_domain *domain = run("outgoing setup active hang\n");

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    assert_int_equal(call("domain_reset", domain), VIR_ERR_OPERATION_TIMEOUT);
    assert_int_equal(call("domain_reboot", domain), VIR_ERR_OPERATION_TIMEOUT);
    assert_int_equal(call("domain_shutdown", domain), VIR_ERR_OPERATION_TIMEOUT);
    must("domain_get_job_info", domain);
    assert_int_equal(((const struct vq_remote_domain_get_job_info_ret *)(const void *)fake_ret)->type, VIR_DOMAIN_JOB_UNBOUNDED);
    assert_int_equal(((const struct vq_remote_domain_get_job_info_ret *)(const void *)fake_ret)->memTotal, 33554432);
    must("domain_suspend", domain);
    must("domain_destroy", domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    assert_non_null(strstr(perform_call.err.message, "was destroyed while it migrated"));
    nothing_is_left();
}

static void a_second_migration_is_refused(void **state)
{
    struct fake_domain *domain = run("outgoing setup active hang\n");
    struct vq_arena *arena;

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    arena = vq_take(perform_call.arena);
    struct call first = perform_call;
    begin_perform_to(domain, VIR_MIGRATE_LIVE, PEER_NODE);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_TIMEOUT);
    vq_arena_free(perform_call.arena);
    perform_call = first;
    perform_call.arena = arena;
    must("domain_abort_job", domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    it_runs_here(domain);
}

static void a_port_that_nobody_listens_on_is_told(void **state)
{
    struct fake_domain *domain = run("");
    char path[96];

    (void)state;
    data_path(path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    begin_perform(domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(perform_call.err.message, "unable to connect to server"));
    it_runs_here(domain);
}

static bool is_sent_or_answered(void *data)
{
    return perform_call.is_answered || is_sent(data);
}

static void a_monitor_that_is_lost_at_any_command_holds_nothing_up(void **state)
{
    int n_left = 0;

    (void)state;
    for (int n = 5; n < 16; n++) {
        char script[64];
        struct fake_domain *domain;

        (void)snprintf(script, sizeof(script), "at %d close\n", n);
        domain = run(script);
        begin_perform(domain);
        if (!fake_host_until(is_sent_or_answered, domain))
            fail_msg("at command %d: it is neither sent nor given up", n);
        if (perform_call.is_answered) {
            it_runs_here(domain);
        } else {
            peer_ends(domain, true);
            must_perform();
            it_has_left(domain);
            n_left++;
        }
        begin_anew();
    }
    assert_in_range(n_left, 1, 10);
}

static void a_uri_that_is_no_address_is_refused(void **state)
{
    static const char *const uris[] = { "exec:touch /tmp/x", "fd:3", "file:/tmp/x", "tcp:", "tcp:host,to=9:1", "tcp:ho st:1",
                                        "unix:relative", "rdma:host,x:1", "vsock:1:2", "/tmp/x", "" };
    struct fake_domain *domain = run("");

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(uris); i++) {
        perform_with(domain, VIR_MIGRATE_LIVE, 0, 0, uris[i]);
        assert_true(perform_call.is_answered);
        assert_int_equal(perform_call.err.code, VIR_ERR_INVALID_ARG);
        perform_with(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_PARALLEL, 0, 0, uris[i]);
        assert_int_equal(perform_call.err.code, VIR_ERR_INVALID_ARG);
    }
    it_runs_here(domain);
}

/* Taken for a committed one, it would end the guest. */
static void a_cookie_that_names_another_move_is_refused(void **state)
{
    struct fake_domain *domain = run("");
    uint64_t wrong[2];

    (void)state;
    enter_move(domain);
    wrong[0] = domain->info.run;
    wrong[1] = domain->info.moving_run - 1;
    for (size_t i = 0; i < VQ_N_ELEMENTS(wrong); i++) {
        perform_with(domain, VIR_MIGRATE_LIVE, PEER_NODE, wrong[i], "tcp:host:1");
        assert_int_equal(perform_code(), VIR_ERR_OPERATION_INVALID);
        driver->changed(driver, domain->info.uuid);
        assert_int_equal(guest_of(domain)->phase, VQ_GUEST_ACTIVE);
    }
    peer_ends(domain, false);
    it_runs_here(domain);
}

static void a_peer_that_is_not_reachable_is_told(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    enter_move(domain);
    fake.peer = NULL;
    begin_perform_to(domain, VIR_MIGRATE_LIVE, PEER_NODE);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    assert_null(strstr(fake.trace, "3/"));
    it_runs_here(domain);
}

/* ---- The daemon goes and comes back ---- */

static void come_back(void)
{
    start_driver();
    driver->recover(driver);
    driver->autostart(driver);
}

static void a_restart_while_it_is_sent_lets_it_run_on(void **state)
{
    struct fake_domain *domain = run("outgoing setup active hang\n");

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    stop_driver();
    assert_true(perform_call.is_answered);
    come_back();
    it_runs_here(domain);
}

static void a_restart_when_all_is_sent_is_judged_by_the_log(void **state)
{
    (void)state;
    for (int commit = 0; commit <= 1; commit++) {
        struct fake_domain *domain = run("");

        begin_perform(domain);
        assert_true(fake_host_until(is_sent, domain));
        stop_driver();
        if (commit == 1)
            peer_ends(domain, true);
        come_back();
        if (commit == 1)
            it_has_left(domain);
        else
            it_runs_here(domain);
        begin_anew();
    }
}

static bool was_refused(void *data)
{
    struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && vq_migrate_is_leaving(guest) && vq_leaving_of(guest)->n_refused == 1;
}

/* The destination's QEMU may hold the images for a moment. */
static void cpus_that_may_not_run_on_yet_do_it_later(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    stop_driver();
    use_script("refuse_first cont\n");
    come_back();
    assert_true(fake_host_until(was_refused, domain));
    it_runs_here(domain);
}

static void a_restart_with_a_state_that_is_too_old_waits_for_the_log(void **state)
{
    struct fake_domain *domain = run("");
    uint64_t move_run;

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    stop_driver();
    move_run = domain->info.moving_run;
    domain->info.moving_to = domain->info.moving_run = domain->info.last_move = 0; /* as before the move */
    fake.holds_proposals = true;
    start_driver();
    driver->recover(driver);
    for (int i = 0; i < 50; i++) {
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
    domain->info.moving_to = PEER_NODE;
    domain->info.moving_run = domain->info.last_move = move_run;
    fake.holds_proposals = false;
    peer_ends(domain, true);
    fake_release_proposals();
    it_has_left(domain);
}

static void a_restart_with_a_state_without_the_domain_waits_for_the_log(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    stop_driver();
    domain->is_gone = true; /* as before it was defined; or it has ended at the peer */
    fake.holds_proposals = true;
    start_driver();
    driver->recover(driver);
    for (int i = 0; i < 50; i++) {
        driver->changed(driver, domain->info.uuid);
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
    fake_release_proposals(); /* refused: the state is not too old */
    assert_true(fake_host_until(has_ended, domain));
    assert_null(strstr(fake.trace, "5/"));
    nothing_is_left();
}

static void a_domain_that_ended_at_the_peer_before_the_commit_was_seen_is_let_go(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    begin_perform(domain);
    assert_true(fake_host_until(is_sent, domain));
    domain->is_gone = true;
    driver->changed(driver, domain->info.uuid);
    must_perform();
    assert_true(fake_host_until(has_ended, domain));
    assert_null(strstr(fake.trace, "5/"));
    nothing_is_left();
}

static void a_restart_after_qemu_has_died_is_judged_by_the_log(void **state)
{
    (void)state;
    for (int commit = 0; commit <= 1; commit++) {
        struct fake_domain *domain = run("");
        pid_t pid;

        begin_perform(domain);
        assert_true(fake_host_until(is_sent, domain));
        pid = guest_of(domain)->pid;
        stop_driver();
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        start_driver();
        driver->recover(driver);
        assert_non_null(guest_of(domain));
        peer_ends(domain, commit == 1);
        assert_true(fake_host_until(has_ended, domain));
        assert_int_equal(domain->info.owner, commit == 1 ? PEER_NODE : OWN_NODE);
        assert_int_equal(strstr(fake.trace, "5/3+5.5") != NULL, commit == 0);
        nothing_is_left();
        begin_anew();
    }
}

/* ---- Post-copy ---- */

#define POSTCOPY_SCRIPT "outgoing setup active stop pre-switchover hold postcopy-active wait completed\n"

static void begin_postcopy(struct fake_domain *domain)
{
    enter_move(domain);
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_POSTCOPY, PEER_NODE);
}

static void run_loop_ms(int ms)
{
    for (int i = 0; i < ms / 10; i++) {
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
}

static bool serves(void *data)
{
    struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->phase == VQ_GUEST_ACTIVE && vq_leaving_serves(guest) &&
           vq_leaving_of(guest)->qemu == VQ_LEAVING_QEMU_POSTCOPY;
}

static bool has_failed(void *data)
{
    struct vq_qemu_guest *guest = guest_of(data);

    return guest != NULL && guest->phase == VQ_GUEST_ACTIVE && guest->migration != NULL &&
           guest->migration->stage == VQ_MIGRATE_POSTCOPY_FAILED && vq_leaving_of(guest)->qemu == VQ_LEAVING_QEMU_PAUSED;
}

static void it_ends_there(struct fake_domain *domain)
{
    domain->info.id = -1;
    driver->changed(driver, domain->info.uuid);
}

static void with_the_flag_the_commit_comes_before_the_switch(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    fake.holds_proposals = true;
    begin_postcopy(domain);
    until_status(domain, VQ_LEAVING_QEMU_PRE_SWITCHOVER);
    run_loop_ms(200);
    assert_int_equal(vq_leaving_of(guest_of(domain))->qemu, VQ_LEAVING_QEMU_PRE_SWITCHOVER); /* it was not told to go on */
    assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
    assert_int_equal(call("domain_migrate_start_post_copy", domain), VIR_ERR_OPERATION_INVALID);
    fake_release_proposals();
    must_perform();
    assert_string_equal(fake.trace, "event20 3/2+3.1 commit event21 ");
    it_has_left(domain);
}

static void the_commit_of_the_source_brings_the_new_name(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    wanted_name = "other";
    begin_postcopy(domain);
    must_perform();
    assert_string_equal(domain->name, "other");
    assert_non_null(strstr(domain->xml, "<name>other</name>"));
    it_has_left(domain);
}

static void pages_are_served_until_all_are_there(void **state)
{
    struct fake_domain *domain =
        run("outgoing setup active wait stop pre-switchover hold postcopy-active wait wait completed\n");

    (void)state;
    begin_postcopy(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    must("domain_migrate_start_post_copy", domain);
    let_it_go_on();
    assert_true(fake_host_until(serves, domain));
    let_it_wait_again();
    assert_string_equal(fake.trace, "3/12+3.7 commit ");
    assert_int_equal(domain->info.owner, PEER_NODE);
    driver->session_ended(driver, OWN_NODE, SESSION);
    driver->session_ended(driver, PEER_NODE, 0);
    assert_int_equal(call("domain_abort_job", domain), VIR_ERR_OPERATION_INVALID);
    assert_int_equal(call("domain_migrate_start_post_copy", domain), VIR_ERR_OPERATION_INVALID);
    run_loop_ms(100);
    assert_true(serves(domain));
    assert_false(perform_call.is_answered);
    let_it_go_on();
    must_perform();
    assert_true(perform_call.cookie_length > 0);
    it_has_left(domain);
}

static void post_copy_is_started_only_where_it_can_be(void **state)
{
    struct fake_domain *domain = run("outgoing setup active hang\n");

    (void)state;
    assert_int_equal(call("domain_migrate_start_post_copy", domain), VIR_ERR_OPERATION_INVALID);
    call_init(&other_call, domain);
    vq_migrate_resume_begin(&other_call.request, begun, &other_call);
    assert_int_equal(other_call.err.code, VIR_ERR_OPERATION_INVALID); /* it is the destination that can be resumed */
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    assert_int_equal(call("domain_migrate_start_post_copy", domain), VIR_ERR_OPERATION_INVALID);
    assert_non_null(strstr(fake_error.message, "VIR_MIGRATE_POSTCOPY flag"));
    must("domain_abort_job", domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    begin_perform_to(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_POSTCOPY, 0);
    until_status(domain, VQ_LEAVING_QEMU_ACTIVE);
    assert_int_equal(call("domain_migrate_start_post_copy", domain), VIR_ERR_OPERATION_UNSUPPORTED);
    must("domain_abort_job", domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_ABORTED);
    it_runs_here(domain);
}

static void a_commit_that_the_log_refuses_lets_it_run_on(void **state)
{
    struct fake_domain *domain = run(POSTCOPY_SCRIPT);

    (void)state;
    (void)vq_error_set_from(&fake.refusal, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_FAILED, "node 2 is no member");
    begin_postcopy(domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    assert_string_equal(perform_call.err.message, "node 2 is no member");
    assert_null(strstr(fake.trace, "commit"));
    it_runs_here(domain);
}

static void a_commit_of_unknown_fate_keeps_it_paused_until_the_log_says(void **state)
{
    (void)state;
    for (int entered = 0; entered <= 1; entered++) {
        struct fake_domain *domain = run("");

        fake.loses_quorum = true;
        begin_postcopy(domain);
        until_status(domain, VQ_LEAVING_QEMU_PRE_SWITCHOVER);
        while (fake.loses_quorum)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
        (void)vq_error_set_from(&fake.refusal, VIR_FROM_NONE, VIR_ERR_OPERATION_INVALID, "1 of 3 voters reachable");
        run_loop_ms(300);
        assert_int_equal(guest_of(domain)->state, VIR_DOMAIN_PAUSED);
        assert_int_equal(vq_leaving_of(guest_of(domain))->qemu, VQ_LEAVING_QEMU_PRE_SWITCHOVER);
        fake.has_quorum = true;
        if (entered == 1)
            peer_ends(domain, true); /* the first one, as it turns out */
        must_perform();
        it_has_left(domain);
        begin_anew();
    }
}

static void a_cancel_races_the_commit_and_the_log_decides(void **state)
{
    (void)state;
    for (int commit = 0; commit <= 1; commit++) {
        struct fake_domain *domain = run("");

        fake.holds_proposals = true;
        begin_postcopy(domain);
        until_status(domain, VQ_LEAVING_QEMU_PRE_SWITCHOVER);
        must("domain_abort_job", domain);
        fake.holds_proposals = false;
        if (commit == 0)
            peer_ends(domain, false);
        fake_release_proposals();
        assert_int_equal(perform_code(), commit == 1 ? VIR_ERR_OK : VIR_ERR_OPERATION_ABORTED);
        if (commit == 1)
            it_has_left(domain);
        else
            it_runs_here(domain);
        begin_anew();
    }
}

static void a_stream_that_breaks_before_the_commit_leaves_it_running_here(void **state)
{
    struct fake_domain *domain = run("outgoing setup active failed\n");

    (void)state;
    begin_postcopy(domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    assert_null(strstr(fake.trace, "commit"));
    it_runs_here(domain);
}

static void a_qemu_that_fails_after_the_commit_is_ended_at_once(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold device failed\n");

    (void)state;
    begin_postcopy(domain);
    must_perform(); /* whether it runs there is told by finish */
    assert_null(strstr(fake.trace, "1/6"));
    it_has_left(domain);
}

static void post_copy_that_fails_keeps_the_memory_until_the_guest_has_ended(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold postcopy-active postcopy-paused hang\n");

    (void)state;
    begin_postcopy(domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    assert_string_equal(perform_call.err.message, "migration out job: post-copy failed");
    assert_true(has_failed(domain));
    driver->changed(driver, domain->info.uuid);
    stop_driver();
    come_back();
    assert_true(fake_host_until(has_failed, domain));
    it_ends_there(domain);
    it_has_left(domain);
}

/* The node that the guest runs on asks for the rest of its memory. */
static bool resume_answered;
static struct vq_error resume_err;

static void resume_complete(struct vq_request *request, const struct vq_error *err)
{
    (void)request;
    assert_false(resume_answered);
    resume_answered = true;
    resume_err = err != NULL ? *err : VQ_ERROR_INIT;
}

static int resume_from(struct fake_domain *domain, uint64_t node, uint64_t move_run)
{
    const struct vq_caller asker = { .entry_node = node };
    struct vq_node_migrate_resume_args args = { .run = move_run };
    struct vq_request request = { .procedure = vq_procedure_find_by_name(VQ_PROGRAM_NODE, "migrate_resume"), .args = &args,
                                  .caller = &asker, .driver = driver, .complete = resume_complete };
    char path[96], uri[128];
    size_t i = 0;

    data_path(path, sizeof(path));
    (void)snprintf(uri, sizeof(uri), "unix://%s", path);
    args.uri = uri;
    memcpy(args.uuid, domain->info.uuid, sizeof(args.uuid));
    fake_peer_init(&peer, PEER_NODE, "node2", peer_answers, NULL);
    fake.peer = &peer.peer;
    while (driver->rows[i].program != VQ_PROGRAM_NODE || driver->rows[i].number != VQ_NODE_MIGRATE_RESUME)
        i++;
    resume_answered = false;
    request.arena = vq_arena_new(0);
    driver->rows[i].fn(&request);
    assert_true(fake_host_until(is_true, &resume_answered));
    vq_arena_free(request.arena);
    return resume_err.code;
}

static void post_copy_that_has_failed_goes_on_when_the_peer_asks_for_it(void **state)
{
    static const char *const scripts[] = {
        "outgoing setup active stop pre-switchover hold postcopy-active postcopy-paused hang\n"
        "resumed postcopy-recover postcopy-active wait completed\n",
        "outgoing setup active stop pre-switchover hold postcopy-active hang\n" /* the peer saw it, and we did not */
        "resumed postcopy-recover postcopy-active wait completed\n",
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(scripts); i++) {
        struct fake_domain *domain = run(scripts[i]);
        uint64_t move_run;

        begin_postcopy(domain);
        move_run = domain->info.moving_run;
        assert_true(fake_host_until(i == 0 ? has_failed : serves, domain));
        assert_int_equal(resume_from(domain, PEER_NODE + 1, move_run), VIR_ERR_OPERATION_INVALID);
        assert_int_equal(resume_from(domain, PEER_NODE, move_run - 1), VIR_ERR_OPERATION_INVALID);
        assert_int_equal(resume_from(domain, PEER_NODE, move_run), VIR_ERR_OK);
        assert_string_equal(peer.calls, "migrate_key ");
        assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED); /* the first one, long over */
        assert_true(fake_host_until(serves, domain));
        assert_int_equal(guest_of(domain)->migration->stage, VQ_MIGRATE_POSTCOPY);
        let_it_go_on();
        it_has_left(domain);
        begin_anew();
    }
}

static void resuming_that_fails_keeps_the_memory(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold postcopy-active postcopy-paused hang\n"
                                     "resumed postcopy-recover postcopy-active completed\n");
    uint64_t move_run;
    char path[96];

    (void)state;
    begin_postcopy(domain);
    move_run = domain->info.moving_run;
    assert_true(fake_host_until(has_failed, domain));
    (void)setenv("VQ_FAILPOINTS", "qemu.migrate.out.resume=error", 1);
    assert_int_equal(resume_from(domain, PEER_NODE, move_run), VIR_ERR_INTERNAL_ERROR);
    (void)unsetenv("VQ_FAILPOINTS");
    assert_true(has_failed(domain));
    data_path(path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(resume_from(domain, PEER_NODE, move_run), VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(resume_err.message, "unable to connect"));
    assert_true(has_failed(domain));
    (void)close(listener);
    listen_for_data();
    assert_int_equal(resume_from(domain, PEER_NODE, move_run), VIR_ERR_OK);
    it_has_left(domain);
}

/* A store that is filled again passes through states without the domain. */
static void a_state_without_the_domain_counts_when_it_is_known_to_be_new(void **state)
{
    struct fake_domain *domain = run(POSTCOPY_SCRIPT);

    (void)state;
    begin_postcopy(domain);
    assert_true(fake_host_until(serves, domain));
    stop_driver();
    domain->is_gone = true;
    fake.holds_proposals = true;
    come_back();
    assert_true(fake_host_until(serves, domain));
    driver->changed(driver, domain->info.uuid);
    run_loop_ms(100);
    assert_true(serves(domain));
    fake_release_proposals();
    assert_true(fake_host_until(has_ended, domain));
    nothing_is_left();
}

static void a_qemu_that_dies_while_it_serves_is_told(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold postcopy-active die\n");

    (void)state;
    begin_postcopy(domain);
    assert_int_equal(perform_code(), VIR_ERR_OPERATION_FAILED);
    it_has_left(domain);
}

static void a_restart_while_it_serves_goes_on_serving(void **state)
{
    struct fake_domain *domain = run(POSTCOPY_SCRIPT);

    (void)state;
    begin_postcopy(domain);
    assert_true(fake_host_until(serves, domain));
    stop_driver();
    come_back();
    assert_true(fake_host_until(serves, domain));
    run_loop_ms(100);
    assert_true(serves(domain));
    let_it_go_on();
    it_has_left(domain);
}

static void a_restart_while_the_commit_is_open_is_judged_by_the_log(void **state)
{
    (void)state;
    for (int commit = 0; commit <= 1; commit++) {
        struct fake_domain *domain = run(POSTCOPY_SCRIPT);

        fake.loses_quorum = true;
        begin_postcopy(domain);
        until_status(domain, VQ_LEAVING_QEMU_PRE_SWITCHOVER);
        while (fake.loses_quorum)
            (void)uv_run(&fake.loop, UV_RUN_ONCE);
        stop_driver();
        fake.has_quorum = true;
        if (commit == 1)
            peer_ends(domain, true);
        come_back();
        if (commit == 1) {
            assert_true(fake_host_until(serves, domain));
            let_it_go_on();
            it_has_left(domain);
        } else {
            it_runs_here(domain);
        }
        begin_anew();
    }
}

/* ---- Each step ---- */

static void a_failure_at_any_step_is_undone(void **state)
{
    static const char *const points[] = { "qemu.migrate.out.record", "qemu.migrate.out.key", "qemu.migrate.out.tell",
                                          "qemu.migrate.out.connect", "qemu.migrate.out.send",
                                          "qemu.migrate.out.switch" };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(points); i++) {
        struct fake_domain *domain = run("");
        char setting[128];

        (void)snprintf(setting, sizeof(setting), "%s=error", points[i]);
        (void)setenv("VQ_FAILPOINTS", setting, 1);
        begin_perform(domain);
        assert_int_equal(perform_code(), VIR_ERR_INTERNAL_ERROR);
        (void)unsetenv("VQ_FAILPOINTS");
        it_runs_here(domain);
        begin_anew();
    }
}

static void a_failure_after_all_was_sent_asks_the_log(void **state)
{
    struct fake_domain *domain = run("");

    (void)state;
    (void)setenv("VQ_FAILPOINTS", "qemu.migrate.out.outcome=error", 1);
    begin_perform(domain);
    assert_int_equal(perform_code(), VIR_ERR_INTERNAL_ERROR);
    (void)unsetenv("VQ_FAILPOINTS");
    assert_non_null(strstr(fake.trace, "cancel "));
    it_runs_here(domain);
}

static void a_commit_that_is_quicker_than_a_failure_counts(void **state)
{
    struct fake_domain *domain = run("outgoing setup active stop pre-switchover hold device wait completed\n");

    (void)state;
    begin_perform(domain);
    until_status(domain, VQ_LEAVING_QEMU_DEVICE);
    (void)setenv("VQ_FAILPOINTS", "qemu.migrate.out.outcome=error", 1);
    fake.holds_proposals = true;
    let_it_go_on();
    assert_true(fake_host_until(is_sent, domain));
    while (!vq_leaving_of(guest_of(domain))->is_asking)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    (void)unsetenv("VQ_FAILPOINTS");
    fake.holds_proposals = false;
    peer_ends(domain, true);
    fake_release_proposals();
    must_perform();
    it_has_left(domain);
}

/* Run the departure in a child that dies at the failure point; then recover here, with the log as it would be. */
static void die_at(const char *point, bool is_committed, uint64_t flags)
{
    struct fake_domain *domain = run("");
    int status;
    pid_t child;

    enter_move(domain);
    stop_driver();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        char setting[128];

        (void)snprintf(setting, sizeof(setting), "%s=crash", point);
        (void)setenv("VQ_FAILPOINTS", setting, 1);
        (void)uv_loop_init(&fake.loop);
        come_back();
        (void)fake_host_until(is_idle, domain);
        begin_perform_to(domain, VIR_MIGRATE_LIVE | flags, PEER_NODE);
        (void)fake_host_until(is_sent, domain);
        if (is_committed)
            peer_ends(domain, true);
        (void)fake_host_until(is_answered, &perform_call);
        _exit(77);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        fail_msg("failure point %s was never reached", point);
    if (is_committed) {
        domain->info.owner = PEER_NODE;
        domain->info.run = domain->info.moving_run;
        domain->info.moving_to = domain->info.moving_run = 0;
    }
    fake.trace[0] = '\0';
    come_back();
    if (is_committed)
        it_has_left(domain);
    else if (guest_of(domain)->migration != NULL)
        it_runs_here(domain);
    else { /* it had not begun as far as this node knows: the destination ends the move */
        assert_true(fake_host_until(is_idle, domain));
        peer_ends(domain, false);
        it_runs_here(domain);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void a_daemon_that_dies_at_any_step_leaves_one_owner_and_nothing_else(void **state)
{
    static const struct {
        const char *point;
        bool is_committed;
        uint64_t flags;
    } rows[] = {
        { "qemu.migrate.out.record", false, 0 },  { "qemu.migrate.out.key", false, 0 },
        { "qemu.migrate.out.tell", false, 0 },    { "qemu.migrate.out.connect", false, 0 },
        { "qemu.migrate.out.send", false, 0 },    { "qemu.migrate.out.switch", false, 0 },
        { "qemu.migrate.out.outcome", false, 0 }, { "qemu.migrate.out.over", true, 0 },
        { "qemu.migrate.out.decide", false, VIR_MIGRATE_POSTCOPY }, { "qemu.migrate.out.commit", true, VIR_MIGRATE_POSTCOPY },
        { "qemu.migrate.out.serve", true, VIR_MIGRATE_POSTCOPY },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        die_at(rows[i].point, rows[i].is_committed, rows[i].flags);
        begin_anew();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_guest_that_was_sent_is_let_go_when_the_log_says_so),
        TEST(the_logs_word_may_come_before_qemus),
        TEST(viewers_that_were_told_get_time_to_follow),
        TEST(viewers_that_do_not_follow_or_cannot_be_told_stop_nothing),
        TEST(while_the_outcome_is_unknown_it_stays_paused),
        TEST(a_peer_that_gives_up_lets_it_run_on),
        TEST(a_peer_that_gives_up_while_it_is_sent_lets_it_run_on),
        TEST(a_qemu_that_fails_is_not_told_to_run),
        TEST(a_cancel_at_any_stage_leaves_it_running_here),
        TEST(a_cancel_that_comes_after_the_commit_changes_nothing),
        TEST(without_a_quorum_a_cancel_waits_for_the_log),
        TEST(the_end_of_the_clients_connection_cancels),
        TEST(a_client_that_goes_away_when_all_is_sent_stops_nothing),
        TEST(a_peer_that_is_lost_while_it_is_sent_ends_it),
        TEST(a_peer_that_is_lost_when_all_is_sent_gets_time_to_take_it),
        TEST(a_switch_over_or_an_outcome_that_does_not_come_asks_the_log_for_a_cancel),
        TEST(the_deadline_leaves_room_for_the_downtime_that_was_allowed),
        TEST(outside_a_switch_over_that_does_not_end_lets_it_run_on),
        TEST(a_qemu_that_dies_before_all_was_sent_is_this_nodes_loss),
        TEST(a_qemu_that_dies_when_all_was_sent_is_judged_by_the_log),
        TEST(begin_tells_what_goes_and_changes_nothing),
        TEST(a_change_is_refused_between_begin_and_perform_if_asked),
        TEST(what_was_begun_ends_with_confirm_or_with_the_client),
        TEST(a_cancel_between_begin_and_perform_ends_it),
        TEST(a_definition_of_the_callers_must_look_the_same_to_the_guest),
        TEST(a_persistent_definition_of_the_callers_must_look_the_same_to_the_guest),
        TEST(a_guest_that_waits_for_its_disk_is_refused_unless_forced),
        TEST(outside_confirm_ends_it),
        TEST(outside_perform_tells_the_numbers),
        TEST(outside_perform_tells_that_disks_were_copied),
        TEST(outside_confirm_undefines_it_if_asked),
        TEST(outside_confirm_cancelled_lets_it_run_on),
        TEST(outside_a_client_that_is_lost_before_confirm_leaves_it_paused),
        TEST(outside_an_image_of_this_host_alone_is_unsafe),
        TEST(on_a_host_of_its_own_begin_tells_that_an_image_is_unsafe),
        TEST(storage_that_hangs_holds_up_neither_the_loop_nor_the_stop),
        TEST(storage_that_does_not_answer_is_told),
        TEST(to_a_daemon_outside_certificates_encrypt_if_asked),
        TEST(certificates_are_taken_back_when_it_stays),
        TEST(certificates_that_were_left_do_not_stop_the_next_one),
        TEST(a_handshake_that_fails_has_a_code_of_its_own),
        TEST(a_certificate_that_qemu_refuses_leaves_it_untouched),
        TEST(what_changes_the_guest_is_refused_meanwhile),
        TEST(a_second_migration_is_refused),
        TEST(a_port_that_nobody_listens_on_is_told),
        TEST(a_monitor_that_is_lost_at_any_command_holds_nothing_up),
        TEST(a_uri_that_is_no_address_is_refused),
        TEST(a_cookie_that_names_another_move_is_refused),
        TEST(a_peer_that_is_not_reachable_is_told),
        TEST(a_restart_while_it_is_sent_lets_it_run_on),
        TEST(a_restart_when_all_is_sent_is_judged_by_the_log),
        TEST(cpus_that_may_not_run_on_yet_do_it_later),
        TEST(a_restart_with_a_state_that_is_too_old_waits_for_the_log),
        TEST(a_restart_with_a_state_without_the_domain_waits_for_the_log),
        TEST(a_domain_that_ended_at_the_peer_before_the_commit_was_seen_is_let_go),
        TEST(a_restart_after_qemu_has_died_is_judged_by_the_log),
        TEST(with_the_flag_the_commit_comes_before_the_switch),
        TEST(the_commit_of_the_source_brings_the_new_name),
        TEST(pages_are_served_until_all_are_there),
        TEST(post_copy_is_started_only_where_it_can_be),
        TEST(a_commit_that_the_log_refuses_lets_it_run_on),
        TEST(a_commit_of_unknown_fate_keeps_it_paused_until_the_log_says),
        TEST(a_cancel_races_the_commit_and_the_log_decides),
        TEST(a_stream_that_breaks_before_the_commit_leaves_it_running_here),
        TEST(a_qemu_that_fails_after_the_commit_is_ended_at_once),
        TEST(post_copy_that_fails_keeps_the_memory_until_the_guest_has_ended),
        TEST(post_copy_that_has_failed_goes_on_when_the_peer_asks_for_it),
        TEST(resuming_that_fails_keeps_the_memory),
        TEST(a_state_without_the_domain_counts_when_it_is_known_to_be_new),
        TEST(a_qemu_that_dies_while_it_serves_is_told),
        TEST(a_restart_while_it_serves_goes_on_serving),
        TEST(a_restart_while_the_commit_is_open_is_judged_by_the_log),
        TEST(a_failure_at_any_step_is_undone),
        TEST(a_failure_after_all_was_sent_asks_the_log),
        TEST(a_commit_that_is_quicker_than_a_failure_counts),
        TEST(a_daemon_that_dies_at_any_step_leaves_one_owner_and_nothing_else),
    };

    vq_log_level = getenv("VQ_TEST_LOG") != NULL ? VQ_LOG_DEBUG : VQ_LOG_ERROR;
    cmocka_set_test_filter(getenv("VQ_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
