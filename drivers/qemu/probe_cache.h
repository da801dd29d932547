/* What emulators have answered, kept on disk: a daemon that starts again does not have to ask. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/stat.h>

struct vq_qemu_capabilities;

/* The answers of this very file; NULL: not kept, of another file, or damaged. */
struct vq_qemu_capabilities *vq_qemu_probe_cache_read(const char *state_dir, const char *path, const struct stat *file);
/* What cannot be written is asked for again. */
void vq_qemu_probe_cache_write(const char *state_dir, const char *path, const struct stat *file, json_t *answers);

/* Whether KVM runs guests, as it was tried in this boot: a trial that fails takes as long as it may. */
struct vq_qemu_trial {
    bool is_known, works;
    char problem[256];
};
/* Not known when nothing is kept, or /dev/kvm is another one now. */
void vq_qemu_trial_cache_read(const char *state_dir, const char *boot_id, struct vq_qemu_trial *ret);
void vq_qemu_trial_cache_write(const char *state_dir, const char *boot_id, const struct vq_qemu_trial *trial);
