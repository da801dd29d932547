/* Migration of a domain that does not run: see migrate_offline.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_offline.h"

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/driver.h"
#include "proto/cluster.pb-c.h"

/* The sender's part of a cookie, in the request's arena. name: of the guest at the source. */
static int own_cookie(struct vq_request *request, const uint8_t uuid[16], const char *name, uint8_t **ret_bytes,
                      uint32_t *ret_length, struct vq_error *err)
{
    struct vq_migrate_cookie cookie;
    int rc;

    vq_migrate_cookie_init(&cookie, vq_qemu_of(request), uuid, name);
    rc = vq_migrate_cookie_write(&cookie, request->arena, ret_bytes, ret_length, err);
    vq_migrate_cookie_done(&cookie);
    return rc;
}

static const char *shown_name(const struct vq_migrate_options *options, const struct vq_domain *def)
{
    return options->dname != NULL ? options->dname : def->name;
}

/* ---- begin ---- */

/* The definition that goes, or a user's own of the same domain. */
static int read_definition(struct vq_request *request, const struct vq_migrate_options *options, struct vq_domain **ret,
                           struct vq_error *err)
{
    const uint8_t *uuid = request->domain->uuid;
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_domain_info info = { 0 };

    if (!vq_qemu_of(request)->host->domain_find(uuid, true, request->arena, &info) || info.xml == NULL)
        return vq_qemu_definition_error(uuid, request->domain->name, &info, err);
    if (options->dxml == NULL)
        return vq_qemu_parse_stored(info.xml, ret, err);
    if (vq_domain_parse(options->dxml, VQ_PARSE_INACTIVE, &def, err) < 0)
        return -1;
    if (!vq_streq(def->name, info.name) || memcmp(def->uuid, uuid, sizeof(def->uuid)) != 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the XML for the destination is of another domain than '%s'",
                            info.name);
    *ret = vq_take(def);
    return 0;
}

void vq_migrate_offline_begin(struct vq_request *request, const struct vq_migrate_options *options, vq_migrate_begin_cb cb,
                              void *data)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    VQ_AUTOFREE char *xml = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *cookie = NULL;
    uint32_t length = 0;

    if (read_definition(request, options, &def, &err) < 0 ||
        own_cookie(request, request->domain->uuid, def->name, &cookie, &length, &err) < 0) {
        cb(NULL, NULL, 0, &err, data);
        return;
    }
    xml = vq_domain_format(def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE);
    cb(xml, cookie, length, NULL, data);
}

/* ---- prepare ---- */

/* A domain of this cluster: only its owner changes. */
static int check_move(const struct vq_qemu *qemu, const struct vq_domain_info *info, const struct vq_migrate_options *options,
                      struct vq_error *err)
{
    if (info->owner == qemu->host->node_id)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is on this node already", info->name);
    if (info->id >= 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is active: it can only be migrated live",
                            info->name);
    if (options->dname != NULL && strcmp(options->dname, info->name) != 0)
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED,
                            "domain '%s' stays in its cluster: a migration cannot rename it", info->name);
    return 0;
}

static int check_new(struct vq_request *request, const struct vq_domain *def, const char *name, struct vq_error *err)
{
    struct vq_domain_info info = { 0 };
    char uuid[VQ_UUID_TEXT];

    if (!vq_uuid_is_usable(def->uuid))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "the domain XML has no UUID");
    if (!vq_qemu_of(request)->host->domain_find_by_name(request->driver, name, request->arena, &info))
        return 0;
    vq_uuid_format(info.uuid, uuid);
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' already exists with uuid %s", name, uuid);
}

static int check_prepare(struct vq_request *request, const struct vq_migrate_options *options, const struct vq_domain *def,
                         const struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    const struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_domain_info info = { 0 };

    if (vq_migrate_cookie_check(cookie, qemu, def->uuid, def->name, err) < 0)
        return -1;
    if (qemu->host->domain_find(def->uuid, false, request->arena, &info))
        return check_move(qemu, &info, options, err);
    return check_new(request, def, shown_name(options, def), err);
}

