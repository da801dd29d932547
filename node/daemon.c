/* Start, stop, and what goes round in between: ticks, commits, status. */
#define VQ_FROM VIR_FROM_NONE
#include "node/daemon.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/text.h"
#include "drivers/hook.h"
#include "node/call.h"
#include "node/cluster/cluster.h"
#include "node/cluster/recover.h"
#include "node/dispatch.h"
#include "node/driver_host.h"
#include "node/handlers.h"
#include "node/drivers.h"
#include "node/client/events.h"
#include "node/client/listener.h"
#include "node/peer.h"
#include "node/publish.h"
#include "node/client/session.h"
#include "node/client/stream.h"

enum { TICK_MS = 1000, LINGER_MS = 500 };
/* Definitions may still be coming out of the log when the host has just booted: autostart waits for a leader to say
 * that this copy is complete, but a host that stands alone starts its guests all the same. */
enum { AUTOSTART_AT_LAST_MS = 20000 };

struct vq_driver *vq_daemon_driver(const struct vq_daemon *daemon, const char *name)
{
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (vq_streq(daemon->drivers[i]->name, name))
            return daemon->drivers[i];
    return NULL;
}

struct vq_driver *vq_daemon_driver_by_type(const struct vq_daemon *daemon, uint8_t driver_type)
{
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (daemon->drivers[i]->driver_type == driver_type)
            return daemon->drivers[i];
    return NULL;
}

/* ---- Waiting for an index ---- */

struct vq_applied_wait {
    struct vq_applied_wait *next;
    uint64_t index, until_ms;
    vq_applied_cb cb;
    void *data;
};

void vq_daemon_when_applied(struct vq_daemon *daemon, uint64_t index, uint64_t timeout_ms, vq_applied_cb cb, void *data)
{
    if (index <= daemon->applied || daemon->is_stopping) {
        cb(index <= daemon->applied, data);
        return;
    }
    struct vq_applied_wait *wait = vq_new(struct vq_applied_wait);
    *wait = (struct vq_applied_wait){.next = daemon->applied_waits,
                                     .index = index,
                                     .until_ms = uv_now(daemon->loop) + timeout_ms,
                                     .cb = cb,
                                     .data = data};
    daemon->applied_waits = wait;
}

/* Callbacks may add waits: those that are due are taken out first. */
static void run_waits(struct vq_daemon *daemon, bool is_last)
{
    struct vq_applied_wait *due = NULL;
    uint64_t now_ms = uv_now(daemon->loop);

    for (struct vq_applied_wait **link = &daemon->applied_waits; *link != NULL;) {
        struct vq_applied_wait *wait = *link;
        if (wait->index <= daemon->applied || wait->until_ms <= now_ms || is_last) {
            *link = wait->next;
            wait->next = due;
            due = wait;
        } else {
            link = &wait->next;
        }
    }
    while (due != NULL) {
        struct vq_applied_wait *wait = due;
        due = wait->next;
        wait->cb(wait->index <= daemon->applied, wait->data);
        free(wait);
    }
}

/* ---- Autostart ---- */

/* In each life of the daemon: drivers also look at their domains again. What is started is their matter, once per boot. */
static void autostart(struct vq_daemon *daemon)
{
    daemon->has_autostarted = true;
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (daemon->drivers[i]->autostart != NULL)
            daemon->drivers[i]->autostart(daemon->drivers[i]);
}

static void consider_autostart(struct vq_daemon *daemon)
{
    const struct vq_raft_status *status = &daemon->raft_status;
    bool is_complete = status->is_running && status->leader != 0 && daemon->applied >= status->commit_index;

    if (daemon->has_autostarted || daemon->is_stopping || daemon->listeners == NULL)
        return;
    if (is_complete || uv_now(daemon->loop) - daemon->started_ms >= AUTOSTART_AT_LAST_MS)
        autostart(daemon);
}

/* ---- What consensus tells ---- */

