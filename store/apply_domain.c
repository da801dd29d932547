/* Commands about domains. Each looks first and refuses before it writes. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <libvirt/libvirt.h>
#include <string.h>
#include <zstd.h>

#include "conf/base/text.h"
#include "store/ids.h"
#include "store/internal.h"

enum { SEAL_BYTES = 12 + 16 }; /* nonce and tag of AES-256-GCM: the least that something sealed has */

/* A head as the writer changes it: a copy, since a pointer into LMDB ends with the next write. */
struct head_copy {
    union {
        struct vq_domain_head head;
        uint8_t bytes[sizeof(struct vq_domain_head) + VQ_STORE_NAME_MAX + 1];
    };
};

static const struct {
    const char *name;
    enum vq_driver_type type;
} drivers[] = {{"qemu", VQ_DRIVER_QEMU}, {"lxc", VQ_DRIVER_LXC}, {"xen", VQ_DRIVER_XEN}, {"test", VQ_DRIVER_TEST}};

static enum vq_driver_type driver_by_name(const char *name)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(drivers); i++)
        if (strcmp(drivers[i].name, name) == 0)
            return drivers[i].type;
    return VQ_DRIVER_NONE;
}

/* ---- Records ---- */

/* 1 found, 0 none, -1 the store failed. */
static int read_head(struct vq_apply *apply, const uint8_t uuid[16], struct head_copy *ret)
{
    MDB_val value;
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_HEAD, uuid, 16, &value, apply->err);

    if (found <= 0)
        return found;
    if (value.mv_size < sizeof(ret->head) || value.mv_size > sizeof(ret->bytes))
        return vq_error_set(apply->err, VIR_ERR_INTERNAL_ERROR, "the head of a domain has a wrong size");
    memcpy(ret->bytes, value.mv_data, value.mv_size);
    if (value.mv_size != sizeof(ret->head) + (size_t)ret->head.name_length + 1)
        return vq_error_set(apply->err, VIR_ERR_INTERNAL_ERROR, "the head of a domain has a wrong length");
    return 1;
}

static int write_head(struct vq_apply *apply, const struct head_copy *copy)
{
    return vq_table_put(apply->store, VQ_TABLE_HEAD, copy->head.uuid, 16, copy->bytes,
                        sizeof(copy->head) + copy->head.name_length + 1, apply->err);
}

static size_t name_key(uint8_t driver, const char *name, uint8_t key[1 + VQ_STORE_NAME_MAX])
{
    size_t length = strlen(name);

    key[0] = driver;
    memcpy(key + 1, name, length);
    return 1 + length;
}

static int find_by_name(struct vq_apply *apply, uint8_t driver, const char *name, struct head_copy *ret)
{
    uint8_t key[1 + VQ_STORE_NAME_MAX], uuid[16];
    MDB_val value;
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_NAME, key, name_key(driver, name, key), &value,
                             apply->err);

    if (found <= 0)
        return found;
    if (value.mv_size != sizeof(uuid))
        return vq_error_set(apply->err, VIR_ERR_INTERNAL_ERROR, "an index of names is damaged");
    memcpy(uuid, value.mv_data, sizeof(uuid));
    return read_head(apply, uuid, ret);
}

/* The UUID that an id belongs to now. 1, 0, -1 as above. */
static int find_by_id(struct vq_apply *apply, int32_t id, uint8_t ret_uuid[16])
{
    struct vq_key32 key = vq_key32((uint32_t)id);
    MDB_val value;
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_ID, &key, sizeof(key), &value, apply->err);

    if (found > 0 && value.mv_size == 16)
        memcpy(ret_uuid, value.mv_data, 16);
    return found;
}

static int write_text(struct vq_apply *apply, const uint8_t uuid[16], const struct vq_text_head *head,
                      const ProtobufCBinaryData *xml)
{
    size_t extra = head->xml_size == 0 && head->is_sealed == 0 ? 1 : 0; /* the NUL of a plain text */
    size_t size = sizeof(*head) + xml->len + extra;
    MDB_val key = {16, (void *)uuid}, value = {size, NULL};
    int rc = mdb_put(apply->store->txn, apply->store->tables[VQ_TABLE_TEXT], &key, &value, MDB_RESERVE);

    if (rc != 0)
        return vq_store_mdb_error(apply->err, rc, "writing a definition");
    memcpy(value.mv_data, head, sizeof(*head));
    memcpy((char *)value.mv_data + sizeof(*head), xml->data, xml->len);
    if (extra != 0)
        ((char *)value.mv_data)[size - 1] = '\0';
    return 0;
}

