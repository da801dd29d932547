/* Definitions as clients ask for them: define, undefine, XML, rename. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/handlers_define.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/cpu_run.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/firmware.h"
#include "drivers/qemu/guest.h"
#include "proto/cluster.pb-c.h"
#include "proto/gen/remote.h"

/* ---- What handlers share ---- */

void vq_qemu_refuse(struct vq_request *request, int from, int code, const char *fmt, ...)
{
    struct vq_error err = VQ_ERROR_INIT;
    char text[sizeof(err.message)];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)vq_error_set_from(&err, from, code, "%s", text);
    vq_request_fail(request, &err);
}

static void refuse_for_memory(struct vq_request *request)
{
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
}

void vq_qemu_reply_text(struct vq_request *request, const char **ret_text, char *take_text)
{
    *ret_text = vq_arena_strdup(request->arena, take_text);
    free(take_text);
    if (*ret_text == NULL)
        refuse_for_memory(request);
    else
        vq_request_reply(request);
}

void *vq_qemu_request_alloc(struct vq_request *request, size_t size)
{
    void *memory = vq_arena_alloc(request->arena, 1, size);

    if (memory == NULL)
        refuse_for_memory(request);
    return memory;
}

void vq_qemu_change_over(const struct vq_error *err, void *request)
{
    if (err != NULL)
        vq_request_fail(request, err);
    else
        vq_request_reply(request);
}

bool vq_qemu_find_target(struct vq_request *request, uint32_t flags, struct vq_qemu_target *ret)
{
    const struct vq_domain_info *info = request->domain;
    bool is_active = info->id >= 0;

    *ret = (struct vq_qemu_target){
        .live = (flags & VIR_DOMAIN_AFFECT_LIVE) != 0,
        .config = (flags & VIR_DOMAIN_AFFECT_CONFIG) != 0,
    };
    if (!ret->live && !ret->config) {
        ret->live = is_active;
        ret->config = !is_active;
    }
    if (ret->live && !is_active) {
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "domain is not running");
        return false;
    }
    if (ret->config && (info->flags & VQ_INFO_PERSISTENT) == 0) {
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID,
                       "transient domains do not have any persistent config");
        return false;
    }
    if (ret->live) {
        ret->guest = vq_qemu_guest_find(vq_qemu_of(request), info->uuid);
        if (ret->guest == NULL || ret->guest->live == NULL) {
            vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "domain is not running");
            return false;
        }
    }
    return true;
}

/* The inactive definition, its text in ret->xml; false: the request was refused. */
static bool find_definition(struct vq_request *request, struct vq_domain_info *ret)
{
    struct vq_error err = VQ_ERROR_INIT;

    *ret = (struct vq_domain_info){0};
    if (vq_qemu_of(request)->host->domain_find(request->domain->uuid, true, request->arena, ret) && ret->xml != NULL)
        return true;
    (void)vq_qemu_definition_error(request->domain->uuid, request->domain->name, ret, &err);
    vq_request_fail(request, &err);
    return false;
}

struct vq_domain *vq_qemu_read_definition(struct vq_request *request)
{
    struct vq_domain_info info;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_domain *def = NULL;

    if (find_definition(request, &info) && vq_qemu_parse_stored(info.xml, &def, &err) < 0)
        vq_request_fail(request, &err);
    return def;
}

/* ---- Define ---- */

static void defined(const struct vq_domain *definition, const struct vq_proposal_result *result,
                    const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    struct vq_remote_domain_define_xml_ret *ret = request->ret; /* that of domain_define_xml_flags is the same */

    _Static_assert(sizeof(struct vq_remote_domain_define_xml_ret) == sizeof(struct vq_remote_domain_define_xml_flags_ret),
                   "one function fills the answers of both procedures");
    if (err != NULL) {
        vq_request_fail(request, err);
        return;
    }
    ret->dom.name = vq_arena_strdup(request->arena, definition->name);
    if (ret->dom.name == NULL) {
        refuse_for_memory(request);
        return;
    }
    memcpy(ret->dom.uuid, definition->uuid, sizeof(ret->dom.uuid));
    ret->dom.id = result->id;
    vq_request_reply(request);
}

static void define_xml(struct vq_request *request)
{
    const struct vq_remote_domain_define_xml_args *args = request->args;
    const struct vq_qemu_define_options options = {.persistent = true};

    vq_qemu_define_xml(vq_qemu_of(request), args->xml, &options, defined, request);
}

static void define_xml_flags(struct vq_request *request)
{
    const struct vq_remote_domain_define_xml_flags_args *args = request->args;
    const struct vq_qemu_define_options options = {.persistent = true,
                                                   .strict = (args->flags & VIR_DOMAIN_DEFINE_VALIDATE) != 0};

    if (vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_DEFINE_VALIDATE))
        vq_qemu_define_xml(vq_qemu_of(request), args->xml, &options, defined, request);
}

