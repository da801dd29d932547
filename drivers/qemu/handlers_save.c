/* Procedures that save guests and restore them. What they do is in save.c and restore.c. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/save.h"
#include "drivers/qemu/save_managed.h"
#include "drivers/qemu/save_xml.h"
#include "proto/gen/remote.h"

enum { SAVE_FLAGS = VIR_DOMAIN_SAVE_BYPASS_CACHE | VIR_DOMAIN_SAVE_RUNNING | VIR_DOMAIN_SAVE_PAUSED };

static void fail(struct vq_request *request, const struct vq_error *err)
{
    vq_request_fail(request, err);
}

/* False: the request was failed. */
static bool check_flags(struct vq_request *request, uint32_t flags)
{
    if (!vq_qemu_check_flags(request, flags, SAVE_FLAGS))
        return false;
    if ((flags & VIR_DOMAIN_SAVE_RUNNING) == 0 || (flags & VIR_DOMAIN_SAVE_PAUSED) == 0)
        return true;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "running and paused flags in %s are mutually exclusive",
                   request->procedure->api);
    return false;
}

/* ---- Save ---- */

/* What QEMU cannot put into a file: the state of a device of the host. USB devices are unplugged and plugged in again. */
static int check_guest(const struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (guest->live == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s': %s", guest->name, guest->degraded);
    if (guest->state == VIR_DOMAIN_SHUTDOWN || guest->state == VIR_DOMAIN_CRASHED)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' has shut down and is about to end", guest->name);
    for (size_t i = 0; i < guest->live->devices.n_hostdevs; i++)
        if (guest->live->devices.hostdevs[i]->type != VQ_HOSTDEV_USB)
            return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain has assigned non-USB host devices (%s), which cannot be "
                                "saved", guest->live->devices.hostdevs[i]->info.alias != NULL
                                             ? guest->live->devices.hostdevs[i]->info.alias : "");
    return 0;
}

static int choose_format(const struct vq_qemu_guest *guest, enum vq_save_format *ret, struct vq_error *err)
{
    const char *name = guest->qemu->settings.save_image_format;

    *ret = VQ_SAVE_RAW;
    if (name != NULL && !vq_save_format_of(name, ret))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "Invalid save image format specified in configuration file");
    return vq_save_filter_check(*ret, "save", err);
}

static int start_saving(struct vq_request *request, struct vq_qemu_guest *guest, enum vq_saving_kind kind, const char *path,
                        const char *xml, uint32_t flags, struct vq_error *err)
{
    bool runs = (flags & VIR_DOMAIN_SAVE_RUNNING) != 0 ||
                ((flags & VIR_DOMAIN_SAVE_PAUSED) == 0 && guest->state == VIR_DOMAIN_RUNNING);
    struct vq_saving_options options = { .kind = kind, .path = path, .will_run = runs,
                                         .bypasses_cache = (flags & VIR_DOMAIN_SAVE_BYPASS_CACHE) != 0 };

    if (check_guest(guest, err) < 0 || choose_format(guest, &options.format, err) < 0 ||
        vq_save_xml_of_guest(guest, xml, &options.take_xml, err) < 0)
        return -1;
    return vq_saving_start(guest, &options, request, NULL, err);
}

static void save(struct vq_request *request, const char *path, const char *xml, uint32_t flags)
{
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (!check_flags(request, flags) || (guest = vq_qemu_guest_of(request)) == NULL ||
        !vq_qemu_activity_allows(request, guest))
        return;
    if (start_saving(request, guest, VQ_SAVING_FILE, path, xml, flags, &err) < 0)
        fail(request, &err);
}

static void domain_save(struct vq_request *request)
{
    save(request, ((const struct vq_remote_domain_save_args *)request->args)->to, NULL, 0);
}

static void domain_save_flags(struct vq_request *request)
{
    const struct vq_remote_domain_save_flags_args *args = request->args;

    save(request, args->to, args->dxml, args->flags);
}

/* The parameters of save and restore. False: the request was failed. */
static bool read_params(struct vq_request *request, const struct vq_typed_param *params, uint32_t n, const char **ret_file,
                        const char **ret_xml)
{
    const struct { const char *name; const char **value; } known[] = { { VIR_DOMAIN_SAVE_PARAM_FILE, ret_file },
                                                                       { VIR_DOMAIN_SAVE_PARAM_DXML, ret_xml } };

    *ret_file = *ret_xml = NULL;
    for (uint32_t i = 0; i < n; i++) {
        size_t k = 0;

        while (k < VQ_N_ELEMENTS(known) && !vq_streq(params[i].field, known[k].name))
            k++;
        if (k == VQ_N_ELEMENTS(known)) {
            vq_qemu_refuse(request, VQ_FROM, VIR_ERR_ARGUMENT_UNSUPPORTED, "parameter '%s' not supported", params[i].field);
            return false;
        }
        if (params[i].type != VIR_TYPED_PARAM_STRING || *known[k].value != NULL) {
            vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, params[i].type != VIR_TYPED_PARAM_STRING
                           ? "invalid type for parameter '%s', expected string" : "parameter '%s' occurs multiple times",
                           params[i].field);
            return false;
        }
        *known[k].value = params[i].value.s;
    }
    return true;
}

