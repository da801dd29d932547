/* Reading domains: heads, definitions, lists. */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "store/internal.h"

static const struct vq_domain_head *checked_head(const MDB_val *value)
{
    const struct vq_domain_head *head = value->mv_data;

    if (value->mv_size < sizeof(*head) || head->format != VQ_DOMAIN_HEAD_FORMAT ||
        value->mv_size != sizeof(*head) + (size_t)head->name_length + 1 || head->name[head->name_length] != '\0')
        return NULL;
    return head;
}

static const struct vq_domain_head *find_head(struct vq_store *store, MDB_txn *txn, const void *uuid)
{
    MDB_val value;

    return vq_table_get(store, txn, VQ_TABLE_HEAD, uuid, 16, &value, NULL) > 0 ? checked_head(&value) : NULL;
}

/* Through an index whose values are UUIDs. */
static const struct vq_domain_head *find_head_by(struct vq_store_view *view, enum vq_table table, const void *key,
                                                 size_t key_length)
{
    MDB_val value;

    if (vq_table_get(view->store, view->txn, table, key, key_length, &value, NULL) <= 0 || value.mv_size != 16)
        return NULL;
    return find_head(view->store, view->txn, value.mv_data);
}

const struct vq_domain_head *vq_store_domain_find(struct vq_store_view *view, const uint8_t uuid[16])
{
    return find_head(view->store, view->txn, uuid);
}

const struct vq_domain_head *vq_store_domain_find_by_name(struct vq_store_view *view, enum vq_driver_type driver,
                                                          const char *name)
{
    uint8_t key[1 + VQ_STORE_NAME_MAX];
    size_t length = strlen(name);

    if (length == 0 || length > VQ_STORE_NAME_MAX)
        return NULL;
    key[0] = (uint8_t)driver;
    memcpy(key + 1, name, length);
    return find_head_by(view, VQ_TABLE_NAME, key, 1 + length);
}

const struct vq_domain_head *vq_store_domain_find_by_id(struct vq_store_view *view, int32_t id)
{
    struct vq_key32 key = vq_key32((uint32_t)id);

    return id < 0 ? NULL : find_head_by(view, VQ_TABLE_ID, &key, sizeof(key));
}

/* Plain texts end with a NUL, so that they can be read where they lie. */
static bool has_nul(const struct vq_text_head *head)
{
    return head->xml_size == 0 && head->is_sealed == 0;
}

bool vq_store_text_is_valid(const MDB_val *value)
{
    struct vq_text_head head;

    if (value->mv_size <= sizeof(head))
        return false;
    memcpy(&head, value->mv_data, sizeof(head));
    return head.is_sealed <= 1 && (!has_nul(&head) || ((const char *)value->mv_data)[value->mv_size - 1] == '\0');
}

int vq_store_definition(struct vq_store_view *view, const uint8_t uuid[16], struct vq_definition *ret,
                        struct vq_error *err)
{
    struct vq_text_head head;
    MDB_val value;
    int found = vq_table_get(view->store, view->txn, VQ_TABLE_TEXT, uuid, 16, &value, err);

    if (found < 0)
        return -1;
    if (found == 0 || !vq_store_text_is_valid(&value))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the stored definition is missing or damaged");
    memcpy(&head, value.mv_data, sizeof(head));
    *ret = (struct vq_definition){(const uint8_t *)value.mv_data + sizeof(head), value.mv_size - sizeof(head),
                                  head.xml_size, head.is_sealed != 0};
    ret->length -= has_nul(&head) ? 1 : 0;
    return 0;
}

int vq_store_definition_text(const struct vq_definition *definition, char **ret_xml, struct vq_error *err)
{
    size_t size = definition->xml_size == 0 ? definition->length : definition->xml_size, got = size;

    if (size > VQ_STORE_XML_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the stored definition is too long");
    char *text = vq_calloc(1, size + 1);
    if (definition->xml_size == 0)
        memcpy(text, definition->bytes, size);
    else
        got = ZSTD_decompress(text, size, definition->bytes, definition->length);
    if (ZSTD_isError(got) || got != size || memchr(text, '\0', got) != NULL) {
        free(text);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the stored definition cannot be unpacked");
    }
    *ret_xml = text;
    return 0;
}

int vq_store_domain_xml(struct vq_store_view *view, const uint8_t uuid[16], const char **ret_xml, char **ret_free,
                        struct vq_error *err)
{
    struct vq_definition definition;

    if (vq_store_definition(view, uuid, &definition, err) < 0)
        return -1;
    if (definition.is_sealed)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the stored definition is sealed");
    *ret_free = NULL;
    *ret_xml = (const char *)definition.bytes;
    if (definition.xml_size == 0)
        return 0;
    if (vq_store_definition_text(&definition, ret_free, err) < 0)
        return -1;
    *ret_xml = *ret_free;
    return 0;
}

/* ---- Lists ---- */

struct vq_store_cursor {
    MDB_cursor *cursor;
};

void vq_store_cursor_end(struct vq_store_cursor **cursor)
{
    if (*cursor == NULL)
        return;
    mdb_cursor_close((*cursor)->cursor);
    free(*cursor);
    *cursor = NULL;
}

const struct vq_domain_head *vq_store_domain_next(struct vq_store_view *view, struct vq_store_cursor **cursor)
{
    MDB_val key, value;

    if (*cursor == NULL) {
        *cursor = vq_new(struct vq_store_cursor);
        if (mdb_cursor_open(view->txn, view->store->tables[VQ_TABLE_HEAD], &(*cursor)->cursor) != 0) {
            free(vq_take(*cursor));
            return NULL;
        }
    }
    while (mdb_cursor_get((*cursor)->cursor, &key, &value, MDB_NEXT) == 0) {
        const struct vq_domain_head *head = checked_head(&value);
        if (head != NULL)
            return head;
    }
    vq_store_cursor_end(cursor);
    return NULL;
}

uint32_t vq_store_domain_count(struct vq_store_view *view)
{
    return (uint32_t)vq_table_count(view->store, view->txn, VQ_TABLE_HEAD);
}
