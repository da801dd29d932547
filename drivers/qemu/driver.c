/* The QEMU driver as the daemon sees it: see driver.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/driver.h"

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/aside.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/dump.h"
#include "drivers/qemu/files.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/process.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/save_managed.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_p2p.h"
#include "drivers/qemu/migrate_check.h"
#include "drivers/qemu/migrate_in.h"

enum { LOOK_AFTER_MS = 30000, DRIVER_TYPE_QEMU = 1 };

#define BOOT_TABLE "qemu.boot"

static const struct vq_qemu_rows *const row_tables[] = { &vq_qemu_run_rows, &vq_qemu_look_rows, &vq_qemu_block_rows,
                                                         &vq_qemu_monitor_rows, &vq_qemu_stats_rows, &vq_qemu_agent_rows,
                                                         &vq_qemu_guest_info_rows, &vq_qemu_guest_vcpus_rows, &vq_qemu_addresses_rows,
                                                         &vq_qemu_send_key_rows,
                                                         &vq_qemu_limits_rows, &vq_qemu_screen_rows,
                                                         &vq_qemu_node_rows, &vq_qemu_define_rows, &vq_qemu_cpu_rows, &vq_qemu_measure_rows,
                                                         &vq_qemu_messages_rows, &vq_qemu_activity_rows,
                                                         &vq_qemu_migrate_rows, &vq_qemu_migrate_pace_rows, &vq_qemu_save_rows,
                                                         &vq_qemu_save_image_rows, &vq_qemu_dump_rows };

static void join_rows(struct vq_driver *driver)
{
    static struct vq_driver_row *rows;
    size_t n = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(row_tables); i++)
        n += row_tables[i]->n_rows;
    rows = vq_realloc(rows, n, sizeof(*rows));
    n = 0;
    for (size_t i = 0; i < VQ_N_ELEMENTS(row_tables); i++) {
        memcpy(rows + n, row_tables[i]->rows, row_tables[i]->n_rows * sizeof(*rows));
        n += row_tables[i]->n_rows;
    }
    driver->rows = rows;
    driver->n_rows = n;
}

bool vq_qemu_check_flags(struct vq_request *request, uint64_t flags, uint64_t allowed)
{
    struct vq_error err = VQ_ERROR_INIT;

    if ((flags & ~allowed) == 0)
        return true;
    (void)vq_error_set(&err, VIR_ERR_INVALID_ARG, "unsupported flags (0x%llx) in function %s",
                       (unsigned long long)(flags & ~allowed), request->procedure->api);
    vq_request_fail(request, &err);
    return false;
}

static void look_after(uv_timer_t *timer)
{
    struct vq_qemu *qemu = timer->data;

    vq_process_reap();
    vq_managed_tick(qemu);
    for (const struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next)
        vq_qemu_log_bound(guest);
}

static void tell_lines(const struct vq_buffer *text)
{
    for (const char *line = text->data; line != NULL && *line != '\0';) {
        size_t length = strcspn(line, "\n");

        vq_log(WARN, "qemu.conf", "%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

static int driver_start(struct vq_driver *driver, const struct vq_driver_host *host, struct vq_error *err)
{
    struct vq_qemu *qemu = vq_new(struct vq_qemu);
    VQ_AUTOBUFFER remarks = VQ_BUFFER_INIT;
    int rc = vq_qemu_settings_read(&qemu->settings, host->config_dir, &remarks, err);

    tell_lines(&remarks);
    if (rc < 0) {
        vq_qemu_settings_done(&qemu->settings);
        free(qemu);
        return -1;
    }
    qemu->driver = driver;
    qemu->host = host;
    qemu->emulators = vq_qemu_emulators_new(host);
    (void)uv_timer_init(host->loop, &qemu->minute);
    qemu->minute.data = qemu;
    (void)uv_timer_start(&qemu->minute, look_after, LOOK_AFTER_MS, LOOK_AFTER_MS);
    join_rows(driver);
    driver->host = host;
    driver->state = qemu;
    return 0;
}

/* ---- Autostart ---- */

static int same_boot(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    const struct vq_qemu *qemu = data;

    (void)key;
    (void)key_length;
    return length == strlen(qemu->host->boot_id) && memcmp(value, qemu->host->boot_id, length) == 0 ? 1 : 0;
}

static void start_one(const struct vq_domain_info *info, void *data)
{
    const struct vq_qemu_start_options options = { 0 };

    if ((info->flags & VQ_INFO_AUTOSTART) != 0 && vq_qemu_guest_find(data, info->uuid) == NULL)
        vq_restore_or_start(data, info, &options, false, ((struct vq_qemu *)data)->settings.auto_start_bypass_cache, NULL);
}

/* What the log says of a migration may be known only now. */
static void guest_changed(struct vq_qemu_guest *guest)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };
    bool is_there = guest->qemu->host->domain_find(guest->uuid, false, arena, &info);

    vq_migrate_changed(guest, is_there ? &info : NULL);
}