void vq_migrate_offline_prepare(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                                uint32_t cookie_length, vq_migrate_prepare_cb cb, void *data)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_migrate_cookie theirs = { .is_set = false };
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *own = NULL;
    uint32_t length = 0;
    int rc;

    rc = vq_domain_parse(options->dxml, VQ_PARSE_INACTIVE, &def, &err);
    if (rc == 0)
        rc = vq_migrate_cookie_read(cookie, cookie_length, &theirs, &err);
    if (rc == 0)
        rc = check_prepare(request, options, def, &theirs, &err);
    if (rc == 0)
        rc = own_cookie(request, def->uuid, def->name, &own, &length, &err);
    vq_migrate_cookie_done(&theirs);
    cb("tcp:offline", own, length, rc < 0 ? &err : NULL, data);
}

/* ---- finish ---- */

struct finishing {
    struct vq_request *request;
    struct vq_domain *def;     /* as it came, with the name that it gets here */
    char *source_name;
    char *xml;                 /* to be defined; NULL: the definition stays as it is */
    vq_migrate_offline_cb cb;
    void *data;
};

static void finish_over(struct finishing *finishing, const struct vq_error *err)
{
    struct vq_error own = VQ_ERROR_INIT;
    uint8_t *cookie = NULL;
    uint32_t length = 0;

    if (err == NULL &&
        own_cookie(finishing->request, finishing->def->uuid, finishing->source_name, &cookie, &length, &own) < 0)
        err = &own;
    if (err != NULL)
        finishing->cb(NULL, NULL, NULL, 0, err, finishing->data);
    else
        finishing->cb(finishing->def->name, finishing->def->uuid, cookie, length, NULL, finishing->data);
    vq_domain_free(finishing->def);
    free(finishing->source_name);
    free(finishing->xml);
    free(finishing);
}

static void defined(const struct vq_domain *definition, const struct vq_proposal_result *result, const struct vq_error *err,
                    void *data)
{
    (void)definition;
    (void)result;
    finish_over(data, err);
}

/* It is here already; what was to be changed beside is not worth an error. */
static void redefined(const struct vq_domain *definition, const struct vq_proposal_result *result,
                      const struct vq_error *err, void *data)
{
    const struct finishing *finishing = data;

    (void)definition;
    (void)result;
    if (err != NULL)
        vq_log(WARN, "migrate.offline", "domain=%s: %s; it has come with the definition that it had", finishing->def->name,
               err->message);
    finish_over(data, NULL);
}

static void moved(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    const struct vq_qemu_define_options options = { .persistent = true };
    struct finishing *finishing = data;

    (void)result;
    if (err != NULL || finishing->xml == NULL)
        finish_over(finishing, err);
    else
        vq_qemu_define_xml(vq_qemu_of(finishing->request), finishing->xml, &options, redefined, finishing);
}

/* Only what differs from the definition that is there is worth a new version of it. */
static void keep_difference(struct finishing *finishing, const struct vq_domain_info *info)
{
    const unsigned flags = VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE;
    VQ_AUTOPTR(vq_domain) there = NULL;
    VQ_AUTOPTR(vq_domain) wanted = NULL;
    VQ_AUTOFREE char *old = NULL, *new = NULL;

    if (info->xml == NULL || vq_qemu_parse_stored(info->xml, &there, NULL) < 0 ||
        vq_domain_parse(finishing->xml, VQ_PARSE_INACTIVE, &wanted, NULL) < 0)
        return;
    old = vq_domain_format(there, flags);
    new = vq_domain_format(wanted, flags);
    if (strcmp(old, new) != 0)
        return;
    free(finishing->xml);
    finishing->xml = NULL;
}

static void move(struct finishing *finishing, const struct vq_domain_info *info)
{
    const struct vq_driver_host *host = vq_qemu_of(finishing->request)->host;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainOwner owner = VQ__DOMAIN_OWNER__INIT;

    keep_difference(finishing, info);
    owner.uuid = (ProtobufCBinaryData){ .data = finishing->def->uuid, .len = VQ_UUID_BYTES };
    owner.from = info->owner;
    owner.to = host->node_id;
    owner.if_generation = info->generation;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_OWNER;
    command.domain_owner = &owner;
    host->propose(&command, 0, moved, finishing);
}

