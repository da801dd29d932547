/* Any bytes as a migration's cookie: what is taken is written, read and written again without a change. */
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/activity.h"
#include "drivers/qemu/migrate.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct vq_migrate_cookie *cookie)
{
    FUZZ_CHECK(cookie->name != NULL && cookie->host_name != NULL);
    FUZZ_CHECK(cookie->n_disks <= VQ_MIGRATE_DISKS_MAX && cookie->n_capabilities <= VQ_MIGRATE_CAPABILITIES_MAX);
    FUZZ_CHECK(cookie->nbd_port >= 0 && cookie->nbd_port <= 65535);
    for (size_t i = 0; i < cookie->n_disks; i++)
        FUZZ_CHECK(strchr(cookie->disks[i].target, '/') == NULL);
}

static void round_trip(const struct vq_migrate_cookie *cookie)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_migrate_cookie again;
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *once, *twice;
    uint32_t length, length_twice;

    if (vq_migrate_cookie_write(cookie, arena, &once, &length, &err) < 0) {
        FUZZ_CHECK(err.code == VIR_ERR_INTERNAL_ERROR); /* longer with its blanks than one may be */
        return;
    }
    FUZZ_CHECK(vq_migrate_cookie_read(once, length, &again, &err) == 0);
    FUZZ_CHECK(vq_migrate_cookie_write(&again, arena, &twice, &length_twice, &err) == 0);
    FUZZ_CHECK(length == length_twice && memcmp(once, twice, length) == 0);
    vq_migrate_cookie_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct vq_migrate_cookie cookie;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_migrate_cookie_read(bytes, length, &cookie, &err) < 0) {
        FUZZ_CHECK(err.code == VIR_ERR_INTERNAL_ERROR || err.code == VIR_ERR_XML_ERROR);
        FUZZ_CHECK(err.message[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(cookie.is_set == (length > 0));
    if (cookie.is_set) {
        check(&cookie);
        round_trip(&cookie);
    }
    vq_migrate_cookie_done(&cookie);
    return 0;
}
