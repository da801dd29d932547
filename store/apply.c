/* Applying entries: cutting them into commands, repetitions, one table from the kind of command to its function. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "conf/base/failpoint.h"
#include "store/internal.h"

/* Indexed by the number of the field in Command. */
static const vq_apply_fn apply_functions[] = {
    [VQ__COMMAND__CHANGE_DOMAIN_DEFINE] = vq_apply_domain_define,
    [VQ__COMMAND__CHANGE_DOMAIN_UNDEFINE] = vq_apply_domain_undefine,
    [VQ__COMMAND__CHANGE_DOMAIN_SETTINGS] = vq_apply_domain_settings,
    [VQ__COMMAND__CHANGE_DOMAIN_RUN] = vq_apply_domain_run,
    [VQ__COMMAND__CHANGE_DOMAIN_STATE] = vq_apply_domain_state,
    [VQ__COMMAND__CHANGE_DOMAIN_OWNER] = vq_apply_domain_owner,
    [VQ__COMMAND__CHANGE_DOMAIN_RENAME] = vq_apply_domain_rename,
    [VQ__COMMAND__CHANGE_DOMAIN_MOVE] = vq_apply_domain_move,
    [VQ__COMMAND__CHANGE_DOMAIN_MOVE_END] = vq_apply_domain_move_end,
    [VQ__COMMAND__CHANGE_NODE_PUT] = vq_apply_node_put,
    [VQ__COMMAND__CHANGE_NODE_REMOVE] = vq_apply_node_remove,
    [VQ__COMMAND__CHANGE_NODE_SET_ROLE] = vq_apply_node_set_role,
    [VQ__COMMAND__CHANGE_NODE_DRAIN] = vq_apply_node_drain,
    [VQ__COMMAND__CHANGE_TOKEN_PUT] = vq_apply_token_put,
    [VQ__COMMAND__CHANGE_TOKEN_USE] = vq_apply_token_use,
    [VQ__COMMAND__CHANGE_SETTING_PUT] = vq_apply_setting_put,
    [VQ__COMMAND__CHANGE_CLUSTER_INIT] = vq_apply_cluster_init,
};

enum { COMMANDS_TAG = 0x0a }; /* field 1 of Entry, length-delimited */

int vq_apply_refuse(struct vq_apply *apply, int from, int code, const char *fmt, ...)
{
    struct vq_error text = VQ_ERROR_INIT;
    char message[sizeof(text.message)];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    (void)vq_error_set_from(&text, from, code, "%s", message); /* takes control characters out */
    apply->result->code = code;
    apply->result->from = from;
    memcpy(apply->result->message, text.message, sizeof(text.message));
    return 0;
}

struct vq_change *vq_apply_change(struct vq_apply *apply, enum vq_change_kind kind)
{
    struct vq_change_list *list = apply->changes;

    VQ_GROW(list->changes, list->n_changes);
    struct vq_change *change = &list->changes[list->n_changes++];
    *change = (struct vq_change){.kind = kind, .index = apply->index, .id = -1};
    return change;
}

void vq_change_list_done(struct vq_change_list *list)
{
    for (size_t i = 0; i < list->n_changes; i++) {
        free(list->changes[i].name);
        free(list->changes[i].new_name);
    }
    free(list->changes);
    *list = (struct vq_change_list){0};
}

static int apply_decoded(struct vq_apply *apply)
{
    const Vq__Command *command = apply->command;
    unsigned kind = command->change_case;
    int found;

    if (command->request_id.len != sizeof(apply->result->request_id))
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "a command needs a request id of 16 bytes");
    memcpy(apply->result->request_id, command->request_id.data, sizeof(apply->result->request_id));
    if ((found = vq_request_find(apply->store, apply->result->request_id, apply->result, apply->err)) != 0)
        return found < 0 ? -1 : 0;
    if (kind >= VQ_N_ELEMENTS(apply_functions) || apply_functions[kind] == NULL)
        (void)vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_NO_SUPPORT, "command %u is not known to this version",
                              kind);
    else if (VQ_FAILPOINT("store.apply"))
        return vq_error_set(apply->err, VIR_ERR_INTERNAL_ERROR, "failure point store.apply");
    else if (apply_functions[kind](apply) < 0)
        return -1;
    return vq_request_keep(apply->store, apply->result, apply->err);
}