static int read_text_head(struct vq_apply *apply, const uint8_t uuid[16], struct vq_text_head *ret)
{
    MDB_val value;
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_TEXT, uuid, 16, &value, apply->err);

    if (found < 0)
        return -1;
    if (found == 0 || !vq_store_text_is_valid(&value))
        return vq_error_set(apply->err, VIR_ERR_INTERNAL_ERROR, "the definition of a domain is missing");
    memcpy(ret, value.mv_data, sizeof(*ret));
    return 0;
}

/* The id's index follows the head. */
static int set_id(struct vq_apply *apply, struct vq_domain_head *head, int32_t id)
{
    struct vq_key32 old = vq_key32((uint32_t)head->id), new = vq_key32((uint32_t)id);

    if (head->id == id)
        return 0;
    if (head->id >= 0 && vq_table_delete(apply->store, VQ_TABLE_ID, &old, sizeof(old), apply->err) < 0)
        return -1;
    if (id >= 0 && vq_table_put(apply->store, VQ_TABLE_ID, &new, sizeof(new), head->uuid, 16, apply->err) < 0)
        return -1;
    head->id = id;
    return 0;
}

static int remove_domain(struct vq_apply *apply, struct head_copy *copy)
{
    uint8_t key[1 + VQ_STORE_NAME_MAX];
    size_t key_length = name_key(copy->head.driver, copy->head.name, key);

    if (set_id(apply, &copy->head, -1) < 0 ||
        vq_table_delete(apply->store, VQ_TABLE_NAME, key, key_length, apply->err) < 0 ||
        vq_table_delete(apply->store, VQ_TABLE_TEXT, copy->head.uuid, 16, apply->err) < 0)
        return -1;
    return vq_table_delete(apply->store, VQ_TABLE_HEAD, copy->head.uuid, 16, apply->err);
}

/* ---- What several commands need ---- */

/* Running as far as the cluster knows, or about to: its definition must stay, and its name with it. */
static bool may_run(const struct vq_domain_head *head)
{
    return head->id >= 0 || (head->flags & VQ_DOMAIN_CLAIMED) != 0;
}

static struct vq_change *domain_change(struct vq_apply *apply, enum vq_change_kind kind,
                                       const struct vq_domain_head *head)
{
    struct vq_change *change = vq_apply_change(apply, kind);

    memcpy(change->uuid, head->uuid, 16);
    change->name = vq_strdup(head->name);
    change->driver = head->driver;
    change->owner = head->owner;
    change->id = head->id;
    change->run = head->run;
    change->is_persistent = (head->flags & VQ_DOMAIN_PERSISTENT) != 0;
    return change;
}

static void succeed(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t number, int32_t id)
{
    memcpy(apply->result->uuid, head->uuid, 16);
    apply->result->version = head->version;
    apply->result->number = number;
    apply->result->id = id;
}

/* The domain a command names. 1 found; 0: refused already; -1 the store failed. */
static int require_domain(struct vq_apply *apply, const ProtobufCBinaryData *uuid, struct head_copy *ret)
{
    char text[VQ_UUID_TEXT];

    if (uuid->len != 16)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "a UUID has 16 bytes, not %zu", uuid->len);
    int found = read_head(apply, uuid->data, ret);
    if (found != 0)
        return found;
    vq_uuid_format(uuid->data, text);
    return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s'", text);
}

static int refuse_unless_owner(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t node)
{
    return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain '%s' belongs to node %llu, not to %llu",
                           head->name, (unsigned long long)head->owner, (unsigned long long)node);
}

static bool name_is_usable(const char *name)
{
    return vq_name_is_component(name) && strlen(name) <= VQ_STORE_NAME_MAX;
}

/* A definition that cannot be read back must not get in, and the answer must not depend on who decodes it. What is
 * sealed cannot be looked into: whoever opens it looks. */
static bool xml_is_usable(const ProtobufCBinaryData *xml, uint32_t xml_size, bool is_sealed)
{
    if (xml->len == 0 || xml->len > VQ_STORE_XML_MAX || xml_size > VQ_STORE_XML_MAX)
        return false;
    if (is_sealed)
        return xml->len > SEAL_BYTES;
    if (xml_size == 0)
        return memchr(xml->data, '\0', xml->len) == NULL;
    return ZSTD_getFrameContentSize(xml->data, xml->len) == xml_size;
}

