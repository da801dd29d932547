/* Begin: what the destination is told of a guest that may leave, before anything is made anywhere. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/abi.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/cpu_run.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_qemu.h"

struct vq_leaving_beginning {
    struct vq_request *request;
    struct vq_qemu *qemu;
    uint8_t uuid[VQ_UUID_BYTES];
    uint64_t run;
    struct vq_migrate_options options;
    vq_migrate_begin_cb cb;
    void *data;
};

static void over(struct vq_leaving_beginning *beginning, const char *xml, const uint8_t *cookie, uint32_t length,
                       const struct vq_error *err)
{
    beginning->cb(xml, cookie, length, err, beginning->data);
    vq_migrate_options_done(&beginning->options);
    free(beginning);
}

/* Whose the images were before this run: it is given back to them where the run ends. */
static char *owned_text(const struct vq_qemu_guest *guest)
{
    json_t *list = json_array();
    char *text;

    for (size_t i = 0; i < guest->n_owned; i++)
        (void)json_array_append_new(list, json_pack("[s,I,I]", guest->owned[i].path, (json_int_t)guest->owned[i].uid,
                                                    (json_int_t)guest->owned[i].gid));
    text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text;
}

static void fill_cookie(const struct vq_qemu_guest *guest, json_t *capabilities, struct vq_migrate_cookie *cookie)
{
    vq_migrate_cookie_init(cookie, guest->qemu, guest->uuid, guest->name);
    cookie->wants_lockstate = true;
    cookie->owned = owned_text(guest);
    vq_migrate_capabilities_to_cookie(capabilities, true, cookie);
}

/* The definition that the destination shall run: the guest's, or one of the caller's that the guest cannot tell from it. */
static int definition_to_send(const struct vq_qemu_guest *guest, const char *dxml, char **ret_xml, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) definition = NULL;

    if (dxml == NULL) {
        *ret_xml = vq_qemu_cpu_migratable_xml(guest->live);
        return 0;
    }
    if (vq_qemu_parse_stored(dxml, &definition, err) < 0 || vq_domain_abi_check(guest->live, definition, err) < 0)
        return -1;
    *ret_xml = vq_qemu_cpu_migratable_xml(definition);
    return 0;
}

static int begin_reply(struct vq_leaving_beginning *beginning, const struct vq_qemu_guest *guest,
                       const struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    VQ_AUTOFREE char *xml = NULL;
    VQ_AUTOPTR(vq_domain) kept = NULL;
    uint32_t length = 0;
    uint8_t *bytes = NULL;

    if (definition_to_send(guest, beginning->options.dxml, &xml, err) < 0 ||
        vq_migrate_kept_definition(guest, &beginning->options, &kept, err) < 0 ||
        vq_migrate_cookie_write(cookie, beginning->request->arena, &bytes, &length, err) < 0)
        return -1;
    over(beginning, xml, bytes, length, NULL);
    return 0;
}

/* The sizes of disks are in the cookie now. */
static void disks_offered(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    struct vq_leaving_beginning *beginning = vq_take(leaving->beginning);
    bool keeps = (beginning->options.flags & VIR_MIGRATE_CHANGE_PROTECTION) != 0;
    struct vq_error own = VQ_ERROR_INIT;

    if (err != NULL)
        own = *err;
    if (err != NULL || begin_reply(beginning, guest, &leaving->own, &own) < 0)
        over(beginning, NULL, NULL, 0, &own);
    if (!keeps || own.code != VIR_ERR_OK)
        vq_leaving_drop(guest, VIR_DOMAIN_JOB_CANCELLED, NULL);
}

/* From here on the guest is changed by nobody else, when the caller asked for that; while QEMU is asked for sizes, in any
 * case. */
static int begin_result(struct vq_leaving_beginning *beginning, struct vq_qemu_guest *guest, json_t *capabilities,
                        struct vq_error *err)
{
    bool has_disks = vq_migrate_disks_asked(&beginning->options);
    struct vq_migrate_cookie cookie;
    struct vq_leaving *leaving;
    int rc;

