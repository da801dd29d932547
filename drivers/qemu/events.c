/* Events of the protocol: see events.h. */
#include "drivers/qemu/events.h"

#include <libvirt/libvirt.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "drivers/qemu/guest.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

static struct vq_remote_domain domain_of(const struct vq_qemu_guest *guest)
{
    struct vq_remote_domain domain = { .name = guest->name, .id = guest->id };

    memcpy(domain.uuid, guest->uuid, sizeof(domain.uuid));
    return domain;
}

static void emit(struct vq_qemu_guest *guest, int event_id, const struct vq_xdr_struct *type, const void *value)
{
    guest->qemu->host->emit(guest->qemu->driver, guest->uuid, guest->name, guest->id, event_id, type, value);
}

#define EMIT(guest, ID, name, ...)                                                                                     \
    do {                                                                                                               \
        const struct vq_remote_domain_event_##name##_msg msg_ = { .dom = domain_of(guest), __VA_ARGS__ };              \
                                                                                                                       \
        emit((guest), VIR_DOMAIN_EVENT_ID_##ID, &vq_xdr_remote_domain_event_##name##_msg, &msg_);                       \
    } while (0)

void vq_qemu_emit_reboot(struct vq_qemu_guest *guest)
{
    EMIT(guest, REBOOT, reboot, );
}

void vq_qemu_emit_rtc_change(struct vq_qemu_guest *guest, int64_t offset)
{
    EMIT(guest, RTC_CHANGE, rtc_change, .offset = offset);
}

void vq_qemu_emit_watchdog(struct vq_qemu_guest *guest, int action)
{
    EMIT(guest, WATCHDOG, watchdog, .action = action);
}

void vq_qemu_emit_io_error(struct vq_qemu_guest *guest, const char *path, const char *alias, int action,
                           const char *reason)
{
    EMIT(guest, IO_ERROR, io_error, .srcPath = path, .devAlias = alias, .action = action);
    EMIT(guest, IO_ERROR_REASON, io_error_reason, .srcPath = path, .devAlias = alias, .action = action,
         .reason = reason);
}

void vq_qemu_emit_control_error(struct vq_qemu_guest *guest)
{
    EMIT(guest, CONTROL_ERROR, control_error, );
}

void vq_qemu_emit_balloon_change(struct vq_qemu_guest *guest, uint64_t actual_kib)
{
    EMIT(guest, BALLOON_CHANGE, balloon_change, .actual = actual_kib);
}

void vq_qemu_emit_device_removed(struct vq_qemu_guest *guest, const char *alias)
{
    EMIT(guest, DEVICE_REMOVED, device_removed, .devAlias = alias);
}

void vq_qemu_emit_tray_change(struct vq_qemu_guest *guest, const char *alias, bool is_open)
{
    EMIT(guest, TRAY_CHANGE, tray_change, .devAlias = alias,
         .reason = is_open ? VIR_DOMAIN_EVENT_TRAY_CHANGE_OPEN : VIR_DOMAIN_EVENT_TRAY_CHANGE_CLOSE);
}

void vq_qemu_emit_pm(struct vq_qemu_guest *guest, int event_id)
{
    switch (event_id) {
    case VIR_DOMAIN_EVENT_ID_PMSUSPEND:
        EMIT(guest, PMSUSPEND, pmsuspend, );
        break;
    case VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK:
        EMIT(guest, PMSUSPEND_DISK, pmsuspend_disk, );
        break;
    default:
        EMIT(guest, PMWAKEUP, pmwakeup, );
        break;
    }
}

static const char *text_of(json_t *object, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : otherwise;
}

static struct vq_remote_domain_event_graphics_address address_of(json_t *end)
{
    const char *family = text_of(end, "family", "");

    return (struct vq_remote_domain_event_graphics_address){
        .family = strcmp(family, "ipv6") == 0   ? VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_IPV6
                  : strcmp(family, "unix") == 0 ? VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_UNIX
                                                : VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_IPV4,
        .node = text_of(end, "host", ""),
        .service = text_of(end, "service", text_of(end, "port", "")),
    };
}

void vq_qemu_emit_graphics(struct vq_qemu_guest *guest, int phase, json_t *data)
{
    json_t *server = json_object_get(data, "server"), *client = json_object_get(data, "client");
    struct vq_remote_domain_event_graphics_identity subject[2];
    uint32_t n = 0;
    const char *name = json_string_value(json_object_get(client, "x509_dname"));
    const char *sasl = json_string_value(json_object_get(client, "sasl_username"));

    if (name != NULL)
        subject[n++] = (struct vq_remote_domain_event_graphics_identity){ .type = "x509dname", .name = name };
    if (sasl != NULL)
        subject[n++] = (struct vq_remote_domain_event_graphics_identity){ .type = "saslUsername", .name = sasl };
    EMIT(guest, GRAPHICS, graphics, .phase = phase, .local = address_of(server), .remote = address_of(client),
         .authScheme = text_of(server, "auth", ""), .n_subject = n, .subject = subject);
}

void vq_qemu_emit_monitor(struct vq_qemu_guest *guest, const char *name, json_t *data, int64_t seconds, uint32_t micros)
{
    char *details = data != NULL ? json_dumps(data, JSON_COMPACT) : NULL;
    /* -1: an event of the QEMU program, which has one kind only. */
    const struct vq_qemu_domain_monitor_event_msg msg = { .dom = domain_of(guest), .event = name, .seconds = seconds,
                                                          .micros = micros, .details = details };

    emit(guest, -1, &vq_xdr_qemu_domain_monitor_event_msg, &msg);
    free(details);
}

void vq_qemu_emit_job_completed(struct vq_qemu_guest *guest, struct vq_typed_param *params, uint32_t n_params)
{
    EMIT(guest, JOB_COMPLETED, callback_job_completed, .params = params, .n_params = n_params);
}

void vq_qemu_emit_migration_iteration(struct vq_qemu_guest *guest, int iteration)
{
    EMIT(guest, MIGRATION_ITERATION, callback_migration_iteration, .iteration = iteration);
}

/* ---- Those that the protocol knows in one form only: the callbackID is filled in by whoever tells the clients ---- */

void vq_qemu_emit_agent_lifecycle(struct vq_qemu_guest *guest, bool is_connected, int reason)
{
    EMIT(guest, AGENT_LIFECYCLE, callback_agent_lifecycle,
         .state = is_connected ? VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
                               : VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED,
         .reason = reason);
}

void vq_qemu_emit_device_added(struct vq_qemu_guest *guest, const char *alias)
{
    EMIT(guest, DEVICE_ADDED, callback_device_added, .devAlias = alias);
}

void vq_qemu_emit_device_removal_failed(struct vq_qemu_guest *guest, const char *alias)
{
    EMIT(guest, DEVICE_REMOVAL_FAILED, callback_device_removal_failed, .devAlias = alias);
}

void vq_qemu_emit_disk_change(struct vq_qemu_guest *guest, const char *old_path, const char *new_path, const char *alias, int reason)
{
    EMIT(guest, DISK_CHANGE, disk_change, .oldSrcPath = old_path, .newSrcPath = new_path, .devAlias = alias, .reason = reason);
}

void vq_qemu_emit_block_job(struct vq_qemu_guest *guest, const char *path, const char *target, int type, int status)
{
    if (path != NULL)
        EMIT(guest, BLOCK_JOB, block_job, .path = path, .type = type, .status = status);
    EMIT(guest, BLOCK_JOB_2, block_job_2, .dst = target, .type = type, .status = status);
}

void vq_qemu_emit_block_threshold(struct vq_qemu_guest *guest, const char *device, const char *path, uint64_t threshold,
                                  uint64_t excess)
{
    EMIT(guest, BLOCK_THRESHOLD, block_threshold, .dev = device, .path = path, .threshold = threshold, .excess = excess);
}

void vq_qemu_emit_memory_failure(struct vq_qemu_guest *guest, int recipient, int action, unsigned flags)
{
    EMIT(guest, MEMORY_FAILURE, memory_failure, .recipient = recipient, .action = action, .flags = flags);
}

void vq_qemu_emit_memory_device_size_change(struct vq_qemu_guest *guest, const char *alias, uint64_t kib)
{
    EMIT(guest, MEMORY_DEVICE_SIZE_CHANGE, memory_device_size_change, .alias = alias, .size = kib);
}

void vq_qemu_emit_tunable(struct vq_qemu_guest *guest, struct vq_typed_param *params, uint32_t n_params)
{
    EMIT(guest, TUNABLE, callback_tunable, .params = params, .n_params = n_params);
}