/* A cluster that has no name yet has no nodes in its table. */
static int node_is_known(struct vq_apply *apply, uint64_t id)
{
    struct vq_key64 key = vq_key64(id);
    MDB_val value;

    if (vq_table_count(apply->store, apply->store->txn, VQ_TABLE_NODE) == 0)
        return id != 0;
    return vq_table_get(apply->store, apply->store->txn, VQ_TABLE_NODE, &key, sizeof(key), &value, apply->err);
}

/* ---- DomainDefine ---- */

static int refuse_taken_name(struct vq_apply *apply, const struct vq_domain_head *other, int code)
{
    char uuid[VQ_UUID_TEXT];

    vq_uuid_format(other->uuid, uuid);
    memcpy(apply->result->uuid, other->uuid, 16);
    return vq_apply_refuse(apply, VQ_FROM, code, "domain '%s' already exists with uuid %s", other->name, uuid);
}

/* 1: may go on, *ret_old is the domain to redefine when *ret_is_new is false; 0 refused; -1 the store failed. */
static int check_define(struct vq_apply *apply, const Vq__DomainDefine *define, enum vq_driver_type driver,
                        struct head_copy *ret_old, bool *ret_is_new)
{
    struct head_copy named;
    char uuid[VQ_UUID_TEXT];
    int old = read_head(apply, define->uuid.data, ret_old);
    int by_name = old < 0 ? -1 : find_by_name(apply, (uint8_t)driver, define->name, &named);

    if (by_name < 0)
        return -1;
    *ret_is_new = old == 0;
    vq_uuid_format(define->uuid.data, uuid);
    if (by_name > 0 && memcmp(named.head.uuid, define->uuid.data, 16) != 0)
        return refuse_taken_name(apply, &named.head, VIR_ERR_OPERATION_FAILED);
    if (old > 0 && (ret_old->head.driver != driver || strcmp(ret_old->head.name, define->name) != 0))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED, "domain '%s' is already defined with uuid %s",
                               ret_old->head.name, uuid);
    if (old > 0 && define->must_be_new && may_run(&ret_old->head))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain is already active as '%s'",
                               ret_old->head.name);
    if (old > 0 && (define->must_be_new || (!define->persistent && ret_old->head.flags & VQ_DOMAIN_PERSISTENT)))
        return refuse_taken_name(apply, &ret_old->head, VIR_ERR_OPERATION_FAILED);
    if (old == 0 && define->if_version != 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s'", uuid);
    if (old > 0 && define->if_version != 0 && define->if_version != ret_old->head.version) {
        apply->result->version = ret_old->head.version;
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED,
                               "the definition of domain '%s' was changed by somebody else at the same time",
                               define->name);
    }
    if (old > 0)
        return 1;
    if (vq_table_count(apply->store, apply->store->txn, VQ_TABLE_HEAD) >= VQ_STORE_DOMAINS_MAX)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED,
                               "the cluster has %d domains, the most that clients can list", VQ_STORE_DOMAINS_MAX);
    int known = node_is_known(apply, define->owner);
    if (known == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED, "node %llu is not a member of the cluster",
                               (unsigned long long)define->owner);
    return known;
}

static void set_defined_values(struct vq_domain_head *head, const struct vq_text_head *text)
{
    head->max_memory_kib = text->max_memory_kib;
    head->memory_kib = text->memory_kib;
    head->vcpus = text->vcpus;
    head->max_vcpus = text->max_vcpus;
}

/* The run number starts at one that no earlier domain of this UUID had. */
static void make_head(struct vq_apply *apply, const Vq__DomainDefine *define, enum vq_driver_type driver,
                      struct head_copy *ret)
{
    *ret = (struct head_copy){0};
    memcpy(ret->head.uuid, define->uuid.data, 16);
    ret->head.owner = define->owner;
    ret->head.generation = 1;
    ret->head.run = vq_ids_cluster_run(++apply->store->meta.run_counter);
    ret->head.changed_ms = apply->command->time_ms;
    ret->head.id = -1;
    ret->head.driver = (uint8_t)driver;
    ret->head.state = VIR_DOMAIN_SHUTOFF;
    ret->head.format = 1;
    ret->head.name_length = (uint32_t)strlen(define->name);
    memcpy(ret->head.name, define->name, ret->head.name_length);
}

