/* Secrets of a run: see run_secrets.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/run_secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/driver.h"
#include "drivers/qemu/command_source.h"
#include "drivers/qemu/disk.h"

enum { SECRETS_MAX = 1024, SECRET_BYTES_MAX = 65536 };

static int write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Sealed: nobody changes it any more, not even QEMU. */
static int keep(struct vq_qemu_run_secrets *secrets, const char *id, const uint8_t *value, size_t length,
                struct vq_error *err)
{
    int fd;

    if (secrets->n_items == SECRETS_MAX || length > SECRET_BYTES_MAX)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %d secrets, or one larger than %d bytes",
                            SECRETS_MAX, SECRET_BYTES_MAX);
    fd = memfd_create("secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write_all(fd, value, length) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        (void)vq_error_system(err, errno, "cannot keep a secret for QEMU");
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    secrets->items = vq_realloc(secrets->items, secrets->n_items + 1, sizeof(*secrets->items));
    secrets->items[secrets->n_items++] = (struct vq_qemu_run_secret){.id = vq_strdup(id), .fd = fd};
    return 0;
}

static int no_secret(const struct vq_secret_ref *ref, struct vq_error *err)
{
    char uuid[VQ_UUID_TEXT];

    if (!ref->has_uuid)
        return vq_error_set(err, VIR_ERR_NO_SECRET, "no secret with matching usage '%s'",
                            ref->usage == NULL ? "" : ref->usage);
    vq_uuid_format(ref->uuid, uuid);
    return vq_error_set(err, VIR_ERR_NO_SECRET, "no secret with matching uuid '%s'", uuid);
}

static int fetch(struct vq_qemu_run_secrets *secrets, const char *id, const struct vq_secret_ref *ref,
                 const struct vq_driver_host *host, struct vq_error *err)
{
    uint8_t *value = NULL;
    size_t length = 0;
    int rc;

    if (host->secret_value == NULL)
        return no_secret(ref, err);
    if (host->secret_value(ref, &value, &length, err) < 0)
        return -1;
    rc = keep(secrets, id, value, length, err);
    explicit_bzero(value, length);
    free(value);
    return rc;
}

/* "name=value; name=value", as a browser sends them. */
static int keep_cookies(struct vq_qemu_run_secrets *secrets, const char *id, const struct vq_source *source,
                        struct vq_error *err)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    int rc;

    for (size_t i = 0; i < source->n_cookies; i++)
        vq_buffer_addf(&text, "%s%s=%s", i == 0 ? "" : "; ", source->cookies[i]->name,
                       source->cookies[i]->value == NULL ? "" : source->cookies[i]->value);
    rc = keep(secrets, id, (const uint8_t *)text.data, text.length, err);
    explicit_bzero(text.data, text.length);
    return rc;
}

static int fetch_for_image(struct vq_qemu_run_secrets *secrets, const struct vq_source *source, const struct vq_auth *auth,
                           const struct vq_encryption *encryption, const struct vq_driver_host *host, struct vq_error *err)
{
    char id[VQ_QEMU_OBJECT_NAME];

    vq_qemu_auth_secret_id(id, source);
    if (auth != NULL && auth->secret.type != VQ_SECRET_USAGE_UNSET && fetch(secrets, id, &auth->secret, host, err) < 0)
        return -1;
    vq_qemu_cookie_secret_id(id, source);
    if (source->n_cookies > 0 && keep_cookies(secrets, id, source, err) < 0)
        return -1;
    vq_qemu_encryption_secret_id(id, source);
    return encryption != NULL ? fetch(secrets, id, &encryption->secret, host, err) : 0;
}

static int fetch_for_disk(struct vq_qemu_run_secrets *secrets, const struct vq_disk *disk,
                          const struct vq_driver_host *host, struct vq_error *err)
{
    const struct vq_qemu_image top = vq_qemu_image_of_disk(disk);

    if (fetch_for_image(secrets, top.source, top.auth, top.encryption, host, err) < 0)
        return -1;
    for (const struct vq_backing *backing = disk->backing; vq_qemu_backing_is_image(backing); backing = backing->backing)
        if (fetch_for_image(secrets, &backing->source, backing->source.auth, backing->source.encryption, host, err) < 0)
            return -1;
    return 0;
}

int vq_qemu_run_secrets_fetch(struct vq_qemu_run_secrets *secrets, const struct vq_domain *live,
                              const struct vq_driver_host *host, struct vq_error *err)
{
    for (size_t i = 0; i < live->devices.n_disks; i++)
        if (vq_qemu_disk_has_medium(live->devices.disks[i]) &&
            fetch_for_disk(secrets, live->devices.disks[i], host, err) < 0)
            return vq_error_wrap(err, "disk '%s'", live->devices.disks[i]->target);
    return 0;
}

int vq_qemu_run_secrets_find(const struct vq_qemu_run_secrets *secrets, const char *id)
{
    for (size_t i = 0; secrets != NULL && i < secrets->n_items; i++)
        if (strcmp(secrets->items[i].id, id) == 0)
            return secrets->items[i].fd;
    return -1;
}

void vq_qemu_run_secrets_done(struct vq_qemu_run_secrets *secrets)
{
    for (size_t i = 0; i < secrets->n_items; i++) {
        (void)close(secrets->items[i].fd);
        free(secrets->items[i].id);
    }
    free(secrets->items);
    *secrets = (struct vq_qemu_run_secrets){0};
}
