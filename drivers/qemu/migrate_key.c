/* See migrate_key.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "drivers/qemu/files.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"

#define KEY_FILE VQ_QEMU_GUEST_SUBDIR "/keys.psk"

char *vq_migrate_key_dir(const struct vq_qemu_guest *guest)
{
    return vq_asprintf("%s/" VQ_QEMU_GUEST_SUBDIR, guest->dir);
}

int vq_migrate_file_write(const struct vq_qemu_guest *guest, const char *name, const char *text, size_t length,
                          struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", guest->dir, name);

    (void)unlink(path); /* of a daemon that ended before it removed it */
    VQ_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return vq_error_system(err, errno, "cannot make '%s'", path);
    if (write(fd, text, length) != (ssize_t)length ||
        (settings->has_user && fchown(fd, settings->uid, settings->gid) < 0))
        return vq_error_system(err, errno, "cannot write '%s'", path);
    return 0;
}

int vq_migrate_key_write(const struct vq_qemu_guest *guest, const uint8_t *key, struct vq_error *err)
{
    char text[sizeof(VQ_MIGRATE_KEY_USER) + 2 * VQ_MIGRATE_KEY_BYTES + 2];
    int length = snprintf(text, sizeof(text), VQ_MIGRATE_KEY_USER ":"), rc;

    for (size_t i = 0; i < VQ_MIGRATE_KEY_BYTES; i++)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%02x", key[i]);
    text[length++] = '\n';
    rc = vq_migrate_file_write(guest, KEY_FILE, text, (size_t)length, err);
    explicit_bzero(text, sizeof(text));
    return rc;
}

void vq_migrate_key_remove(const struct vq_qemu_guest *guest)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/" KEY_FILE, guest->dir);

    (void)unlink(path); /* what cannot be removed now goes with the directory; without its listener it opens nothing */
}