int vq_apply_domain_define(struct vq_apply *apply)
{
    const Vq__DomainDefine *define = apply->command->domain_define;
    enum vq_driver_type driver = driver_by_name(define->driver);
    struct head_copy copy;
    uint8_t key[1 + VQ_STORE_NAME_MAX];
    bool is_new = false;

    if (driver == VQ_DRIVER_NONE || define->uuid.len != 16 || !vq_uuid_is_usable(define->uuid.data))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "a definition needs a driver and a UUID");
    if (!name_is_usable(define->name))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_XML_ERROR, "'%s' cannot be the name of a domain", define->name);
    if (!xml_is_usable(&define->xml, define->xml_size, define->xml_sealed != 0))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG,
                               "the definition of '%s' is empty, too long or damaged", define->name);
    int may = check_define(apply, define, driver, &copy, &is_new);
    if (may <= 0)
        return may;

    struct vq_text_head text = {define->max_memory_kib, define->memory_kib, define->vcpus,
                                define->max_vcpus,      define->xml_size,   define->xml_sealed != 0};
    if (is_new)
        make_head(apply, define, driver, &copy);
    if (copy.head.id < 0)
        set_defined_values(&copy.head, &text);
    copy.head.version++;
    copy.head.flags |= define->persistent ? VQ_DOMAIN_PERSISTENT : 0;
    if (write_head(apply, &copy) < 0 || write_text(apply, copy.head.uuid, &text, &define->xml) < 0)
        return -1;
    if (is_new && vq_table_put(apply->store, VQ_TABLE_NAME, key, name_key(copy.head.driver, copy.head.name, key),
                               copy.head.uuid, 16, apply->err) < 0)
        return -1;
    domain_change(apply, VQ_CHANGE_DOMAIN_DEFINED, &copy.head)->is_new = is_new;
    succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}

/* ---- The others ---- */

