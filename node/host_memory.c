/* /sys/kernel/mm/ksm and the hugepages of each cell. */
#define VQ_FROM VIR_FROM_NONE
#include "node/host_memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

static const struct {
    const char *field, *file;
    int type;
    bool is_setting;
} ksm_rows[] = {
    {VIR_NODE_MEMORY_SHARED_PAGES_TO_SCAN, "pages_to_scan", VIR_TYPED_PARAM_UINT, true},
    {VIR_NODE_MEMORY_SHARED_SLEEP_MILLISECS, "sleep_millisecs", VIR_TYPED_PARAM_UINT, true},
    {VIR_NODE_MEMORY_SHARED_PAGES_SHARED, "pages_shared", VIR_TYPED_PARAM_ULLONG, false},
    {VIR_NODE_MEMORY_SHARED_PAGES_SHARING, "pages_sharing", VIR_TYPED_PARAM_ULLONG, false},
    {VIR_NODE_MEMORY_SHARED_PAGES_UNSHARED, "pages_unshared", VIR_TYPED_PARAM_ULLONG, false},
    {VIR_NODE_MEMORY_SHARED_PAGES_VOLATILE, "pages_volatile", VIR_TYPED_PARAM_ULLONG, false},
    {VIR_NODE_MEMORY_SHARED_FULL_SCANS, "full_scans", VIR_TYPED_PARAM_ULLONG, false},
    {VIR_NODE_MEMORY_SHARED_MERGE_ACROSS_NODES, "merge_across_nodes", VIR_TYPED_PARAM_UINT, true},
};
static_assert(VQ_N_ELEMENTS(ksm_rows) == VQ_KSM_MAX, "one place for each");

static bool read_number(const char *path, uint64_t *ret)
{
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[32];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n <= 0)
        return false;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return vq_parse_u64(text, 10, UINT64_MAX, ret);
}

/* 0, or an errno. */
static int write_number(const char *path, uint64_t value)
{
    VQ_AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    char text[32];
    int length = snprintf(text, sizeof(text), "%" PRIu64, value);

    if (fd < 0 || write(fd, text, (size_t)length) != length)
        return errno;
    return 0;
}

static char *ksm_path(const char *root, size_t row)
{
    return vq_asprintf("%s/sys/kernel/mm/ksm/%s", root, ksm_rows[row].file);
}

size_t vq_host_ksm_get(const char *root, struct vq_typed_param params[VQ_KSM_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < VQ_KSM_MAX; i++) {
        VQ_AUTOFREE char *path = ksm_path(root, i);
        uint64_t value;

        if (!read_number(path, &value))
            continue;
        params[n] = (struct vq_typed_param){.field = ksm_rows[i].field, .type = ksm_rows[i].type};
        if (ksm_rows[i].type == VIR_TYPED_PARAM_UINT)
            params[n].value.ui = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
        else
            params[n].value.ul = value;
        n++;
    }
    return n;
}

/* The row of a setting; -1: it is none. */
static int find_setting(const char *field)
{
    for (size_t i = 0; i < VQ_KSM_MAX; i++)
        if (ksm_rows[i].is_setting && strcmp(ksm_rows[i].field, field) == 0)
            return (int)i;
    return -1;
}

int vq_host_ksm_set(const char *root, const struct vq_typed_param *params, size_t n_params, struct vq_error *err)
{
    for (size_t i = 0; i < n_params; i++) {
        if (find_setting(params[i].field) < 0)
            return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "parameter '%s' not supported", params[i].field);
        if (params[i].type != VIR_TYPED_PARAM_UINT)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "invalid type for parameter '%s', expected 'uint'",
                                params[i].field);
    }
    for (size_t i = 0; i < n_params; i++) {
        VQ_AUTOFREE char *path = ksm_path(root, (size_t)find_setting(params[i].field));
        int error = write_number(path, params[i].value.ui);

        if (error != 0)
            return vq_error_system(err, error, "failed to set %s", params[i].field);
    }
    return 0;
}

int vq_host_pages_set(const char *root, int cell, unsigned page_kib, uint64_t count, bool is_more, struct vq_error *err)
{
    VQ_AUTOFREE char *path =
        vq_asprintf("%s/sys/devices/system/node/node%d/hugepages/hugepages-%ukB/nr_hugepages", root, cell, page_kib);
    uint64_t before, after;
    int error;

    if (page_kib == (unsigned)(sysconf(_SC_PAGESIZE) / 1024))
        return vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED, "system pages pool can't be modified");
    if (!read_number(path, &before))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "page size %u is not available on node %d", page_kib, cell);
    if (is_more && count > UINT64_MAX - before)
        return vq_error_set(err, VIR_ERR_OVERFLOW, "%" PRIu64 " pages beside %" PRIu64, count, before);
    uint64_t wanted = is_more ? before + count : count;
    error = write_number(path, wanted);
    if (error != 0)
        return vq_error_system(err, error, "unable to write to: %s", path);
    if (!read_number(path, &after))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "page size %u is not available on node %d", page_kib, cell);
    if (after != wanted)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED,
                            "Unable to allocate %" PRIu64 " pages. Allocated only %" PRIu64,
                            wanted > before ? wanted - before : 0, after > before ? after - before : 0);
    return 0;
}
