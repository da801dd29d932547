/* Title, description and the elements of applications. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/metadata.h"
#include "proto/gen/remote.h"

static int set_metadata(struct vq_domain *def, void *change, struct vq_error *err)
{
    const struct vq_remote_domain_set_metadata_args *args = change;
    const char *text = args->metadata != NULL && args->metadata[0] != '\0' ? args->metadata : NULL;

    switch (args->type) {
    case VIR_DOMAIN_METADATA_DESCRIPTION:
        vq_set_text(&def->description, text);
        return 0;
    case VIR_DOMAIN_METADATA_TITLE:
        if (text != NULL && strchr(text, '\n') != NULL)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "metadata title can't contain newlines");
        vq_set_text(&def->title, text);
        return 0;
    case VIR_DOMAIN_METADATA_ELEMENT:
        return vq_qemu_metadata_set(&def->metadata, text, args->key, args->uri, err);
    default:
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "unknown metadata type '%d'", args->type);
    }
}

static void tell_change(struct vq_request *request)
{
    const struct vq_remote_domain_set_metadata_args *args = request->args;
    const struct vq_domain_info *info = request->domain;
    const struct vq_driver_host *host = vq_qemu_of(request)->host;
    struct vq_remote_domain_event_callback_metadata_change_msg message = {
        .dom = {.name = info->name, .id = info->id}, .type = args->type, .nsuri = args->uri};

    memcpy(message.dom.uuid, info->uuid, sizeof(message.dom.uuid));
    host->emit(request->driver, info->uuid, info->name, info->id, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
               &vq_xdr_remote_domain_event_callback_metadata_change_msg, &message);
}

static void config_set(const struct vq_error *err, void *data)
{
    if (err == NULL)
        tell_change(data);
    vq_qemu_change_over(err, data);
}

void vq_qemu_handle_set_metadata(struct vq_request *request)
{
    const struct vq_remote_domain_set_metadata_args *args = request->args;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_qemu_target target;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG) ||
        !vq_qemu_find_target(request, args->flags, &target) ||
        (target.live && !vq_qemu_activity_allows(request, target.guest)))
        return;
    if (target.live && (set_metadata(target.guest->live, (void *)args, &err) < 0 ||
                        vq_qemu_record_write(target.guest, &err) < 0)) {
        vq_request_fail(request, &err);
        return;
    }
    if (target.config)
        vq_qemu_change_definition(vq_qemu_of(request), request->domain->uuid, set_metadata, (void *)args, false,
                                  config_set, request);
    else
        config_set(NULL, request);
}

static void reply_metadata(struct vq_request *request, const struct vq_domain *def)
{
    const struct vq_remote_domain_get_metadata_args *args = request->args;
    struct vq_remote_domain_get_metadata_ret *ret = request->ret;
    struct vq_error err = VQ_ERROR_INIT;
    char *text = NULL;

    if (args->type == VIR_DOMAIN_METADATA_ELEMENT) {
        if (vq_qemu_metadata_get(def->metadata, args->uri, &text, &err) < 0) {
            vq_request_fail(request, &err);
            return;
        }
    } else if (args->type == VIR_DOMAIN_METADATA_DESCRIPTION || args->type == VIR_DOMAIN_METADATA_TITLE) {
        text = vq_strdup(args->type == VIR_DOMAIN_METADATA_TITLE ? def->title : def->description);
    } else {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "unknown metadata type '%d'", args->type);
        return;
    }
    if (text == NULL)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_NO_DOMAIN_METADATA, "Requested metadata element is not present");
    else
        vq_qemu_reply_text(request, &ret->metadata, text);
}

void vq_qemu_handle_get_metadata(struct vq_request *request)
{
    const struct vq_remote_domain_get_metadata_args *args = request->args;
    struct vq_qemu_target target;
    VQ_AUTOPTR(vq_domain) def = NULL;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG) ||
        !vq_qemu_find_target(request, args->flags, &target))
        return;
    if (target.live) {
        reply_metadata(request, target.guest->live);
        return;
    }
    def = vq_qemu_read_definition(request);
    if (def != NULL)
        reply_metadata(request, def);
}