int vq_apply_domain_undefine(struct vq_apply *apply)
{
    const Vq__DomainUndefine *undefine = apply->command->domain_undefine;
    struct head_copy copy;
    int found = require_domain(apply, &undefine->uuid, &copy);

    if (found <= 0)
        return found;
    if ((copy.head.flags & VQ_DOMAIN_PERSISTENT) == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot undefine transient domain");
    if ((copy.head.flags & VQ_DOMAIN_MANAGED_SAVE) != 0 && (undefine->flags & VIR_DOMAIN_UNDEFINE_MANAGED_SAVE) == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                               "domain '%s' has a managed save image; remove it first", copy.head.name);
    if (undefine->make_transient || may_run(&copy.head)) {
        copy.head.flags &=
            ~(uint32_t)(VQ_DOMAIN_PERSISTENT | VQ_DOMAIN_AUTOSTART | VQ_DOMAIN_AUTOSTART_ONCE | VQ_DOMAIN_MANAGED_SAVE);
        if (write_head(apply, &copy) < 0)
            return -1;
    } else if (remove_domain(apply, &copy) < 0) {
        return -1;
    }
    domain_change(apply, VQ_CHANGE_DOMAIN_UNDEFINED, &copy.head);
    succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}

static void set_flag(struct vq_domain_head *head, bool is_given, bool value, uint32_t flag)
{
    if (is_given)
        head->flags = value ? head->flags | flag : head->flags & ~flag;
}

int vq_apply_domain_settings(struct vq_apply *apply)
{
    const Vq__DomainSettings *settings = apply->command->domain_settings;
    struct head_copy copy;
    int found = require_domain(apply, &settings->uuid, &copy);

    if (found <= 0)
        return found;
    if ((copy.head.flags & VQ_DOMAIN_PERSISTENT) == 0 && (settings->has_autostart || settings->has_autostart_once))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot set autostart for transient domain");
    set_flag(&copy.head, settings->has_autostart, settings->autostart, VQ_DOMAIN_AUTOSTART);
    set_flag(&copy.head, settings->has_managed_save, settings->managed_save, VQ_DOMAIN_MANAGED_SAVE);
    set_flag(&copy.head, settings->has_autostart_once, settings->autostart_once, VQ_DOMAIN_AUTOSTART_ONCE);
    if (write_head(apply, &copy) < 0)
        return -1;
    domain_change(apply, VQ_CHANGE_DOMAIN_SETTINGS, &copy.head);
    succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}

/* The next id that no domain has now; there are more ids than domains. */
static int next_id(struct vq_apply *apply, int32_t *ret_id)
{
    struct vq_store_meta *meta = &apply->store->meta;
    uint8_t uuid[16];
    int found;

    do {
        meta->last_id = meta->last_id % VQ_ID_CLUSTER_MAX + 1;
        found = find_by_id(apply, (int32_t)meta->last_id, uuid);
    } while (found > 0);
    *ret_id = (int32_t)meta->last_id;
    return found;
}

int vq_apply_domain_run(struct vq_apply *apply)
{
    const Vq__DomainRun *run = apply->command->domain_run;
    struct vq_store_meta *meta = &apply->store->meta;
    struct head_copy copy;
    uint8_t holder[16];
    int32_t id = run->local_id;
    int found = require_domain(apply, &run->uuid, &copy);

    if (found <= 0)
        return found;
    if (copy.head.owner != run->node)
        return refuse_unless_owner(apply, &copy.head, run->node);
    if (run->if_generation != 0 && run->if_generation != copy.head.generation)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "the owner of domain '%s' was changed",
                               copy.head.name);
    if (run->local_run != 0 && run->local_run <= copy.head.run)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain '%s' has had a later run",
                               copy.head.name);
    if (run->local_run == 0) {
        copy.head.run = vq_ids_cluster_run(++meta->run_counter);
    } else {
        copy.head.run = run->local_run;
        if (meta->run_counter < run->local_run >> VQ_RUN_LOCAL_BITS)
            meta->run_counter = run->local_run >> VQ_RUN_LOCAL_BITS;
    }
    /* The report that it runs comes after QEMU does: until then nobody may take the domain away under it. */
    copy.head.flags |= VQ_DOMAIN_CLAIMED;
    found = run->local_run == 0 || id <= 0 ? 1 : find_by_id(apply, id, holder);
    if (found < 0 || (found > 0 && next_id(apply, &id) < 0) || write_head(apply, &copy) < 0)
        return -1;
    succeed(apply, &copy.head, copy.head.run, id);
    return 0;
}

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_state(struct vq_apply *apply, const Vq__DomainState *state, const struct vq_domain_head *head)
{
    uint8_t holder[16];

    if (state->node != head->owner)
        return refuse_unless_owner(apply, head, state->node);
    if (state->run < head->run)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "the report is about an earlier run of '%s'",
                               head->name);
    if (state->state > VIR_DOMAIN_PMSUSPENDED || state->reason > UINT8_MAX || state->id < -1 ||
        state->n_events > VQ_CHANGE_EVENTS_MAX)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "the report about '%s' makes no sense", head->name);
    int found = state->id < 0 ? 0 : find_by_id(apply, state->id, holder);
    if (found > 0 && memcmp(holder, head->uuid, 16) != 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED, "id %d of '%s' is another domain's", state->id,
                               head->name);
    return found < 0 ? -1 : 1;
}

static int put_state(struct vq_apply *apply, const Vq__DomainState *state, struct head_copy *copy)
{
    struct vq_domain_head *head = &copy->head;
    struct vq_text_head text;

    if (read_text_head(apply, head->uuid, &text) < 0 || set_id(apply, head, state->id) < 0)
        return -1;
    set_defined_values(head, &text);
    if (state->id >= 0) {
        head->max_memory_kib = state->max_memory_kib != 0 ? state->max_memory_kib : head->max_memory_kib;
        head->memory_kib = state->memory_kib != 0 ? state->memory_kib : head->memory_kib;
        head->vcpus = state->vcpus != 0 ? state->vcpus : head->vcpus;
    }
    head->run = state->run;
    head->state = (uint8_t)state->state;
    head->reason = (uint8_t)state->reason;
    head->changed_ms = apply->command->time_ms;
    set_flag(head, true, state->was_updated && state->id >= 0, VQ_DOMAIN_UPDATED);
    set_flag(head, true, false, VQ_DOMAIN_CLAIMED);
    return write_head(apply, copy);
}

