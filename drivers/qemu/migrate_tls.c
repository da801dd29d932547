/* Certificates of migrations with daemons outside the cluster: see migrate_tls.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_tls.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_out.h"

/* ---- qemu.conf ---- */

char *vq_migrate_tls_dir(const struct vq_qemu_settings *settings, const char *pki_dir)
{
    VQ_AUTOFREE char *own = NULL;

    if (settings->migrate_tls.dir != NULL)
        return vq_strdup(settings->migrate_tls.dir);
    if (settings->default_tls.dir != NULL)
        return vq_strdup(settings->default_tls.dir);
    own = vq_asprintf("%s/libvirt-migrate", pki_dir);
    return access(own, F_OK) == 0 ? vq_take(own) : vq_asprintf("%s/qemu", pki_dir);
}

bool vq_migrate_tls_verifies(const struct vq_qemu_settings *settings)
{
    if (settings->migrate_tls.verifies >= 0)
        return settings->migrate_tls.verifies != 0;
    return settings->default_tls.verifies != 0; /* not said: yes */
}

/* ---- The files ---- */

static const char *const needed[][4] = {
    [VQ_MIGRATE_SENDS] = { "ca-cert.pem" },
    [VQ_MIGRATE_RECEIVES] = { "ca-cert.pem", "server-cert.pem", "server-key.pem" },
};

/* 0, or an error number. */
static int look_for(const char *dir, const char *name)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", dir, name);

    return access(path, R_OK) < 0 ? errno : 0;
}

static int refuse_file(const char *dir, const char *name, int number, struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                        "this host cannot encrypt migrations: cannot read '%s/%s': %s; see migrate_tls_x509_cert_dir in "
                        "qemu.conf", dir, name, strerror(number));
}

/* QEMU would go without a certificate of its own when one of the two files is not there. */
static int check_own_certificate(const char *dir, struct vq_error *err)
{
    int certificate = look_for(dir, "client-cert.pem"), key = look_for(dir, "client-key.pem");

    if (certificate == 0 && key != 0)
        return refuse_file(dir, "client-key.pem", key, err);
    if (key == 0 && certificate != 0)
        return refuse_file(dir, "client-cert.pem", certificate, err);
    return 0;
}

int vq_migrate_tls_check(const struct vq_qemu_settings *settings, const char *pki_dir, enum vq_migrate_end end,
                         struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_migrate_tls_dir(settings, pki_dir);
    const char *secret = settings->migrate_tls.secret != NULL ? settings->migrate_tls.secret : settings->default_tls.secret;

    if (secret != NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "qemu.conf says that secret %s opens the key in '%s': keys with a password are not supported",
                            secret, dir);
    for (const char *const *name = needed[end]; *name != NULL; name++) {
        int number = look_for(dir, *name);

        if (number != 0)
            return refuse_file(dir, *name, number, err);
    }
    return end == VQ_MIGRATE_SENDS ? check_own_certificate(dir, err) : 0;
}

/* ---- Whether it may go ---- */

/* QEMU leaves RDMA in clear whatever it was told. Without a host's name there is nothing that a certificate could prove. */
static int check_way(const struct vq_migrate_options *options, enum vq_migrate_end end, struct vq_error *err)
{
    if ((options->flags & VIR_MIGRATE_TUNNELLED) != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                            "VIR_MIGRATE_TLS is not supported with VIR_MIGRATE_TUNNELLED: a tunnel is as secure as the "
                            "connection between the daemons");
    if (options->uri != NULL && !vq_migrate_uri_is_socket(options->uri))
        return vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED, "data cannot be encrypted on their way to %s", options->uri);
    if (end == VQ_MIGRATE_SENDS && options->uri != NULL && strncmp(options->uri, "unix:", 5) == 0 &&
        options->tls_destination == NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG,
                            "migration URI '%s' names no host: '%s' must tell whose certificate is expected", options->uri,
                            VIR_MIGRATE_PARAM_TLS_DESTINATION);
    return 0;
}

int vq_migrate_check_secure(const struct vq_qemu *qemu, const struct vq_migrate_options *options,
                            const struct vq_migrate_cookie *peer, enum vq_migrate_end end, struct vq_error *err)
{
    const uint64_t disks = VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC;

    if (vq_migrate_cookie_is_ours(peer, qemu) || (options->flags & VIR_MIGRATE_OFFLINE) != 0)
        return 0;
    if ((options->flags & VIR_MIGRATE_TLS) != 0) {
        if (check_way(options, end, err) < 0)
            return -1;
        return vq_migrate_tls_check(&qemu->settings, VQ_MIGRATE_PKI_DIR, end, err);
    }
    if (qemu->settings.migrate_tls_force && (options->flags & VIR_MIGRATE_TUNNELLED) == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "this libvirtd instance only allows migration with VIR_MIGRATE_TLS flag");
    if (qemu->settings.nbd_tls.is_wanted && (options->flags & disks) != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "nbd_tls is set in qemu.conf: disks are copied only with VIR_MIGRATE_TLS flag");
    return 0;
}

/* ---- What QEMU is told ---- */

bool vq_migrate_tls_asked(const struct vq_migration *migration)
{
    return migration->peer == 0 && (migration->options.flags & VIR_MIGRATE_TLS) != 0;
}

/* Whoever sends always looks at the certificate of whoever receives: else encryption would protect from nobody in between. */
json_t *vq_migrate_tls_object(const struct vq_qemu_settings *settings, const char *id, enum vq_migrate_end end)
{
    VQ_AUTOFREE char *dir = vq_migrate_tls_dir(settings, VQ_MIGRATE_PKI_DIR);

    return json_pack("{s:s,s:s,s:s,s:s,s:b}", "qom-type", "tls-creds-x509", "id", id, "dir", dir, "endpoint",
                     end == VQ_MIGRATE_SENDS ? "client" : "server", "verify-peer",
                     end == VQ_MIGRATE_SENDS || vq_migrate_tls_verifies(settings));
}

char *vq_migrate_tls_hostname(const struct vq_migration *migration)
{
    const struct vq_migrate_options *options = &migration->options;
    VQ_AUTOFREE char *path = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    char *host = NULL;
    uint16_t port;

    if (!vq_migrate_tls_asked(migration))
        return NULL;
    if (options->tls_destination != NULL)
        return vq_strdup(options->tls_destination);
    if (options->uri == NULL || vq_migrate_uri_parse(options->uri, &host, &port, &path, &err) < 0)
        return NULL; /* connecting tells what is wrong with it */
    return host;
}