void vq_daemon_raft_status(const struct vq_raft_status *status, void *data)
{
    struct vq_daemon *daemon = data;

    daemon->raft_status = *status;
    vq_cluster_status_changed(daemon);
    if (daemon->overlay != NULL && status->leader != 0)
        vq_overlay_retry(daemon->overlay);
    consider_autostart(daemon);
}

/* Both ends of a migration, from its begin to its end. */
static bool concerns(const struct vq_change *change, uint64_t node)
{
    return change->owner == node || change->old_owner == node || change->moving_to == node;
}

static void tell_drivers(struct vq_daemon *daemon, const struct vq_change *change)
{
    if (daemon->is_stopping)
        return; /* drivers stop before consensus does */
    if (change->kind == VQ_CHANGE_RESYNC) {
        for (size_t i = 0; i < daemon->n_drivers; i++)
            if (daemon->drivers[i]->recover != NULL)
                daemon->drivers[i]->recover(daemon->drivers[i]);
        return;
    }
    if (change->kind == VQ_CHANGE_NODE || change->kind == VQ_CHANGE_SETTING || !concerns(change, daemon->node_id))
        return;
    struct vq_driver *driver = vq_daemon_driver_by_type(daemon, change->driver);
    if (driver != NULL && driver->changed != NULL)
        driver->changed(driver, change->uuid);
}

void vq_daemon_raft_applied(uint64_t index, const struct vq_change_list *changes, void *data)
{
    struct vq_daemon *daemon = data;

    if (index > daemon->applied)
        daemon->applied = index;
    vq_cluster_applied(daemon, index, changes);
    if (daemon->overlay != NULL)
        vq_overlay_applied(daemon->overlay, changes);
    if (daemon->events != NULL)
        vq_events_applied(daemon->events, index, changes);
    for (size_t i = 0; i < changes->n_changes; i++)
        tell_drivers(daemon, &changes->changes[i]);
    vq_cluster_answer(daemon, index);
    run_waits(daemon, false);
    consider_autostart(daemon);
}

static void tick(uv_timer_t *timer)
{
    struct vq_daemon *daemon = timer->data;

    if (daemon->listeners != NULL)
        vq_listeners_tick(daemon->listeners);
    vq_sessions_tick(daemon, uv_now(daemon->loop));
    run_waits(daemon, false);
    consider_autostart(daemon);
}

/* ---- Start ---- */

static int make_dir(const char *path, mode_t mode, struct vq_error *err)
{
    if (mkdir(path, mode) == 0) {
        if (chmod(path, mode) < 0) /* the umask of 077 has taken bits away */
            return vq_error_system(err, errno, "setting the mode of %s", path);
        return 0;
    }
    return errno == EEXIST ? 0 : vq_error_system(err, errno, "making %s", path);
}

/* The directory of the cluster's keys and of all definitions is nobody else's, whoever made it. */
static int guard_state_dir(const char *path, struct vq_error *err)
{
    struct stat status;

    if (lstat(path, &status) < 0)
        return vq_error_system(err, errno, "looking at %s", path);
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid())
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s must be a directory of this daemon's own user", path);
    if ((status.st_mode & 077) == 0)
        return 0;
    vq_log(WARN, "daemon.modes", "%s was open to others (mode %03o), it is closed now", path,
           (unsigned)status.st_mode & 0777);
    return chmod(path, 0700) == 0 ? 0 : vq_error_system(err, errno, "closing %s to others", path);
}

static int make_dirs(const struct vq_config *config, struct vq_error *err)
{
    VQ_AUTOFREE char *node_sockets = vq_asprintf("%s/node", config->run_dir);
    const struct {
        const char *path;
        mode_t mode;
    } dirs[] = {
        {config->state_dir, 0700},          {config->run_dir, 0755},           {node_sockets, 0755},
        {config->libvirt_run_dir, 0755},    {config->libvirt_state_dir, 0755}, {config->libvirt_log_dir, 0700},
        {config->libvirt_config_dir, 0755},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++)
        if (make_dir(dirs[i].path, dirs[i].mode, err) < 0)
            return -1;
    return guard_state_dir(config->state_dir, err);
}