/* ---- Undefine ---- */

struct undefining {
    struct vq_request *request;
    char *nvram;             /* to be removed afterwards, or NULL */
    bool drops_tpm;          /* what its emulated TPM keeps goes as well */
};

static void undefined(const struct vq_proposal_result *result VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct undefining *undefining = data;

    if (err == NULL && undefining->nvram != NULL && unlink(undefining->nvram) < 0 && errno != ENOENT)
        vq_log(WARN, "domain.undefine", "domain=%s nvram='%s': %s, the file stays", undefining->request->domain->name,
               undefining->nvram, strerror(errno));
    if (err == NULL && undefining->drops_tpm &&
        !vq_qemu_tpm_remove(vq_qemu_of(undefining->request)->host->state_dir, undefining->request->domain->uuid))
        vq_log(WARN, "domain.undefine", "domain=%s: the state of its TPM cannot be removed, it stays",
               undefining->request->domain->name);
    vq_qemu_change_over(err, undefining->request);
}

/* The variables of UEFI firmware belong to the definition; they lie on the owner. False: the request was refused. */
static bool look_at_nvram(struct undefining *undefining, uint32_t flags)
{
    struct vq_request *request = undefining->request;
    struct vq_domain_info info;
    VQ_AUTOPTR(vq_domain) def = NULL;
    VQ_AUTOFREE char *path = NULL;

    if (request->domain->owner != vq_qemu_of(request)->host->node_id || (flags & VIR_DOMAIN_UNDEFINE_KEEP_NVRAM) != 0)
        return true;
    if (!find_definition(request, &info))
        return false;
    if (strstr(info.xml, "<nvram") == NULL && strstr(info.xml, "firmware='efi'") == NULL)
        return true;
    def = vq_qemu_read_definition(request);
    if (def == NULL)
        return false;
    /* Firmware that is chosen at each start has its store under the domain's name. */
    path = def->os.nvram != NULL                     ? vq_strdup(def->os.nvram)
           : def->os.firmware == VQ_FIRMWARE_EFI ? vq_qemu_nvram_path(def->name)
                                                 : NULL;
    if (path == NULL || access(path, F_OK) < 0)
        return true;
    if ((flags & VIR_DOMAIN_UNDEFINE_NVRAM) == 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot undefine domain with nvram");
        return false;
    }
    undefining->nvram = vq_arena_strdup(request->arena, path);
    return true;
}

/* What the guest entrusted to its TPM goes with the definition, unless somebody says otherwise; while it runs, it stays. False: the request
 * was refused. */
static bool look_at_tpm(struct undefining *undefining, uint32_t flags)
{
    struct vq_request *request = undefining->request;
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_domain_info info;

    if (request->domain->owner != vq_qemu_of(request)->host->node_id || request->domain->id >= 0 ||
        (flags & VIR_DOMAIN_UNDEFINE_KEEP_TPM) != 0)
        return true;
    if (!find_definition(request, &info))
        return false;
    if (strstr(info.xml, "<tpm") == NULL)
        return true;
    def = vq_qemu_read_definition(request);
    if (def == NULL)
        return false;
    for (size_t i = 0; i < def->devices.n_tpms; i++)
        if (def->devices.tpms[i]->backend == VQ_TPM_EMULATOR &&
            (def->devices.tpms[i]->persistent_state != VQ_SWITCH_ON || (flags & VIR_DOMAIN_UNDEFINE_TPM) != 0))
            undefining->drops_tpm = true;
    return true;
}

static void undefine_with(struct vq_request *request, uint32_t flags)
{
    struct undefining *undefining = vq_qemu_request_alloc(request, sizeof(*undefining));
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainUndefine undefine = VQ__DOMAIN_UNDEFINE__INIT;

    if (undefining == NULL)
        return;
    undefining->request = request;
    if (!look_at_nvram(undefining, flags) || !look_at_tpm(undefining, flags))
        return;
    undefine.uuid = (ProtobufCBinaryData){.data = (uint8_t *)request->domain->uuid, .len = VQ_UUID_BYTES};
    undefine.flags = flags;
    /* Also one whose start the cluster has not heard of yet. */
    undefine.make_transient = request->domain->id >= 0 ||
                              vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid) != NULL;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_UNDEFINE;
    command.domain_undefine = &undefine;
    vq_qemu_of(request)->host->propose(&command, 0, undefined, undefining);
}

static void undefine(struct vq_request *request)
{
    undefine_with(request, 0);
}

