/* Definitions on their way into the replicated state. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/define.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/driver.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/driver.h"
#include "proto/cluster.pb-c.h"

enum { COMPRESS_FROM = 512, COMPRESS_LEVEL = 3 };

/* ---- The text ---- */

/* Compressed bytes instead of the text, where that is shorter. */
static void compress(struct vq_qemu_packed *packed)
{
    size_t length = packed->length, bound = ZSTD_compressBound(length);

    if (length < COMPRESS_FROM)
        return;
    uint8_t *bytes = vq_calloc(bound, 1);
    size_t size = ZSTD_compress(bytes, bound, packed->bytes, length, COMPRESS_LEVEL);
    if (ZSTD_isError(size) || size >= length) {
        free(bytes);
        return;
    }
    free(packed->bytes);
    *packed = (struct vq_qemu_packed){.bytes = bytes, .length = size, .xml_size = (uint32_t)length};
}

int vq_qemu_pack_definition(const struct vq_driver_host *host, const struct vq_domain *definition,
                            struct vq_qemu_packed *ret, struct vq_error *err)
{
    bool has_secrets;
    char *xml = vq_domain_format_secure(definition, VQ_FORMAT_INACTIVE, &has_secrets);
    struct vq_qemu_packed packed = {.bytes = (uint8_t *)xml, .length = strlen(xml)};
    uint8_t *sealed;
    size_t length;

    compress(&packed);
    if (has_secrets) {
        int rc = host->seal(definition->uuid, packed.bytes, packed.length, &sealed, &length, err);
        free(packed.bytes);
        if (rc < 0)
            return vq_error_wrap(err, "the definition of domain '%s' holds a secret", definition->name);
        packed = (struct vq_qemu_packed){sealed, length, packed.xml_size, true};
    }
    *ret = packed;
    return 0;
}

int vq_qemu_definition_error(const uint8_t uuid[16], const char *name, const struct vq_domain_info *info,
                             struct vq_error *err)
{
    char text[VQ_UUID_TEXT];

    if (info->xml_problem != NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "%s", info->xml_problem);
    vq_uuid_format(uuid, text);
    if (name == NULL)
        return vq_error_set(err, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s'", text);
    return vq_error_set(err, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s' (%s)", text, name);
}

int vq_qemu_parse_stored(const char *xml, struct vq_domain **ret, struct vq_error *err)
{
    if (vq_domain_parse(xml, VQ_PARSE_INACTIVE, ret, err) < 0)
        return -1;
    if ((*ret)->current_vcpus == 0)
        (*ret)->current_vcpus = (*ret)->vcpus;
    if ((*ret)->current_memory_kib == 0)
        (*ret)->current_memory_kib = (*ret)->memory_kib;
    return 0;
}

static void propose(struct vq_qemu *qemu, const struct vq_domain *def, Vq__DomainDefine *define, vq_propose_cb cb,
                    void *data)
{
    struct vq_qemu_packed packed;
    Vq__Command command = VQ__COMMAND__INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_qemu_pack_definition(qemu->host, def, &packed, &err) < 0) {
        cb(NULL, &err, data);
        return;
    }
    define->driver = (char *)qemu->driver->name;
    define->uuid = (ProtobufCBinaryData){.data = (uint8_t *)def->uuid, .len = sizeof(def->uuid)};
    define->name = def->name;
    define->owner = qemu->host->node_id;
    define->xml = (ProtobufCBinaryData){.data = packed.bytes, .len = packed.length};
    define->xml_size = packed.xml_size;
    define->xml_sealed = packed.is_sealed;
    define->max_memory_kib = def->memory_kib;
    define->memory_kib = def->current_memory_kib;
    define->vcpus = def->current_vcpus;
    define->max_vcpus = def->vcpus;
    if (def->title != NULL)
        define->title = def->title;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_DEFINE;
    command.domain_define = define;
    qemu->host->propose(&command, 0, cb, data); /* packed before this returns */
    free(packed.bytes);
}

/* Nothing is run for a domain that is not ours. */
const char *vq_qemu_choose_emulator(struct vq_qemu *qemu, const struct vq_domain *def, struct vq_error *err)
{
    const char *path = def->devices.emulator;

    if (def->type != VQ_VIRT_QEMU && def->type != VQ_VIRT_KVM) {
        (void)vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "the QEMU driver runs domains of type 'qemu' and 'kvm'");
        return NULL;
    }
    if (path == NULL)
        path = vq_qemu_emulators_default(qemu->emulators, def->os.arch);
    if (path == NULL)
        (void)vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "this host has no emulator for architecture '%s'",
                           def->os.arch == NULL ? "x86_64" : def->os.arch);
    return path;
}

