/* See fake_host.h. */
#include "tests/driver/fake_host.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "conf/base/text.h"
#include "proto/cluster.pb-c.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

struct fake_host fake;
struct vq_error fake_error;
uint8_t fake_ret[4096];

static void trace(const char *fmt, ...) VQ_PRINTF(1, 2);
static void trace(const char *fmt, ...)
{
    size_t length = strlen(fake.trace);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(fake.trace + length, sizeof(fake.trace) - length, fmt, args);
    va_end(args);
}

static struct fake_domain *find(const uint8_t uuid[16])
{
    for (size_t i = 0; i < fake.n_domains; i++)
        if (!fake.domains[i].is_gone && memcmp(fake.domains[i].info.uuid, uuid, 16) == 0)
            return &fake.domains[i];
    return NULL;
}

/* ---- proposals: answered a turn later ---- */

struct proposal {
    uv_timer_t timer;
    vq_propose_cb cb;
    void *data;
    struct vq_proposal_result result;
};

static void proposal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void proposal_due(uv_timer_t *timer)
{
    struct proposal *proposal = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    if (fake.loses_quorum) {
        fake.has_quorum = fake.loses_quorum = false;
        (void)vq_error_set_from(&err, VIR_FROM_NONE, VIR_ERR_OPERATION_TIMEOUT, "whether the change was made is unknown");
        proposal->cb(NULL, &err, proposal->data);
        uv_close((uv_handle_t *)timer, proposal_closed);
        return;
    }
    proposal->cb(&proposal->result, NULL, proposal->data);
    uv_close((uv_handle_t *)timer, proposal_closed);
}

static void propose(Vq__Command *command, uint64_t timeout_ms, vq_propose_cb cb, void *data)
{
    struct proposal *proposal = vq_new(struct proposal);

    (void)timeout_ms;
    assert(command->change_case == VQ__COMMAND__CHANGE_DOMAIN_RUN);
    proposal->cb = cb;
    proposal->data = data;
    proposal->result.number = ++fake.next_run;
    proposal->result.id = (int32_t)fake.next_run;
    (void)uv_timer_init(&fake.loop, &proposal->timer);
    proposal->timer.data = proposal;
    (void)uv_timer_start(&proposal->timer, proposal_due, 1, 0);
}

static bool has_quorum(void)
{
    return fake.has_quorum;
}

static void local_run(const uint8_t uuid[16], uint64_t *ret_run, int32_t *ret_id)
{
    (void)uuid;
    *ret_run = ++fake.next_run;
    *ret_id = (int32_t)fake.next_run + 1000;
}

/* ---- reports ---- */

static void publish(struct vq_driver *driver, const struct vq_state_report *report)
{
    struct fake_domain *domain = find(report->uuid);

    (void)driver;
    trace("%d/%d", report->state, report->reason);
    for (unsigned i = 0; i < report->n_events; i++)
        trace("+%d.%d", report->events[i].event, report->events[i].detail);
    trace(" ");
    if (domain == NULL)
        return;
    domain->info.state = report->state;
    domain->info.reason = report->reason;
    domain->info.id = report->id;
    domain->info.run = report->run;
    domain->is_gone = report->gone;
}

static void emit(struct vq_driver *driver, const uint8_t uuid[16], const char *name, int32_t id, int event_id,
                 const struct vq_xdr_struct *type, const void *value)
{
    (void)driver;
    (void)uuid;
    (void)name;
    (void)id;
    (void)type;
    (void)value;
    if (event_id >= 0)
        trace("event%d ", event_id);
}

static void each_own_domain(struct vq_driver *driver, void (*cb)(const struct vq_domain_info *info, void *data),
                            void *data)
{
    (void)driver;
    for (size_t i = 0; i < fake.n_domains; i++)
        if (!fake.domains[i].is_gone)
            cb(&fake.domains[i].info, data);
}

static bool domain_find(const uint8_t uuid[16], bool with_xml, struct vq_arena *arena, struct vq_domain_info *ret)
{
    const struct fake_domain *domain = find(uuid);

    (void)arena;
    if (domain == NULL)
        return false;
    *ret = domain->info;
    ret->xml = with_xml ? domain->xml : NULL;
    return true;
}

/* ---- records: a file each, "<dir>/records/<table>:<key in hex>" ---- */

static void record_path(char *path, size_t size, const char *table, const void *key, size_t key_length)
{
    int n = snprintf(path, size, "%s/records/%s:", fake.dir, table);

    for (size_t i = 0; i < key_length; i++)
        n += snprintf(path + n, size - (size_t)n, "%02x", ((const uint8_t *)key)[i]);
}

static int record_put(const char *table, const void *key, size_t key_length, const void *value, size_t length,
                      struct vq_error *err)
{
    char path[512], temporary[520];
    int fd;