static int apply_command(struct vq_store *store, uint64_t index, const uint8_t *bytes, size_t length,
                         struct vq_result *result, struct vq_change_list *changes, struct vq_error *err)
{
    Vq__Command *command = vq__command__unpack(NULL, length, bytes);
    struct vq_apply apply = {store, index, command, result, changes, err};
    int rc;

    *result = (struct vq_result){.index = index, .id = -1};
    if (command == NULL)
        return vq_apply_refuse(&apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "a command in the log cannot be decoded");
    rc = apply_decoded(&apply);
    vq__command__free_unpacked(command, NULL);
    return rc;
}

/* Each command of an Entry is cut out here and decoded by itself, so that one that cannot be decoded takes no other
 * along. False: what is left is no list of commands. */
static bool next_command(const uint8_t **at, const uint8_t *end, const uint8_t **ret_command, size_t *ret_length)
{
    uint64_t length = 0;
    unsigned shift = 0;

    if (*at == end || *(*at)++ != COMMANDS_TAG)
        return false;
    do {
        if (*at == end || shift > 28)
            return false;
        length |= (uint64_t)(**at & 0x7f) << shift;
        shift += 7;
    } while ((*(*at)++ & 0x80) != 0);
    if (length > (size_t)(end - *at))
        return false;
    *ret_command = *at;
    *ret_length = (size_t)length;
    *at += length;
    return true;
}

static int compare_digest(struct vq_store *store, uint64_t index, uint64_t hash, bool *ret_diverged,
                          struct vq_error *err)
{
    struct vq_key32 key = vq_key32((uint32_t)(index % VQ_STORE_DIGESTS_MAX));
    struct vq_digest digest;
    MDB_val value;

    if (vq_store_write_begin(store, err) < 0)
        return -1;
    int found = vq_table_get(store, store->txn, VQ_TABLE_DIGEST, &key, sizeof(key), &value, err);
    if (found < 0)
        return -1;
    if (found == 0 || value.mv_size != sizeof(digest))
        return 0; /* older than the ring */
    memcpy(&digest, value.mv_data, sizeof(digest));
    if (digest.index == index && digest.hash != hash) {
        *ret_diverged = true;
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR,
                            "the store has applied another entry %llu than the log now holds",
                            (unsigned long long)index);
    }
    return 0;
}

static int put_digest(struct vq_store *store, uint64_t index, uint64_t hash, struct vq_error *err)
{
    struct vq_key32 key = vq_key32((uint32_t)(index % VQ_STORE_DIGESTS_MAX));
    struct vq_digest digest = {index, hash};

    return vq_table_put(store, VQ_TABLE_DIGEST, &key, sizeof(key), &digest, sizeof(digest), err);
}

int vq_store_apply(struct vq_store *store, uint64_t index, const void *entry, size_t length, struct vq_result **results,
                   size_t *n_results, struct vq_change_list *changes, bool *ret_diverged, struct vq_error *err)
{
    uint64_t hash = XXH3_64bits(entry, length);
    const uint8_t *at = entry, *end = at + length, *command;
    size_t command_length;

    *ret_diverged = false;
    if (index <= store->meta.applied)
        return compare_digest(store, index, hash, ret_diverged, err);
    if (vq_store_write_begin(store, err) < 0)
        return -1;
    while (next_command(&at, end, &command, &command_length)) {
        VQ_GROW(*results, *n_results);
        struct vq_result *result = &(*results)[(*n_results)++];
        if (apply_command(store, index, command, command_length, result, changes, err) < 0)
            goto fail_store;
    }
    if (put_digest(store, index, hash, err) < 0)
        goto fail_store;
    store->meta.applied = index;
    store->applied = index;
    return 0;

fail_store:
    vq_store_write_abort(store);
    return vq_error_wrap(err, "applying entry %llu", (unsigned long long)index);
}