/* ---- Defining ---- */

struct definer {
    struct vq_qemu *qemu;
    struct vq_domain *def;
    struct vq_qemu_define_options options;
    vq_qemu_defined_cb cb;
    void *data;
};

static void definer_end(struct definer *definer, const struct vq_proposal_result *result, const struct vq_error *err)
{
    definer->cb(err == NULL ? definer->def : NULL, result, err, definer->data);
    vq_domain_free(definer->def);
    free(definer);
}

static void define_done(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    definer_end(data, result, err);
}

/* Whoever defines the same twice changes nothing. */
static void keep_chosen(const struct definer *definer)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOPTR(vq_domain) old = NULL;
    struct vq_domain_info info = {0};
    struct vq_error ignored = VQ_ERROR_INIT; /* what cannot be read is replaced */

    if (!definer->def->has_uuid || !definer->qemu->host->domain_find(definer->def->uuid, true, arena, &info) ||
        info.xml == NULL)
        return;
    if (vq_qemu_parse_stored(info.xml, &old, &ignored) == 0)
        vq_domain_keep(definer->def, old);
}

static void define_with(const struct vq_qemu_capabilities *caps, const struct vq_error *caps_err, void *data)
{
    struct definer *definer = data;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (caps_err != NULL) {
        definer_end(definer, NULL, caps_err);
        return;
    }
    keep_chosen(definer);
    if (vq_qemu_definition_fill(definer->def, caps, definer->qemu->host->random, &err) < 0) {
        definer_end(definer, NULL, &err);
        return;
    }
    define.persistent = definer->options.persistent;
    define.must_be_new = definer->options.must_be_new;
    propose(definer->qemu, definer->def, &define, define_done, definer);
}

void vq_qemu_define_xml(struct vq_qemu *qemu, const char *xml, const struct vq_qemu_define_options *options,
                        vq_qemu_defined_cb cb, void *data)
{
    struct definer *definer = vq_new(struct definer);
    unsigned flags = VQ_PARSE_INACTIVE | (options->strict ? VQ_PARSE_STRICT : 0);
    struct vq_error err = VQ_ERROR_INIT;
    const char *emulator = NULL;

    *definer = (struct definer){.qemu = qemu, .options = *options, .cb = cb, .data = data};
    if (vq_domain_parse(xml, flags, &definer->def, &err) == 0)
        emulator = vq_qemu_choose_emulator(qemu, definer->def, &err);
    if (emulator == NULL)
        definer_end(definer, NULL, &err);
    else
        vq_qemu_emulators_get(qemu->emulators, emulator, define_with, definer);
}

/* ---- Changing ---- */

struct changer {
    struct changer *next;    /* in the list of all that are under way, oldest first */
    struct vq_qemu *qemu;
    uint8_t uuid[VQ_UUID_BYTES];
    struct vq_domain *def;
    uint64_t version;        /* of the definition that is being changed */
    unsigned tries;
    bool needs_fill;
    vq_qemu_change_fn change;
    void *change_data;
    vq_qemu_changed_cb cb;
    void *data;
};

/* All changes under way. Those of one domain take turns, so that calls on this node do not outrun each other; others may
 * still be quicker on another node. */
static struct changer *changers;
static size_t n_changers;

static void changer_try(struct changer *changer);

static struct changer *first_of(const uint8_t uuid[VQ_UUID_BYTES])
{
    struct changer *changer = changers;

