/* The records of domains, and what several commands look at. */
#define VQ_FROM VIR_FROM_DOMAIN
#include "store/record.h"

#include <string.h>
#include <zstd.h>

#include "conf/base/text.h"

enum { SEAL_BYTES = 12 + 16 }; /* nonce and tag of AES-256-GCM: the least that something sealed has */

static const struct {
    const char *name;
    enum vq_driver_type type;
} drivers[] = {{"qemu", VQ_DRIVER_QEMU}, {"lxc", VQ_DRIVER_LXC}, {"xen", VQ_DRIVER_XEN}, {"test", VQ_DRIVER_TEST}};

enum vq_driver_type vq_apply_driver_by_name(const char *name)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(drivers); i++)
        if (strcmp(drivers[i].name, name) == 0)
            return drivers[i].type;
    return VQ_DRIVER_NONE;
}

/* ---- Records ---- */

int vq_record_read(struct vq_apply *apply, const uint8_t uuid[16], struct vq_head_copy *ret)
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

int vq_record_write(struct vq_apply *apply, const struct vq_head_copy *copy)
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

int vq_record_find_by_name(struct vq_apply *apply, uint8_t driver, const char *name, struct vq_head_copy *ret)
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
    return vq_record_read(apply, uuid, ret);
}

int vq_record_find_by_id(struct vq_apply *apply, int32_t id, uint8_t ret_uuid[16])
{
    struct vq_key32 key = vq_key32((uint32_t)id);
    MDB_val value;
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_ID, &key, sizeof(key), &value, apply->err);

    if (found > 0 && value.mv_size == 16)
        memcpy(ret_uuid, value.mv_data, 16);
    return found;
}

int vq_record_write_text(struct vq_apply *apply, const uint8_t uuid[16], const struct vq_text_head *head,
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

int vq_record_read_text(struct vq_apply *apply, const uint8_t uuid[16], struct vq_text_head *ret)
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

int vq_record_set_id(struct vq_apply *apply, struct vq_domain_head *head, int32_t id)
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

int vq_record_add_name(struct vq_apply *apply, const struct vq_domain_head *head)
{
    uint8_t key[1 + VQ_STORE_NAME_MAX];
    size_t key_length = name_key(head->driver, head->name, key);

    return vq_table_put(apply->store, VQ_TABLE_NAME, key, key_length, head->uuid, 16, apply->err);
}

int vq_record_rename(struct vq_apply *apply, struct vq_head_copy *copy, const char *new_name)
{
    uint8_t key[1 + VQ_STORE_NAME_MAX];
    size_t key_length = name_key(copy->head.driver, copy->head.name, key);

    if (vq_table_delete(apply->store, VQ_TABLE_NAME, key, key_length, apply->err) < 0)
        return -1;
    copy->head.name_length = (uint32_t)strlen(new_name);
    memcpy(copy->head.name, new_name, copy->head.name_length + 1);
    return vq_record_add_name(apply, &copy->head);
}

int vq_record_remove(struct vq_apply *apply, struct vq_head_copy *copy)
{
    uint8_t key[1 + VQ_STORE_NAME_MAX];
    size_t key_length = name_key(copy->head.driver, copy->head.name, key);

    if (vq_record_set_id(apply, &copy->head, -1) < 0 ||
        vq_table_delete(apply->store, VQ_TABLE_NAME, key, key_length, apply->err) < 0 ||
        vq_table_delete(apply->store, VQ_TABLE_TEXT, copy->head.uuid, 16, apply->err) < 0)
        return -1;
    return vq_table_delete(apply->store, VQ_TABLE_HEAD, copy->head.uuid, 16, apply->err);
}

/* ---- What several commands need ---- */

bool vq_head_may_run(const struct vq_domain_head *head)
{
    return head->id >= 0 || (head->flags & VQ_DOMAIN_CLAIMED) != 0;
}

void vq_head_make_transient(struct vq_domain_head *head)
{
    head->flags &=
        ~(uint32_t)(VQ_DOMAIN_PERSISTENT | VQ_DOMAIN_AUTOSTART | VQ_DOMAIN_AUTOSTART_ONCE | VQ_DOMAIN_MANAGED_SAVE);
}

void vq_head_end_move(struct vq_domain_head *head)
{
    head->moving_to = 0;
    head->moving_run = 0;
}

struct vq_change *vq_apply_domain_change(struct vq_apply *apply, enum vq_change_kind kind,
                                         const struct vq_domain_head *head)
{
    struct vq_change *change = vq_apply_change(apply, kind);

    memcpy(change->uuid, head->uuid, 16);
    change->name = vq_strdup(head->name);
    change->driver = head->driver;
    change->owner = head->owner;
    change->old_owner = head->owner;
    change->moving_to = head->moving_to;
    change->id = head->id;
    change->run = head->run;
    change->is_persistent = (head->flags & VQ_DOMAIN_PERSISTENT) != 0;
    return change;
}

void vq_apply_succeed(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t number, int32_t id)
{
    memcpy(apply->result->uuid, head->uuid, 16);
    apply->result->version = head->version;
    apply->result->number = number;
    apply->result->id = id;
}

int vq_apply_require_domain(struct vq_apply *apply, const ProtobufCBinaryData *uuid, struct vq_head_copy *ret)
{
    char text[VQ_UUID_TEXT];

    if (uuid->len != 16)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "a UUID has 16 bytes, not %zu", uuid->len);
    int found = vq_record_read(apply, uuid->data, ret);
    if (found != 0)
        return found;
    vq_uuid_format(uuid->data, text);
    return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s'", text);
}

int vq_apply_refuse_owner(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t node)
{
    return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain '%s' belongs to node %llu, not to %llu",
                           head->name, (unsigned long long)head->owner, (unsigned long long)node);
}

int vq_apply_require_owner(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t node,
                           uint64_t generation)
{
    if (head->owner != node)
        return vq_apply_refuse_owner(apply, head, node);
    if (head->generation != generation)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "the owner of domain '%s' was changed",
                               head->name);
    return 1;
}

int vq_apply_require_free_name(struct vq_apply *apply, const struct vq_domain_head *head, const char *new_name)
{
    struct vq_head_copy named;

    if (!vq_apply_name_is_usable(new_name))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a domain", new_name);
    int found = vq_record_find_by_name(apply, head->driver, new_name, &named);
    if (found > 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain with name '%s' already exists",
                               new_name);
    return found < 0 ? -1 : 1;
}

bool vq_apply_name_is_usable(const char *name)
{
    return vq_name_is_component(name) && strlen(name) <= VQ_STORE_NAME_MAX;
}

/* A definition that cannot be read back must not get in, and the answer must not depend on who decodes it. What is
 * sealed cannot be looked into: whoever opens it looks. */
bool vq_apply_xml_is_usable(const ProtobufCBinaryData *xml, uint32_t xml_size, bool is_sealed)
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
int vq_apply_require_node(struct vq_apply *apply, uint64_t id)
{
    struct vq_key64 key = vq_key64(id);
    MDB_val value;
    int known = id != 0;

    if (vq_table_count(apply->store, apply->store->txn, VQ_TABLE_NODE) != 0)
        known = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_NODE, &key, sizeof(key), &value, apply->err);
    if (known != 0)
        return known;
    return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED, "node %llu is not a member of the cluster",
                           (unsigned long long)id);
}