static void driver_autostart(struct vq_driver *driver)
{
    struct vq_qemu *qemu = driver->state;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_qemu_guest *next;

    qemu->has_caught_up = true;
    for (struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = next) {
        next = guest->next;
        guest_changed(guest);
    }
    vq_managed_tick(qemu);
    vq_qemu_disown_unknown(driver); /* what was committed just before the daemon died is known only now */
    if (qemu->host->record_each(BOOT_TABLE, same_boot, qemu, &err) != 0)
        return; /* done in this boot, or it cannot be known */
    if (qemu->host->record_put(BOOT_TABLE, "autostart", 9, qemu->host->boot_id, strlen(qemu->host->boot_id), &err) < 0) {
        vq_log(ERROR, "qemu.autostart", "%s; nothing is started", err.message);
        return;
    }
    qemu->host->each_own_domain(driver, start_one, qemu);
}

/* ---- What the daemon tells ---- */

/* A guest of this node that the log tells of and that is not here is a lost one.
 *
 * A rename shows in the names of later events; the live copy and its files keep what they began with. */
static void driver_changed(struct vq_driver *driver, const uint8_t uuid[16])
{
    struct vq_qemu *qemu = driver->state;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(qemu, uuid);
    VQ_AUTOPTR(vq_arena) arena = NULL;
    struct vq_domain_info info = { 0 };

    arena = vq_arena_new(0);
    if (!qemu->host->domain_find(uuid, false, arena, &info)) {
        if (guest != NULL)
            vq_migrate_changed(guest, NULL);
        else
            vq_managed_tick(qemu); /* undefined: its image goes */
        return;
    }
    if (guest != NULL) {
        guest->generation = info.generation;
        vq_migrate_changed(guest, &info);
    } else if (info.moving_to == qemu->host->node_id) {
        vq_incoming_disown(qemu, &info);
    } else if (info.id >= 0 && info.owner == qemu->host->node_id) {
        vq_qemu_disown(&info, qemu);
    }
}

static void driver_session_ended(struct vq_driver *driver, uint64_t entry_node, uint64_t session)
{
    const struct vq_qemu *qemu = driver->state;
    struct vq_qemu_guest *next;

    for (struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = next) {
        next = guest->next;
        if (guest->autodestroy && guest->autodestroy_node == entry_node && guest->autodestroy_session == session)
            vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED, true);
    }
    vq_migrate_session_ended(driver->state, entry_node, session);
}

static int driver_open_uri(struct vq_driver *driver, const char *path, struct vq_error *err)
{
    (void)driver;
    if (strcmp(path, "/system") == 0)
        return 0;
    if (path[0] == '\0' || strcmp(path, "/") == 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "no QEMU URI path given, try qemu:///system");
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "unexpected QEMU URI path '%s', try qemu:///system", path);
}

/* What the protocol itself can do, the session answers. Of migration there is the third protocol alone: those before it do not
 * tell the source what became of the guest. */
static bool driver_supports_feature(struct vq_driver *driver, int feature)
{
    enum { P2P = 4, V3 = 6, CHANGE_PROTECTION = 7, XML_MIGRATABLE = 11, OFFLINE = 12, PARAMS = 13 };
    static const int supported[] = { P2P, V3, CHANGE_PROTECTION, XML_MIGRATABLE, OFFLINE, PARAMS };

    (void)driver;
    for (size_t i = 0; i < VQ_N_ELEMENTS(supported); i++)
        if (supported[i] == feature)
            return true;
    return false;
}

/* ---- Letting go ---- */

static void stop_over(uv_handle_t *handle)
{
    struct vq_qemu *qemu = handle->data;
    struct vq_driver *driver = qemu->driver;
    void (*stopped)(void *data) = qemu->stopped;
    void *data = qemu->stopped_data;

    vq_qemu_settings_done(&qemu->settings);
    free(qemu);
    driver->state = NULL;
    stopped(data);
}

static void emulators_closed(void *data)
{
    struct vq_qemu *qemu = data;

    uv_close((uv_handle_t *)&qemu->minute, stop_over);
}

/* A turn later the handles of guests, which close one after the other, are gone. */
static void guests_gone(uv_timer_t *timer)
{
    struct vq_qemu *qemu = timer->data;

    vq_qemu_emulators_close(qemu->emulators, emulators_closed, qemu);
}

/* Guests go on. A start that is under way is left as it is: its record tells the next daemon what to do. */
static void driver_stop(struct vq_driver *driver, void (*stopped)(void *data), void *data)
{
    struct vq_qemu *qemu = driver->state;
    struct vq_error err = VQ_ERROR_INIT;

    qemu->stopping = true;
    qemu->stopped = stopped;
    qemu->stopped_data = data;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    vq_qemu_node_stop();
    vq_migrate_checks_stop();
    vq_qemu_auto_dumps_stop();
    vq_migrate_p2p_stop(qemu);
    while (qemu->guests != NULL) {
        struct vq_qemu_guest *guest = qemu->guests;
        struct vq_request *starter = guest->starter;

        guest->starter = NULL;
        if (starter != NULL)
            vq_request_fail(starter, &err);
        vq_qemu_guest_answer_waiting(guest, &err);
        vq_qemu_guest_free(guest);
    }
    vq_asides_stop(); /* those of guests went with them */
    (void)uv_timer_start(&qemu->minute, guests_gone, 10, 0);
}

struct vq_driver vq_qemu_driver = {
    .name = "qemu",
    .type = "QEMU",
    .driver_type = DRIVER_TYPE_QEMU,
    .start = driver_start,
    .recover = vq_qemu_recover,
    .autostart = driver_autostart,
    .changed = driver_changed,
    .session_ended = driver_session_ended,
    .stop = driver_stop,
    .open_uri = driver_open_uri,
    .supports_feature = driver_supports_feature,
};
