/* qemu.conf: each key of libvirt's file, honoured, or accepted with a line in the log that says why it has no effect. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/base/buffer.h"
#include "conf/base/error.h"
#include "conf/base/macros.h"

/* Certificates for one of QEMU's uses. */
struct vq_qemu_tls {
    bool is_wanted;          /* "<use>_tls = 1" */
    char *dir;               /* NULL: not said */
    char *secret;            /* UUID of the secret that opens the key; NULL: it is open */
    int64_t verifies;        /* of clients; -1: not said */
};

/* What a display has when its definition says nothing. */
struct vq_qemu_display_settings {
    char *listen;
    char *password;          /* NULL: none */
    bool sasl;
};

/* Members have the names of the keys where nothing stands beside them. */
struct vq_qemu_settings {
    char *user, *group;      /* as written; NULL: not said */
    bool has_user;           /* false: QEMU runs as ourselves */
    uid_t uid;
    gid_t gid;
    bool dynamic_ownership;  /* images are QEMU's user's while it runs */
    bool clear_emulator_capabilities;
    int64_t seccomp_sandbox; /* 0: off; 1 and -1: on */
    char **security_driver;  /* NULL: not said */
    uint32_t max_files, max_processes; /* 0: as ours */

    struct vq_qemu_display_settings vnc, spice;
    uint32_t remote_display_port_min, remote_display_port_max, remote_websocket_port_min, remote_websocket_port_max;

    struct vq_qemu_tls default_tls, vnc_tls, spice_tls, chardev_tls, nbd_tls, migrate_tls;
    bool migrate_tls_force;  /* no data of a guest in clear over the network */
    uint32_t migration_port_min, migration_port_max; /* for data of migrations */
    char *migration_address; /* where the destination listens; NULL: all addresses of the host */
    char *migration_host;    /* the name that other hosts are told to send to; NULL: our own */

    char *save_image_format, *dump_image_format; /* "raw" */
    char *auto_dump_path;    /* NULL: <state_dir>/qemu/dump */
    bool auto_dump_bypass_cache, auto_start_bypass_cache;
    char *swtpm_user, *swtpm_group; /* NULL: "tss" when there is one */
    bool has_tpm_user;       /* false: swtpm runs as ourselves */
    uid_t tpm_uid;
    gid_t tpm_gid;
};

/* Read <config_dir>/qemu.conf over the defaults. A line that cannot be read may be the one that names QEMU's user, so it is refused.
 *
 * remarks  may be NULL; gets a line for each key that is not known, or has no effect
 *
 * Errors: VIR_ERR_CONF_SYNTAX with file, key and what is allowed. */
VQ_MUST_CHECK int vq_qemu_settings_read(struct vq_qemu_settings *settings, const char *config_dir, struct vq_buffer *remarks,
                                        struct vq_error *err);
void vq_qemu_settings_done(struct vq_qemu_settings *settings);