    if (has_disks || (beginning->options.flags & VIR_MIGRATE_CHANGE_PROTECTION) != 0) {
        if (vq_leaving_begin_activity(guest, err) < 0)
            return -1;
        (void)vq_leaving_new(guest, beginning->request, &beginning->options);
    }
    if (has_disks) {
        leaving = vq_leaving_of(guest);
        leaving->beginning = beginning;
        fill_cookie(guest, capabilities, &leaving->own);
        vq_migrate_disks_offer(guest, &guest->migration->options, &leaving->own, disks_offered);
        return 0;
    }
    fill_cookie(guest, capabilities, &cookie);
    rc = begin_reply(beginning, guest, &cookie, err);
    vq_migrate_cookie_done(&cookie);
    if (rc < 0 && guest->migration != NULL)
        vq_leaving_drop(guest, VIR_DOMAIN_JOB_CANCELLED, NULL);
    return rc;
}

static void begin_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_leaving_beginning *beginning = data;
    struct vq_qemu_guest *guest = vq_qemu_guest_find_run(beginning->qemu, beginning->uuid, beginning->run);
    struct vq_error own = VQ_ERROR_INIT;

    if (err != NULL)
        own = *err;
    else if (guest == NULL || guest->phase != VQ_GUEST_ACTIVE)
        (void)vq_error_set(&own, VIR_ERR_OPERATION_INVALID, "domain is not running");
    else if (guest->activity.is_active)
        (void)vq_qemu_activity_refuse(guest, &own);
    else if (begin_result(beginning, guest, reply, &own) == 0)
        return;
    over(beginning, NULL, NULL, 0, &own);
}

static void ask_capabilities(struct vq_leaving_beginning *beginning)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find_run(beginning->qemu, beginning->uuid, beginning->run);
    struct vq_error err = VQ_ERROR_INIT;

    if (guest != NULL && guest->phase == VQ_GUEST_ACTIVE) {
        (void)vq_qmp_call(guest->qmp, "query-migrate-capabilities", NULL, VQ_QMP_TIMEOUT_MS, begin_known, beginning);
        return;
    }
    (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    over(beginning, NULL, NULL, 0, &err);
}

static void storage_known(const struct vq_error *err, void *data)
{
    struct vq_leaving_beginning *beginning = data;

    if (err != NULL)
        over(beginning, NULL, NULL, 0, err);
    else
        ask_capabilities(beginning);
}

void vq_migrate_out_begin(struct vq_request *request, const struct vq_migrate_options *options, vq_migrate_begin_cb cb,
                          void *data)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_qemu_guest *guest = vq_qemu_guest_find(qemu, request->domain->uuid);
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_leaving_beginning *beginning;

    if (guest == NULL || guest->phase == VQ_GUEST_STARTING || guest->phase == VQ_GUEST_STOPPING)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    else if (guest->phase != VQ_GUEST_ACTIVE)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "QEMU of domain '%s' does not respond: %s; it is tried again",
                           guest->name, guest->degraded);
    else if (vq_leaving_check(guest, options, &err) == 0 && guest->activity.is_active)
        (void)vq_qemu_activity_refuse(guest, &err);
    if (err.code != VIR_ERR_OK) {
        cb(NULL, NULL, 0, &err, data);
        return;
    }
    beginning = vq_new(struct vq_leaving_beginning);
    beginning->request = request;
    beginning->qemu = qemu;
    beginning->run = guest->run;
    memcpy(beginning->uuid, guest->uuid, sizeof(beginning->uuid));
    vq_migrate_options_copy(&beginning->options, options);
    beginning->cb = cb;
    beginning->data = data;
    /* In a cluster it is not known yet whether the destination will compare the files: then perform looks. */
    if (vq_leaving_may_have_peers(qemu->host) ||
        vq_leaving_check_storage(guest, options, storage_known, beginning) == NULL)
        ask_capabilities(beginning);
}

void vq_leaving_fail_begin(struct vq_leaving *leaving, const struct vq_error *err)
{
    if (leaving->beginning != NULL)
        over(vq_take(leaving->beginning), NULL, NULL, 0, err);
}