static int lock_state(struct vq_daemon *daemon, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/lock", daemon->config.state_dir);

    daemon->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (daemon->lock_fd < 0)
        return vq_error_system(err, errno, "opening %s", path);
    if (flock(daemon->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "another virtquorumd works with %s",
                            daemon->config.state_dir);
    return 0;
}

static void read_boot_id(struct vq_daemon *daemon)
{
    VQ_AUTOCLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, daemon->boot_id, sizeof(daemon->boot_id) - 1);

    daemon->boot_id[got < 0 ? 0 : got] = '\0';
    daemon->boot_id[strcspn(daemon->boot_id, "\n")] = '\0';
}

static int open_stores(struct vq_daemon *daemon, struct vq_error *err)
{
    VQ_AUTOFREE char *local = vq_asprintf("%s/local", daemon->config.state_dir);
    VQ_AUTOFREE char *store = vq_asprintf("%s/store", daemon->config.state_dir);

    if (vq_local_open(local, &daemon->local, err) < 0)
        return vq_error_wrap(err, "opening this node's records");
    if (vq_cluster_identity(daemon, err) < 0)
        return -1;
    struct vq_store_options options = {.durable = daemon->store_is_durable};
    if (vq_store_open(store, &options, &daemon->store, err) < 0)
        return vq_error_wrap(err, "opening the store");
    daemon->applied = vq_store_applied(daemon->store);
    return 0;
}

static void start_drivers(struct vq_daemon *daemon)
{
    for (size_t i = 0; i < vq_n_drivers; i++) {
        struct vq_driver *driver = vq_drivers[i];
        struct vq_error err = VQ_ERROR_INIT;
        driver->host = &daemon->host;
        if (driver->start != NULL && driver->start(driver, &daemon->host, &err) < 0) {
            vq_log(WARN, "driver.absent", "driver=%s: %s, connections to it are refused", driver->name, err.message);
            continue;
        }
        assert(daemon->n_drivers < VQ_DRIVERS_MAX);
        daemon->drivers[daemon->n_drivers++] = driver;
        vq_dispatch_add_driver(driver);
    }
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (daemon->drivers[i]->recover != NULL)
            daemon->drivers[i]->recover(daemon->drivers[i]);
}

/* ---- Hook scripts ---- */

static void hook_over(const char *output, const struct vq_error *err, void *data)
{
    (void)output;
    (void)data;
    if (err != NULL)
        vq_log(WARN, "daemon.hook", "%s", err->message);
}

/* Nothing waits for it; a stop for so long at most. */
static void run_hook(struct vq_daemon *daemon, const char *operation, const char *extra)
{
    const struct vq_hook_call call = {.config_dir = daemon->config.libvirt_config_dir, .name = "daemon", .operation = operation,
                                      .sub_operation = vq_streq(operation, "reload") ? "begin" : "-", .extra = extra,
                                      .timeout_ms = 10000};

    (void)vq_hook_start(daemon->loop, &call, hook_over, NULL);
}

static int start_parts(struct vq_daemon *daemon, struct vq_error *err)
{
    if (make_dirs(&daemon->config, err) < 0 || lock_state(daemon, err) < 0 ||
        vq_recovery_check(daemon->config.state_dir, err) < 0 || open_stores(daemon, err) < 0)
        return -1;
    vq_driver_host_init(daemon);
    daemon->sessions = vq_sessions_new(daemon);
    daemon->overlay = vq_overlay_new(daemon);
    daemon->events = vq_events_new(daemon);
    if (vq_cluster_start(daemon, err) < 0)
        return -1;
    start_drivers(daemon);
    daemon->listeners = vq_listeners_new(daemon);
    (void)uv_timer_start(&daemon->second, tick, TICK_MS, TICK_MS); /* fails only for a NULL callback */
    return 0;
}

