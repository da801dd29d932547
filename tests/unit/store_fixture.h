/* For tests of the store: one that is open in a directory of its own, and commands applied to it one by one. */
#pragma once

#include "tests/unit/commands.h"

struct fixture {
    char *dir;
    struct vq_store *store;
    uint64_t index;
    uint64_t request;              /* the last id given; for tests that number their requests */
    struct vq_change_list changes; /* of the last command */
    struct command_parts parts;
    uint64_t run, moving_run;      /* of the guest that a test is about */
    int32_t id;
};

static inline void open_store(struct fixture *f)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_store_open(f->dir, &(struct vq_store_options){0}, &f->store, &err) < 0)
        fail_msg("%s", err.message);
    f->index = vq_store_applied(f->store);
}

static inline int setup(void **state)
{
    struct fixture *f = vq_new(struct fixture);

    f->dir = make_tree();
    open_store(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    vq_change_list_done(&f->changes);
    vq_store_close(f->store);
    remove_tree(f->dir);
    free(f->dir);
    free(f);
    unsetenv("VQ_FAILPOINTS");
    return 0;
}

static inline struct vq_result apply_at(struct fixture *f, uint64_t index)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_result *results = NULL, result = {0};
    size_t n_results = 0, length;
    bool diverged;
    VQ_AUTOFREE uint8_t *entry = pack_entry(&f->parts.command, &length);

    vq_change_list_done(&f->changes);
    if (vq_store_apply(f->store, index, entry, length, &results, &n_results, &f->changes, &diverged, &err) < 0)
        fail_msg("%s", err.message);
    if (n_results == 1)
        result = results[0];
    free(results);
    return result;
}

static inline struct vq_result apply(struct fixture *f)
{
    struct vq_result result = apply_at(f, ++f->index);

    assert_int_equal(result.index, f->index);
    return result;
}

static inline void commit(struct fixture *f)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_store_commit(f->store, &err) < 0)
        fail_msg("%s", err.message);
}

static inline struct vq_store_view *view(struct fixture *f)
{
    struct vq_store_view *v;
    struct vq_error err = VQ_ERROR_INIT;

    commit(f);
    if (vq_store_view_begin(f->store, &v, &err) < 0)
        fail_msg("%s", err.message);
    return v;
}

static inline uint64_t hash_of(struct vq_store *store)
{
    struct vq_store_view *v;
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t hash;

    assert_int_equal(vq_store_commit(store, &err), 0);
    assert_int_equal(vq_store_view_begin(store, &v, &err), 0);
    assert_int_equal(vq_store_hash(v, &hash, &err), 0);
    vq_store_view_end(v);
    return hash;
}

static inline const uint8_t *uuid_of(uint64_t number)
{
    static uint8_t uuid[16];

    number_bytes(uuid, number, 0xd0);
    return uuid;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