/* ---- Managed save ---- */

static int check_managed(const struct vq_request *request, struct vq_qemu_guest *guest, struct vq_error *err)
{
    if ((request->domain->flags & VQ_INFO_PERSISTENT) == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "cannot do managed save for transient domain");
    if (!guest->qemu->host->has_quorum())
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "without a quorum the cluster cannot remember that domain '%s' is "
                            "saved: save it into a file, or shut it down", guest->name);
    return 0;
}

static void managed_save(struct vq_request *request, const char *xml, uint32_t flags)
{
    VQ_AUTOFREE char *path = NULL;
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (!check_flags(request, flags) || (guest = vq_qemu_guest_of(request)) == NULL ||
        !vq_qemu_activity_allows(request, guest))
        return;
    path = vq_managed_path(guest->qemu, request->domain->name);
    if (check_managed(request, guest, &err) < 0 || vq_managed_make_room(guest->qemu, guest->uuid, path, &err) < 0 ||
        start_saving(request, guest, VQ_SAVING_MANAGED, path, xml, flags, &err) < 0)
        fail(request, &err);
}

static void domain_managed_save(struct vq_request *request)
{
    managed_save(request, NULL, ((const struct vq_remote_domain_managed_save_args *)request->args)->flags);
}

/* Without a file it is a managed save. */
static void domain_save_params(struct vq_request *request)
{
    const struct vq_remote_domain_save_params_args *args = request->args;
    const char *file, *xml;

    if (!read_params(request, args->params, args->n_params, &file, &xml))
        return;
    if (file != NULL)
        save(request, file, xml, args->flags);
    else
        managed_save(request, xml, args->flags);
}

static void removed(const struct vq_error *err, void *data)
{
    if (err != NULL)
        vq_request_fail(data, err);
    else
        vq_request_reply(data);
}

static void domain_managed_save_remove(struct vq_request *request)
{
    const struct vq_remote_domain_managed_save_remove_args *args = request->args;

    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if ((request->domain->flags & VQ_INFO_MANAGED_SAVE) == 0)
        vq_request_reply(request);
    else
        vq_managed_remove(vq_qemu_of(request), request->domain->uuid, removed, request);
}

/* ---- Restore ---- */

static void restore(struct vq_request *request, const char *path, const char *xml, uint32_t flags)
{
    const struct vq_restore_options options = { .path = path, .xml = xml, .runs = (flags & VIR_DOMAIN_SAVE_RUNNING) != 0,
                                                .pauses = (flags & VIR_DOMAIN_SAVE_PAUSED) != 0,
                                                .bypasses_cache = (flags & VIR_DOMAIN_SAVE_BYPASS_CACHE) != 0 };

    if (!check_flags(request, flags))
        return;
    if (path[0] != '/')
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "path '%s' must be absolute", path);
    else
        vq_restore(request, &options);
}

static void domain_restore(struct vq_request *request)
{
    restore(request, ((const struct vq_remote_domain_restore_args *)request->args)->from, NULL, 0);
}

static void domain_restore_flags(struct vq_request *request)
{
    const struct vq_remote_domain_restore_flags_args *args = request->args;

    restore(request, args->from, args->dxml, args->flags);
}

static void domain_restore_params(struct vq_request *request)
{
    const struct vq_remote_domain_restore_params_args *args = request->args;
    const char *file, *xml;

    if (!read_params(request, args->params, args->n_params, &file, &xml))
        return;
    if (file == NULL)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "missing path to restore from");
    else
        restore(request, file, xml, args->flags);
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_SAVE, domain_save),
    ROW(DOMAIN_SAVE_FLAGS, domain_save_flags),
    ROW(DOMAIN_SAVE_PARAMS, domain_save_params),
    ROW(DOMAIN_MANAGED_SAVE, domain_managed_save),
    ROW(DOMAIN_MANAGED_SAVE_REMOVE, domain_managed_save_remove),
    ROW(DOMAIN_RESTORE, domain_restore),
    ROW(DOMAIN_RESTORE_FLAGS, domain_restore_flags),
    ROW(DOMAIN_RESTORE_PARAMS, domain_restore_params),
};
const struct vq_qemu_rows vq_qemu_save_rows = { rows, VQ_N_ELEMENTS(rows) };