int vq_daemon_start(struct vq_daemon *daemon, uv_loop_t *loop, const struct vq_config *take_config,
                    struct vq_error *err)
{
    *daemon = (struct vq_daemon){.loop = loop, .config = *take_config, .lock_fd = -1, .store_is_durable = true};
    daemon->started_ms = uv_now(loop);
    read_boot_id(daemon);
    vq_dispatch_init();
    daemon->calls = vq_call_pool_new();
    daemon->stream_links = vq_stream_links_new();
    (void)uv_timer_init(loop, &daemon->second); /* cannot fail */
    daemon->second.data = daemon;
    if (start_parts(daemon, err) < 0) {
        vq_daemon_stop(daemon);
        return -1;
    }
    run_hook(daemon, "start", "start");
    vq_log(INFO, "daemon.ready", "node=%s id=%llu version=%s", daemon->node_name, (unsigned long long)daemon->node_id,
           VQ_VERSION);
    return 0;
}

void vq_daemon_reload(struct vq_daemon *daemon)
{
    struct vq_error err = VQ_ERROR_INIT;

    run_hook(daemon, "reload", "SIGHUP");
    if (daemon->listeners == NULL)
        return;
    if (vq_listeners_reload(daemon->listeners, &err) < 0)
        vq_log(ERROR, "daemon.reload", "%s, the certificates before stay in use", err.message);
    else
        vq_log(INFO, "daemon.reload", "certificates read again");
}

/* ---- Stop ---- */

static void part_stopped(void *data)
{
    struct vq_daemon *daemon = data;

    assert(daemon->n_stopping > 0);
    daemon->n_stopping--;
}

static void drivers_stopped(void *data)
{
    struct vq_daemon *daemon = data;

    /* The last driver that lets go takes the cluster along: drivers may report until then. */
    part_stopped(daemon);
    if (daemon->n_stopping > 0)
        return;
    if (daemon->cluster != NULL) {
        daemon->n_stopping++;
        vq_cluster_stop(daemon, part_stopped, daemon);
    }
}

void vq_daemon_stop(struct vq_daemon *daemon)
{
    if (daemon->is_stopping)
        return;
    daemon->is_stopping = true;
    vq_hook_end_all();
    run_hook(daemon, "shutdown", "shutdown");
    vq_listeners_stop(daemon->listeners);
    daemon->listeners = NULL;
    vq_stream_mesh_stop(daemon);
    vq_peer_client_stop(daemon);
    if (daemon->sessions != NULL)
        vq_sessions_close_all(daemon, LINGER_MS);
    run_waits(daemon, true);
    vq_handlers_node_stop();
    if (daemon->overlay != NULL)
        vq_overlay_release(daemon->overlay);
    uv_close((uv_handle_t *)&daemon->second, NULL);

    daemon->n_stopping = 1; /* this function itself */
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (daemon->drivers[i]->stop != NULL) {
            daemon->n_stopping++;
            daemon->drivers[i]->stop(daemon->drivers[i], drivers_stopped, daemon);
        }
    drivers_stopped(daemon);
}

/* Events and the overlay have a timer each: closed here, freed when the loop runs once more. */
void vq_daemon_done(struct vq_daemon *daemon)
{
    assert(daemon->is_stopping && daemon->n_stopping == 0);
    vq_events_free(daemon->events);
    vq_overlay_free(daemon->overlay);
    (void)uv_run(daemon->loop, UV_RUN_DEFAULT); /* empty but for those two */
    vq_sessions_free(daemon->sessions);
    vq_stream_links_free(daemon->stream_links);
    vq_call_pool_free(daemon->calls);
    vq_dispatch_done();
    if (daemon->store != NULL)
        vq_store_close(daemon->store);
    if (daemon->local != NULL)
        vq_local_close(daemon->local);
    if (daemon->lock_fd >= 0)
        (void)close(daemon->lock_fd); /* gives the lock back */
    free(daemon->node_name);
    vq_config_done(&daemon->config);
}