    record_path(path, sizeof(path), table, key, key_length);
    (void)snprintf(temporary, sizeof(temporary), "%s.new", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, value, length) != (ssize_t)length || close(fd) < 0 || rename(temporary, path) < 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot write record");
    return 0;
}

static int record_delete(const char *table, const void *key, size_t key_length, struct vq_error *err)
{
    char path[512];

    (void)err;
    record_path(path, sizeof(path), table, key, key_length);
    (void)unlink(path);
    return 0;
}

static size_t unhex(const char *text, uint8_t *bytes, size_t size)
{
    size_t n = 0;
    unsigned byte;

    while (n < size && sscanf(text + 2 * n, "%2x", &byte) == 1)
        bytes[n++] = (uint8_t)byte;
    return n;
}

static int record_each(const char *table, int (*cb)(const void *key, size_t key_length, const void *value, size_t length,
                                                    void *data),
                       void *data, struct vq_error *err)
{
    char path[512], prefix[128];
    struct dirent *entry;
    int rc = 0;
    DIR *dir;

    (void)err;
    (void)snprintf(path, sizeof(path), "%s/records", fake.dir);
    (void)snprintf(prefix, sizeof(prefix), "%s:", table);
    dir = opendir(path);
    while (rc == 0 && dir != NULL && (entry = readdir(dir)) != NULL) {
        static char value[65536];
        uint8_t key[64];
        ssize_t length;
        int fd;

        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || strstr(entry->d_name, ".new") != NULL)
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        length = read(fd, value, sizeof(value));
        (void)close(fd);
        rc = cb(key, unhex(entry->d_name + strlen(prefix), key, sizeof(key)), value, (size_t)length, data);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return rc;
}

static uint64_t time_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void random_bytes(void *bytes, size_t length)
{
    assert(getrandom(bytes, length, 0) == (ssize_t)length);
}

/* ---- set-up ---- */

static const char *sub_dir(const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", fake.dir, name);
    (void)mkdir(path, 0755);
    return strdup(path);
}

void fake_host_init(bool again)
{
    char dir[64];

    (void)snprintf(dir, sizeof(dir), "%s", fake.dir);
    memset(&fake, 0, sizeof(fake));
    (void)snprintf(fake.dir, sizeof(fake.dir), "%s", again ? dir : "/tmp/vq-driver-XXXXXX");
    assert(again || mkdtemp(fake.dir) != NULL);
    assert(uv_loop_init(&fake.loop) == 0);
    fake.has_quorum = true;
    fake.next_run = again ? 100 : 0;
    free((void *)(uintptr_t)sub_dir("records"));
    fake.host = (struct vq_driver_host){
        .loop = &fake.loop, .node_id = 1, .node_name = "node1", .run_dir = sub_dir("run"), .state_dir = sub_dir("lib"),
        .log_dir = sub_dir("log"), .config_dir = sub_dir("etc"), .boot_id = "this-boot", .propose = propose,
        .has_quorum = has_quorum, .publish = publish, .emit = emit, .each_own_domain = each_own_domain,
        .domain_find = domain_find, .local_run = local_run, .record_put = record_put, .record_delete = record_delete,
        .record_each = record_each, .time_ms = time_ms, .random = random_bytes,
    };
}

void fake_host_done(bool remove_files)
{
    char command[128];

    (void)uv_run(&fake.loop, UV_RUN_DEFAULT);
    assert(uv_loop_close(&fake.loop) == 0);
    for (size_t i = 0; i < fake.n_domains; i++) {
        free(fake.domains[i].name);
        free(fake.domains[i].xml);
    }
    free((void *)(uintptr_t)fake.host.run_dir);
    free((void *)(uintptr_t)fake.host.state_dir);
    free((void *)(uintptr_t)fake.host.log_dir);
    free((void *)(uintptr_t)fake.host.config_dir);
    (void)snprintf(command, sizeof(command), "rm -rf %s", fake.dir);
    if (remove_files)
        assert(system(command) == 0);
}

const char *fake_uuid_prefix(void)
{
    static char prefix[VQ_UUID_TEXT];

    if (prefix[0] == '\0') {
        unsigned pid = (unsigned)getpid();

        (void)snprintf(prefix, sizeof(prefix), "c7a5fdbd-edaf-9455-%04x-%04x6db180", pid >> 16, pid & 0xffff);
    }
    return prefix;
}

struct fake_domain *fake_domain_add(const char *name, const char *xml, bool persistent)
{
    struct fake_domain *domain = &fake.domains[fake.n_domains++];
    char uuid[VQ_UUID_TEXT];