int vq_apply_domain_state(struct vq_apply *apply)
{
    const Vq__DomainState *state = apply->command->domain_state;
    struct head_copy copy;
    int found = require_domain(apply, &state->uuid, &copy);

    if (found <= 0 || (found = check_state(apply, state, &copy.head)) <= 0)
        return found;
    int32_t old_id = copy.head.id;
    /* The owner may not have known yet that the domain was undefined when it reported the end of the guest: what is off
     * and not defined is no more, whatever the report says of it. */
    bool is_over = state->gone || (may_run(&copy.head) && state->id < 0);
    bool is_gone = is_over && (copy.head.flags & VQ_DOMAIN_PERSISTENT) == 0;
    if ((is_gone ? remove_domain(apply, &copy) : put_state(apply, state, &copy)) < 0)
        return -1;
    uint64_t counter = copy.head.run >> VQ_RUN_LOCAL_BITS;
    if (apply->store->meta.run_counter < counter)
        apply->store->meta.run_counter = counter; /* a start without a quorum that was only reported */
    struct vq_change *change = domain_change(apply, VQ_CHANGE_DOMAIN_STATE, &copy.head);
    change->id = state->id >= 0 ? state->id : old_id;
    change->run = state->run;
    change->is_gone = is_gone;
    change->mesh_sequence = state->mesh_sequence;
    change->n_events = (uint8_t)state->n_events;
    for (size_t i = 0; i < state->n_events; i++) {
        change->events[i].event = (uint8_t)state->events[i]->event;
        change->events[i].detail = (uint8_t)state->events[i]->detail;
    }
    succeed(apply, &copy.head, state->run, copy.head.id);
    return 0;
}

int vq_apply_domain_owner(struct vq_apply *apply)
{
    const Vq__DomainOwner *owner = apply->command->domain_owner;
    struct head_copy copy;
    int found = require_domain(apply, &owner->uuid, &copy);

    if (found <= 0)
        return found;
    if (copy.head.owner != owner->from)
        return refuse_unless_owner(apply, &copy.head, owner->from);
    if (copy.head.generation != owner->if_generation)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "the owner of domain '%s' was changed",
                               copy.head.name);
    int known = node_is_known(apply, owner->to);
    if (known == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED, "node %llu is not a member of the cluster",
                               (unsigned long long)owner->to);
    copy.head.owner = owner->to;
    copy.head.generation++;
    if (known < 0 || write_head(apply, &copy) < 0)
        return -1;
    domain_change(apply, VQ_CHANGE_DOMAIN_OWNER, &copy.head);
    succeed(apply, &copy.head, copy.head.generation, copy.head.id);
    return 0;
}

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_rename(struct vq_apply *apply, const Vq__DomainRename *rename, const struct vq_domain_head *head)
{
    struct head_copy named;

    if (!name_is_usable(rename->new_name) || !xml_is_usable(&rename->xml, rename->xml_size, rename->xml_sealed != 0))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a domain",
                               rename->new_name);
    if ((head->flags & VQ_DOMAIN_PERSISTENT) == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot rename a transient domain");
    if (may_run(head))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot rename active domain");
    int found = find_by_name(apply, head->driver, rename->new_name, &named);
    if (found > 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain with name '%s' already exists",
                               rename->new_name);
    return found < 0 ? -1 : 1;
}

int vq_apply_domain_rename(struct vq_apply *apply)
{
    const Vq__DomainRename *rename = apply->command->domain_rename;
    uint8_t key[1 + VQ_STORE_NAME_MAX];
    struct head_copy copy;
    struct vq_text_head text;
    int found = require_domain(apply, &rename->uuid, &copy);

    if (found <= 0 || (found = check_rename(apply, rename, &copy.head)) <= 0)
        return found;
    if (read_text_head(apply, copy.head.uuid, &text) < 0 ||
        vq_table_delete(apply->store, VQ_TABLE_NAME, key, name_key(copy.head.driver, copy.head.name, key), apply->err) <
            0)
        return -1;
    struct vq_change *change = domain_change(apply, VQ_CHANGE_DOMAIN_RENAMED, &copy.head);
    change->new_name = vq_strdup(rename->new_name);
    text.xml_size = rename->xml_size;
    text.is_sealed = rename->xml_sealed != 0;
    copy.head.name_length = (uint32_t)strlen(rename->new_name);
    memcpy(copy.head.name, rename->new_name, copy.head.name_length + 1);
    copy.head.version++;
    if (vq_table_put(apply->store, VQ_TABLE_NAME, key, name_key(copy.head.driver, copy.head.name, key), copy.head.uuid,
                     16, apply->err) < 0 ||
        write_head(apply, &copy) < 0 || write_text(apply, copy.head.uuid, &text, &rename->xml) < 0)
        return -1;
    succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}