    while (changer != NULL && memcmp(changer->uuid, uuid, VQ_UUID_BYTES) != 0)
        changer = changer->next;
    return changer;
}

static void changer_end(struct changer *changer, const struct vq_error *err)
{
    struct changer **place = &changers;
    struct changer *next;

    while (*place != changer)
        place = &(*place)->next;
    *place = changer->next;
    n_changers--;
    next = first_of(changer->uuid);
    changer->cb(err, changer->data);
    vq_domain_free(changer->def);
    free(changer);
    if (next != NULL)
        changer_try(next);
}

static void change_done(const struct vq_proposal_result *result VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct changer *changer = data;
    VQ_AUTOPTR(vq_arena) arena = NULL;
    struct vq_domain_info info = {0};

    if (err == NULL || err->code != VIR_ERR_OPERATION_FAILED || changer->tries >= VQ_QEMU_CHANGE_TRIES) {
        changer_end(changer, err);
        return;
    }
    /* Refused because somebody else was quicker? Then the version is another one now. */
    arena = vq_arena_new(0);
    if (changer->qemu->host->domain_find(changer->uuid, false, arena, &info) && info.version != changer->version)
        changer_try(changer);
    else
        changer_end(changer, err);
}

static void changer_propose(struct changer *changer)
{
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;

    define.persistent = true;
    define.if_version = changer->version;
    propose(changer->qemu, changer->def, &define, change_done, changer);
}

static void change_with(const struct vq_qemu_capabilities *caps, const struct vq_error *caps_err, void *data)
{
    struct changer *changer = data;
    struct vq_error err = VQ_ERROR_INIT;

    if (caps_err != NULL)
        changer_end(changer, caps_err);
    else if (vq_qemu_definition_fill(changer->def, caps, changer->qemu->host->random, &err) < 0)
        changer_end(changer, &err);
    else
        changer_propose(changer);
}

static int changer_read(struct changer *changer, struct vq_error *err)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = {0};

    vq_domain_free(vq_take(changer->def));
    if (!changer->qemu->host->domain_find(changer->uuid, true, arena, &info) || info.xml == NULL)
        return vq_qemu_definition_error(changer->uuid, NULL, &info, err);
    if ((info.flags & VQ_INFO_PERSISTENT) == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "transient domains do not have any persistent config");
    changer->version = info.version;
    return vq_qemu_parse_stored(info.xml, &changer->def, err);
}

static void changer_try(struct changer *changer)
{
    struct vq_error err = VQ_ERROR_INIT;
    const char *emulator = NULL;

    changer->tries++;
    if (changer_read(changer, &err) < 0 || changer->change(changer->def, changer->change_data, &err) < 0) {
        changer_end(changer, &err);
        return;
    }
    if (!changer->needs_fill) {
        changer_propose(changer);
        return;
    }
    emulator = vq_qemu_choose_emulator(changer->qemu, changer->def, &err);
    if (emulator == NULL)
        changer_end(changer, &err);
    else
        vq_qemu_emulators_get(changer->qemu->emulators, emulator, change_with, changer);
}

void vq_qemu_change_definition(struct vq_qemu *qemu, const uint8_t uuid[16], vq_qemu_change_fn change, void *change_data,
                               bool needs_fill, vq_qemu_changed_cb cb, void *data)
{
    struct changer *changer;
    struct changer **place = &changers;
    struct vq_error err = VQ_ERROR_INIT;
    bool must_wait = first_of(uuid) != NULL;

    if (n_changers >= VQ_QEMU_CHANGES_MAX) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "more than %d changes of definitions are under way",
                           VQ_QEMU_CHANGES_MAX);
        cb(&err, data);
        return;
    }
    changer = vq_new(struct changer);
    *changer = (struct changer){.qemu = qemu, .needs_fill = needs_fill, .change = change, .change_data = change_data,
                                .cb = cb, .data = data};
    memcpy(changer->uuid, uuid, sizeof(changer->uuid));
    while (*place != NULL)
        place = &(*place)->next;
    *place = changer;
    n_changers++;
    if (!must_wait)
        changer_try(changer);
}