static void undefine_flags(struct vq_request *request)
{
    const struct vq_remote_domain_undefine_flags_args *args = request->args;
    const struct {
        uint32_t remove, keep;
        const char *what;
    } pairs[] = {{VIR_DOMAIN_UNDEFINE_NVRAM, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM, "nvram"},
                 {VIR_DOMAIN_UNDEFINE_TPM, VIR_DOMAIN_UNDEFINE_KEEP_TPM, "TPM"}};
    uint32_t allowed = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                       VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;

    for (size_t i = 0; i < VQ_N_ELEMENTS(pairs); i++)
        allowed |= pairs[i].remove | pairs[i].keep;
    if (!vq_qemu_check_flags(request, args->flags, allowed))
        return;
    for (size_t i = 0; i < VQ_N_ELEMENTS(pairs); i++) {
        if ((args->flags & pairs[i].remove) == 0 || (args->flags & pairs[i].keep) == 0)
            continue;
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot both keep and delete %s", pairs[i].what);
        return;
    }
    undefine_with(request, args->flags);
}

/* ---- XML ---- */

static void reply_formatted(struct vq_request *request, const struct vq_domain *def, uint32_t flags, bool is_live)
{
    struct vq_remote_domain_get_xml_desc_ret *ret = request->ret;
    unsigned format = is_live ? 0 : VQ_FORMAT_INACTIVE;

    if ((flags & VIR_DOMAIN_XML_SECURE) != 0)
        format |= VQ_FORMAT_SECURE;
    if ((flags & VIR_DOMAIN_XML_MIGRATABLE) != 0)
        format |= VQ_FORMAT_MIGRATABLE;
    vq_qemu_reply_text(request, &ret->xml, vq_domain_format(def, format));
}

/* With the CPU that the emulator would give. */
struct updating {
    struct vq_request *request;
    struct vq_domain *def;
};

static void update_with(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct updating *updating = data;
    struct vq_request *request = updating->request;
    const struct vq_remote_domain_get_xml_desc_args *args = request->args;

    if (err != NULL) {
        vq_request_fail(request, err);
    } else {
        vq_qemu_cpu_update(updating->def, caps);
        reply_formatted(request, updating->def, args->flags, false);
    }
    vq_domain_free(updating->def);
    free(updating);
}

static void reply_updated(struct vq_request *request)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOPTR(vq_domain) def = vq_qemu_read_definition(request);
    const char *path = def == NULL ? NULL : vq_qemu_choose_emulator(qemu, def, &err);

    if (def == NULL)
        return;
    if (path == NULL) {
        vq_request_fail(request, &err);
        return;
    }
    struct updating *updating = vq_new(struct updating);
    *updating = (struct updating){request, vq_take(def)};
    if (updating->def->type == VQ_VIRT_KVM)
        vq_qemu_emulators_get_kvm(qemu->emulators, path, update_with, updating);
    else
        vq_qemu_emulators_get(qemu->emulators, path, update_with, updating);
}

static void get_xml_desc(struct vq_request *request)
{
    const struct vq_remote_domain_get_xml_desc_args *args = request->args;
    struct vq_remote_domain_get_xml_desc_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = NULL;
    struct vq_domain_info info;
    VQ_AUTOPTR(vq_domain) def = NULL;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE |
                                                       VIR_DOMAIN_XML_UPDATE_CPU | VIR_DOMAIN_XML_MIGRATABLE))
        return;
    if (request->domain->id >= 0 && (args->flags & VIR_DOMAIN_XML_INACTIVE) == 0)
        guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    if (guest != NULL && guest->live != NULL) {
        reply_formatted(request, guest->live, args->flags, true);
        return;
    }
    if (!find_definition(request, &info))
        return;
    if ((args->flags & VIR_DOMAIN_XML_UPDATE_CPU) != 0) {
        reply_updated(request);
        return;
    }
    /* What is stored is what a client reads, but for secrets: nearly always it can be passed on as it is. */
    if ((args->flags & VIR_DOMAIN_XML_MIGRATABLE) == 0 &&
        ((args->flags & VIR_DOMAIN_XML_SECURE) != 0 || (!info.has_secrets && strstr(info.xml, " passwd=") == NULL))) {
        ret->xml = info.xml;
        vq_request_reply(request);
        return;
    }
    def = vq_qemu_read_definition(request);
    if (def != NULL)
        reply_formatted(request, def, args->flags, false);
}

/* ---- Rename ---- */

static void renamed(const struct vq_proposal_result *result VQ_UNUSED, const struct vq_error *err, void *data)
{
    vq_qemu_change_over(err, data);
}