    domain->name = strdup(name);
    domain->xml = strdup(xml);
    domain->info = (struct vq_domain_info){ .name = domain->name, .id = -1, .owner = 1, .generation = 1,
                                            .flags = persistent ? VQ_INFO_PERSISTENT : 0, .state = VIR_DOMAIN_SHUTOFF,
                                            .vcpus = 1, .max_vcpus = 1 };
    (void)snprintf(uuid, sizeof(uuid), "%s%02zx", fake_uuid_prefix(), fake.n_domains);
    assert(vq_uuid_parse(uuid, domain->info.uuid));
    return domain;
}

static void give_up(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

bool fake_host_until(bool (*condition)(void *data), void *data)
{
    uv_timer_t *timer = vq_new(uv_timer_t);
    bool is_late = false;

    (void)uv_timer_init(&fake.loop, timer);
    timer->data = &is_late;
    (void)uv_timer_start(timer, give_up, 20000, 0);
    while (!condition(data) && !is_late)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)timer, timer_closed);
    (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
    return !is_late;
}

/* ---- streams ---- */

struct vq_stream fake_stream;

static struct vq_stream *open_stream(struct vq_request *request, const struct vq_stream_callbacks *callbacks, void *data)
{
    (void)request;
    memset(&fake_stream, 0, sizeof(fake_stream));
    fake_stream.callbacks = callbacks;
    fake_stream.data = data;
    return &fake_stream;
}

bool vq_stream_write(struct vq_stream *stream, const void *bytes, size_t length)
{
    if (length > sizeof(stream->text) - 1 - stream->length)
        length = sizeof(stream->text) - 1 - stream->length;
    memcpy(stream->text + stream->length, bytes, length);
    stream->length += length;
    return true;
}

void vq_stream_end(struct vq_stream *stream)
{
    stream->is_ended = true;
}

void vq_stream_finish(struct vq_stream *stream)
{
    stream->is_finished = true;
}

void vq_stream_fail(struct vq_stream *stream, const struct vq_error *err)
{
    (void)err;
    stream->is_failed = true;
}

void vq_stream_resume(struct vq_stream *stream)
{
    (void)stream;
}

/* ---- calls ---- */

static bool is_answered;

char fake_text[65536];

static void add_text(const char *fmt, ...) VQ_PRINTF(1, 2);
static void add_text(const char *fmt, ...)
{
    size_t length = strlen(fake_text);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(fake_text + length, sizeof(fake_text) - length, fmt, args);
    va_end(args);
}

static void keep_stats(const struct vq_remote_connect_get_all_domain_stats_ret *ret)
{
    for (uint32_t i = 0; i < ret->n_retStats; i++) {
        add_text("%s: ", ret->retStats[i].dom.name);
        for (uint32_t j = 0; j < ret->retStats[i].n_params; j++) {
            const struct vq_typed_param *param = &ret->retStats[i].params[j];

            if (param->type == VIR_TYPED_PARAM_STRING)
                add_text("%s=%s ", param->field, param->value.s);
            else if (param->type == VIR_TYPED_PARAM_ULLONG)
                add_text("%s=%llu ", param->field, (unsigned long long)param->value.ul);
            else
                add_text("%s=%d ", param->field, param->value.i);
        }
    }
}

static void complete(struct vq_request *request, const struct vq_error *err)
{
    fake_text[0] = '\0';
    if (err == NULL && vq_streq(request->procedure->name, "domain_monitor_command"))
        add_text("%s", ((const struct vq_qemu_domain_monitor_command_ret *)request->ret)->result);
    if (err == NULL && vq_streq(request->procedure->name, "connect_get_all_domain_stats"))
        keep_stats(request->ret);
    assert(!is_answered); /* exactly once */
    is_answered = true;
    fake_error = err != NULL ? *err : VQ_ERROR_INIT;
}

static bool answered(void *data)
{
    (void)data;
    return is_answered;
}

int fake_call(struct vq_driver *driver, enum vq_program program, const char *name, struct fake_domain *domain,
              const void *args)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    static const struct vq_caller caller = { .entry_node = 1, .session = 7 };
    struct vq_request request = { .procedure = vq_procedure_find_by_name(program, name), .args = args, .ret = fake_ret,
                                  .arena = arena, .caller = &caller, .driver = driver, .complete = complete, .open_stream = open_stream,
                                  .domain = domain != NULL ? &domain->info : NULL };

    assert(request.procedure != NULL);
    memset(fake_ret, 0, sizeof(fake_ret));
    is_answered = false;
    for (size_t i = 0; i < driver->n_rows; i++) {
        if (driver->rows[i].program != program || driver->rows[i].number != request.procedure->number)
            continue;
        driver->rows[i].fn(&request);
        if (!fake_host_until(answered, NULL))
            return -1;
        return fake_error.code;
    }
    return VIR_ERR_NO_SUPPORT;
}