/* The definition to keep is the user's own where he gave one; its domain is the one that was prepared. */
static int read_finish(struct finishing *finishing, const struct vq_migrate_options *options, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) kept = NULL;

    if (options->dxml == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "no domain XML passed");
    if (vq_domain_parse(options->dxml, VQ_PARSE_INACTIVE, &finishing->def, err) < 0)
        return -1;
    finishing->source_name = vq_strdup(finishing->def->name);
    if (options->dname != NULL)
        vq_set_text(&finishing->def->name, options->dname);
    if (options->persistent_xml != NULL && vq_domain_parse(options->persistent_xml, VQ_PARSE_INACTIVE, &kept, err) < 0)
        return -1;
    if (kept != NULL) {
        memcpy(kept->uuid, finishing->def->uuid, sizeof(kept->uuid));
        vq_set_text(&kept->name, finishing->def->name);
    }
    finishing->xml = vq_domain_format(kept != NULL ? kept : finishing->def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    return 0;
}

void vq_migrate_offline_finish(struct vq_request *request, const struct vq_migrate_options *options, bool cancelled,
                               vq_migrate_offline_cb cb, void *data)
{
    const struct vq_qemu_define_options as_new = { .persistent = true, .must_be_new = true };
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_domain_info info = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    struct finishing *finishing;

    if (cancelled) {
        (void)vq_error_set(&err, VIR_ERR_MIGRATE_FINISH_OK, "migration successfully aborted");
        cb(NULL, NULL, NULL, 0, &err, data);
        return;
    }
    finishing = vq_new(struct finishing);
    *finishing = (struct finishing){ .request = request, .cb = cb, .data = data };
    if (read_finish(finishing, options, &err) < 0)
        finish_over(finishing, &err);
    else if (!qemu->host->domain_find(finishing->def->uuid, true, request->arena, &info))
        vq_qemu_define_xml(qemu, finishing->xml, &as_new, defined, finishing);
    else if (check_move(qemu, &info, options, &err) < 0)
        finish_over(finishing, &err);
    else
        move(finishing, &info);
}

/* ---- confirm ---- */

struct confirming {
    vq_migrate_cookie_cb cb;
    void *data;
};

static void undefined(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct confirming *confirming = data;

    (void)result;
    confirming->cb(NULL, 0, err, confirming->data);
    free(confirming);
}

static void undefine(struct vq_request *request, vq_migrate_cookie_cb cb, void *data)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainUndefine change = VQ__DOMAIN_UNDEFINE__INIT;
    struct confirming *confirming = vq_new(struct confirming);

    *confirming = (struct confirming){ cb, data };
    change.uuid = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)request->domain->uuid, .len = VQ_UUID_BYTES };
    change.make_transient = request->domain->id >= 0;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_UNDEFINE;
    command.domain_undefine = &change;
    vq_qemu_of(request)->host->propose(&command, 0, undefined, confirming);
}

/* Where the owner has changed, this call has come to the new one, and the definition is the one that has moved. */
void vq_migrate_offline_confirm(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                                uint32_t cookie_length, bool cancelled, vq_migrate_cookie_cb cb, void *data)
{
    const struct vq_qemu *qemu = vq_qemu_of(request);
    const struct vq_domain_info *info = request->domain;
    struct vq_migrate_cookie theirs;
    struct vq_error err = VQ_ERROR_INIT;
    bool is_elsewhere;

    if (cancelled) {
        cb(NULL, 0, NULL, data);
        return;
    }
    if (vq_migrate_cookie_read(cookie, cookie_length, &theirs, &err) < 0) {
        cb(NULL, 0, &err, data);
        return;
    }
    is_elsewhere = theirs.is_set && !vq_migrate_cookie_is_ours(&theirs, qemu);
    if (is_elsewhere && vq_migrate_cookie_check(&theirs, qemu, info->uuid, info->name, &err) < 0)
        cb(NULL, 0, &err, data);
    else if (is_elsewhere && (options->flags & VIR_MIGRATE_UNDEFINE_SOURCE) != 0 && (info->flags & VQ_INFO_PERSISTENT) != 0)
        undefine(request, cb, data);
    else
        cb(NULL, 0, NULL, data);
    vq_migrate_cookie_done(&theirs);
}