static bool may_rename(struct vq_request *request, const char *new_name)
{
    const struct vq_domain_info *info = request->domain;
    struct vq_domain_info other = {0};

    if (new_name == NULL || new_name[0] == '\0')
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "string new_name in virDomainRename must not be empty");
    else if (strchr(new_name, '/') != NULL)
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_XML_ERROR, "name %s cannot contain '/'", new_name);
    else if (!vq_name_is_component(new_name))
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_XML_ERROR, "'%s' cannot be the name of a domain", new_name);
    else if (info->id >= 0)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot rename active domain");
    else if ((info->flags & VQ_INFO_PERSISTENT) == 0)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot rename a transient domain");
    else if ((info->flags & VQ_INFO_MANAGED_SAVE) != 0)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "domain with a managed saved state can't be renamed");
    else if (strcmp(info->name, new_name) == 0)
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "Can't rename domain to itself");
    else if (vq_qemu_of(request)->host->domain_find_by_name(request->driver, new_name, request->arena, &other))
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain with name '%s' already exists", new_name);
    else
        return true;
    return false;
}

static void rename_domain(struct vq_request *request)
{
    const struct vq_remote_domain_rename_args *args = request->args;
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_qemu_packed packed;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainRename rename = VQ__DOMAIN_RENAME__INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_qemu_check_flags(request, args->flags, 0) || !may_rename(request, args->new_name))
        return;
    def = vq_qemu_read_definition(request);
    if (def == NULL)
        return;
    vq_set_text(&def->name, args->new_name);
    if (vq_qemu_pack_definition(vq_qemu_of(request)->host, def, &packed, &err) < 0) {
        vq_request_fail(request, &err);
        return;
    }
    rename.uuid = (ProtobufCBinaryData){.data = (uint8_t *)request->domain->uuid, .len = VQ_UUID_BYTES};
    rename.new_name = def->name;
    rename.xml = (ProtobufCBinaryData){.data = packed.bytes, .len = packed.length};
    rename.xml_size = packed.xml_size;
    rename.xml_sealed = packed.is_sealed;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RENAME;
    command.domain_rename = &rename;
    vq_qemu_of(request)->host->propose(&command, 0, renamed, request);
    free(packed.bytes);
}

/* ---- The rows of this side of the driver ---- */

#define ROW(number, fn) {VQ_PROGRAM_REMOTE, VQ_REMOTE_##number, fn}
static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_DEFINE_XML, define_xml),
    ROW(DOMAIN_DEFINE_XML_FLAGS, define_xml_flags),
    ROW(DOMAIN_UNDEFINE, undefine),
    ROW(DOMAIN_UNDEFINE_FLAGS, undefine_flags),
    ROW(DOMAIN_GET_XML_DESC, get_xml_desc),
    ROW(DOMAIN_RENAME, rename_domain),
    ROW(DOMAIN_SET_MEMORY, vq_qemu_handle_set_memory),
    ROW(DOMAIN_SET_MEMORY_FLAGS, vq_qemu_handle_set_memory_flags),
    ROW(DOMAIN_SET_MAX_MEMORY, vq_qemu_handle_set_max_memory),
    ROW(DOMAIN_SET_VCPUS, vq_qemu_handle_set_vcpus),
    ROW(DOMAIN_SET_VCPUS_FLAGS, vq_qemu_handle_set_vcpus_flags),
    ROW(DOMAIN_GET_VCPUS_FLAGS, vq_qemu_handle_get_vcpus_flags),
    ROW(DOMAIN_SET_LIFECYCLE_ACTION, vq_qemu_handle_set_lifecycle_action),
    ROW(DOMAIN_GET_SCHEDULER_TYPE, vq_qemu_handle_get_scheduler_type),
    ROW(DOMAIN_SET_METADATA, vq_qemu_handle_set_metadata),
    ROW(DOMAIN_GET_METADATA, vq_qemu_handle_get_metadata),
    ROW(CONNECT_DOMAIN_XML_TO_NATIVE, vq_qemu_handle_xml_to_native),
    ROW(CONNECT_GET_MAX_VCPUS, vq_qemu_handle_get_max_vcpus),
    ROW(CONNECT_GET_VERSION, vq_qemu_handle_get_version),
    ROW(CONNECT_GET_CAPABILITIES, vq_qemu_handle_get_capabilities),
    ROW(CONNECT_GET_DOMAIN_CAPABILITIES, vq_qemu_handle_get_domain_capabilities),
    ROW(CONNECT_GET_CPU_MODEL_NAMES, vq_qemu_handle_get_cpu_model_names),
    ROW(NODE_GET_SEV_INFO, vq_qemu_handle_get_sev_info),
};
#undef ROW
const struct vq_qemu_rows vq_qemu_define_rows = {rows, VQ_N_ELEMENTS(rows)};
