/* QEMU is told how the guest comes, and where to listen; the source is told where to send to. */
#define VQ_FROM VIR_FROM_QEMU

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/files.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_in.h"
#include "drivers/qemu/migrate_key.h"
#include "drivers/qemu/migrate_tls.h"
#include "drivers/qemu/migrate_uri.h"
#include "drivers/qemu/ports.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/start.h"

/* ---- Addresses ---- */

static bool is_numeric(const char *host)
{
    uint8_t address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static const char *own_host_name(char *name, size_t size)
{
    if (gethostname(name, size) < 0)
        name[0] = '\0';
    name[size - 1] = '\0';
    return name;
}

static int parse_uri(const char *uri, char **ret_host, uint16_t *ret_port, struct vq_error *err)
{
    VQ_AUTOFREE char *path = NULL;

    if (strncmp(uri, "tcp:", 4) != 0)
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "migration URI '%s': only tcp is supported", uri);
    return vq_migrate_uri_parse(uri, ret_host, ret_port, &path, err);
}

int vq_incoming_choose_host(struct vq_qemu_guest *guest, char **ret_host, struct vq_error *err)
{
    const struct vq_driver_host *host = guest->qemu->host;
    const struct vq_migration *migration = guest->migration;
    const char *known = NULL;
    char name[256];

    if (migration->options.uri != NULL)
        return parse_uri(migration->options.uri, ret_host, &vq_incoming_of(guest)->port, err);
    if (migration->peer != 0)
        known = host->node_address(host->node_id);
    if (known == NULL)
        known = guest->qemu->settings.migration_host;
    if (known == NULL)
        known = own_host_name(name, sizeof(name));
    if (known[0] == '\0' || strncmp(known, "localhost", 9) == 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR,
                            "hostname on destination resolved to localhost, but migration requires an FQDN");
    *ret_host = vq_strdup(known);
    return 0;
}

/* Between nodes only the network of the cluster has to reach it. malloc'ed, without brackets. */
static char *listen_address(const struct vq_qemu_guest *guest, const struct vq_incoming *incoming)
{
    const char *address = guest->migration->options.listen_address;
    char *copy;

    if (address == NULL)
        address = guest->qemu->settings.migration_address;
    if (address == NULL && guest->migration->peer != 0 && is_numeric(incoming->uri_host))
        address = incoming->uri_host;
    if (address == NULL)
        address = access("/proc/net/if_inet6", F_OK) == 0 ? "::" : "0.0.0.0";
    copy = vq_strdup(address + (address[0] == '['));
    copy[strcspn(copy, "]")] = '\0';
    return copy;
}

/* ---- What QEMU shall do ---- */

/* Those that both ends need; what else a migration uses is the source's alone. */
static const struct {
    const char *capability;
    uint64_t flag, unless;
    unsigned compression;
} wanted[] = {
    { "events", 0, 0, 0 },
    /* Images are the source's until the CPUs run here. They do not run here when the guest stays paused, and a QEMU 7.2
     * whose images nobody has activated ends itself when the guest is to move on: then they are taken over with the data. */
    { "late-block-activate", 0, VIR_MIGRATE_PAUSED, 0 },
    { "postcopy-ram", VIR_MIGRATE_POSTCOPY, 0, 0 },
    { "multifd", VIR_MIGRATE_PARALLEL, 0, 0 },
    { "rdma-pin-all", VIR_MIGRATE_RDMA_PIN_ALL, 0, 0 },
    { "xbzrle", 0, 0, VQ_COMPRESS_XBZRLE },
    { "compress", 0, 0, VQ_COMPRESS_MT },
};

static json_t *capabilities_of(const struct vq_migrate_options *options)
{
    json_t *list = json_array();

    for (size_t i = 0; i < VQ_N_ELEMENTS(wanted); i++)
        if ((wanted[i].flag == 0 || (options->flags & wanted[i].flag) != 0) && (options->flags & wanted[i].unless) == 0 &&
            (wanted[i].compression == 0 || (options->compression & wanted[i].compression) != 0))
            (void)json_array_append_new(list, json_pack("{s:s,s:b}", "capability", wanted[i].capability, "state", 1));
    return list;
}

static json_t *parameters_of(const struct vq_migrate_options *options)
{
    json_t *parameters = json_object();

    if ((options->flags & VIR_MIGRATE_PARALLEL) != 0 && options->parallel_connections > 0)
        (void)json_object_set_new(parameters, "multifd-channels", json_integer(options->parallel_connections));
    if ((options->compression & (VQ_COMPRESS_ZLIB | VQ_COMPRESS_ZSTD)) != 0)
        (void)json_object_set_new(parameters, "multifd-compression",
                                  json_string((options->compression & VQ_COMPRESS_ZLIB) != 0 ? "zlib" : "zstd"));
    if ((options->compression & VQ_COMPRESS_MT) != 0 && options->mt_dthreads > 0)
        (void)json_object_set_new(parameters, "decompress-threads", json_integer(options->mt_dthreads));
    return parameters;
}

/* ---- The key of the data between nodes ---- */

#define CREDENTIALS "migrate-in"

/* Group ffdhe2048 of RFC 7919, as QEMU reads it. Without the file it makes numbers of its own, which takes up to a second. */
#define GROUP_FILE VQ_QEMU_GUEST_SUBDIR "/dh-params.pem"
static const char group[] = "-----BEGIN DH PARAMETERS-----\n"
                            "MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz\n"
                            "+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a\n"
                            "87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7\n"
                            "YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi\n"
                            "7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD\n"
                            "ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==\n"
                            "-----END DH PARAMETERS-----\n";

/* QEMU reads the key whenever a connection comes, so it stays until the guest has arrived or is cleared away. */
static int write_key(struct vq_qemu_guest *guest, struct vq_error *err)
{
    struct vq_migration *migration = guest->migration;

    guest->qemu->host->random(migration->key, sizeof(migration->key));
    if (vq_migrate_key_write(guest, migration->key, err) < 0 ||
        vq_migrate_file_write(guest, GROUP_FILE, group, sizeof(group) - 1, err) < 0)
        return -1;
    migration->has_key = true;
    return 0;
}

/* Was QEMU given an object that encrypts the data? A daemon that was started since then does not know the key any more. */
static bool has_credentials(const struct vq_migration *migration)
{
    return migration->peer != 0 || vq_migrate_tls_asked(migration);
}

static void forgotten(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err; /* it opens nothing any more: nobody listens */
    (void)data;
}

void vq_incoming_forget_key(struct vq_qemu_guest *guest)
{
    VQ_AUTOFREE char *group_path = vq_asprintf("%s/" GROUP_FILE, guest->dir);

    vq_migrate_key_remove(guest);
    (void)unlink(group_path); /* most often there is one; what cannot be removed now goes with the directory */
    explicit_bzero(guest->migration->key, sizeof(guest->migration->key));
    if (has_credentials(guest->migration) && guest->qmp != NULL)
        (void)vq_qmp_call(guest->qmp, "object-del", json_pack("{s:s}", "id", CREDENTIALS), VQ_QMP_TIMEOUT_MS, forgotten, NULL);
    guest->migration->has_key = false;
}

/* ---- Telling QEMU ---- */

static void answered(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    if (!guest->job.is_active || !guest->job.is_waiting || guest->job.is_unwinding)
        return;
    if (err != NULL && vq_qmp_is_broken(guest->qmp))
        return; /* its end is told, too, with a better reason */
    vq_job_resume(&guest->job, err);
}

static void told(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_incoming *incoming = vq_incoming_of(guest);

    (void)reply;
    if (--incoming->pending == 0 || err != NULL)
        answered(guest, err); /* after an error the other answers find nobody waiting */
}

static void capabilities_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_incoming *incoming = vq_incoming_of(data);

    if (reply != NULL && incoming->capabilities == NULL)
        incoming->capabilities = json_incref(reply);
    told(reply, err, data);
}

static void ask(struct vq_qemu_guest *guest, const char *command, json_t *take_arguments, vq_qmp_cb cb)
{
    vq_incoming_of(guest)->pending++;
    (void)vq_qmp_call(guest->qmp, command, take_arguments, VQ_QMP_TIMEOUT_MS, cb, guest);
}

/* All in one turn: QEMU answers them one after the other. */
enum vq_step_result vq_incoming_tell(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    const struct vq_migrate_options *options = &guest->migration->options;
    VQ_AUTOFREE char *dir = vq_migrate_key_dir(guest);
    struct vq_error err = VQ_ERROR_INIT;
    json_t *parameters;

    if (VQ_FAILPOINT("qemu.migrate.in.tell"))
        return vq_qemu_step_failed(job, "qemu.migrate.in.tell");
    if (guest->migration->peer != 0 && write_key(guest, &err) < 0)
        return vq_job_fail(job, &err);
    ask(guest, "query-migrate-capabilities", NULL, capabilities_known);
    ask(guest, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", capabilities_of(options)), told);
    parameters = parameters_of(options);
    if (guest->migration->has_key) {
        ask(guest, "object-add", json_pack("{s:s,s:s,s:s,s:s}", "qom-type", "tls-creds-psk", "id", CREDENTIALS, "endpoint",
                                           "server", "dir", dir), told);
    } else if (vq_migrate_tls_asked(guest->migration)) {
        ask(guest, "object-add", vq_migrate_tls_object(&guest->qemu->settings, CREDENTIALS, VQ_MIGRATE_RECEIVES), told);
    }
    if (has_credentials(guest->migration))
        (void)json_object_set_new(parameters, "tls-creds", json_string(CREDENTIALS));
    if (json_object_size(parameters) > 0)
        ask(guest, "migrate-set-parameters", json_incref(parameters), told);
    json_decref(parameters);
    return VQ_STEP_WAIT;
}

/* ---- Disks that travel ---- */

static void disks_over(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    vq_qemu_step_over(guest, err);
}

enum vq_step_result vq_incoming_make_disks(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;

    if (!vq_migrate_disks_asked(&guest->migration->options))
        return VQ_STEP_DONE;
    vq_migrate_disks_create(guest, &guest->migration->options, &vq_incoming_of(guest)->source, disks_over);
    return VQ_STEP_WAIT;
}

enum vq_step_result vq_incoming_make_disks_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    vq_migrate_disks_stop_making(guest);
    if (guest->migration->peer != 0) /* the log may say that they are the guest's now: vq_incoming_settle() */
        return VQ_STEP_DONE;
    return vq_migrate_disks_remove_created(guest, disks_over) ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

enum vq_step_result vq_incoming_serve_disks(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_incoming *incoming = vq_incoming_of(guest);
    const struct vq_migrate_options *options = &guest->migration->options;
    bool is_socket = options->disks_uri != NULL && strncmp(options->disks_uri, "unix:", 5) == 0;
    VQ_AUTOFREE char *address = NULL, *host = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_migrate_disks_asked(options))
        return VQ_STEP_DONE;
    if (options->disks_port > 0)
        incoming->nbd_port = (uint16_t)options->disks_port;
    if (options->disks_uri != NULL && !is_socket && parse_uri(options->disks_uri, &host, &incoming->nbd_port, &err) < 0)
        return vq_job_fail(job, &err);
    if (!is_socket && incoming->nbd_port == 0 && vq_qemu_ports_take_for_migration(guest, &incoming->nbd_port, &err) < 0)
        return vq_job_fail(job, &err);
    address = listen_address(guest, incoming);
    vq_migrate_disks_serve(guest, options, &incoming->source, address, incoming->nbd_port,
                           has_credentials(guest->migration) ? CREDENTIALS : NULL, disks_over);
    return VQ_STEP_WAIT;
}

/* ---- Listening ---- */

static void ignored(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
}

static int ask_to_listen(struct vq_qemu_guest *guest, const char *command, vq_qmp_cb cb, struct vq_error *err)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    VQ_AUTOFREE char *address = listen_address(guest, incoming), *uri = NULL;

    if (incoming->port == 0 && vq_qemu_ports_take_for_migration(guest, &incoming->port, err) < 0)
        return -1;
    uri = vq_asprintf(strchr(address, ':') != NULL ? "tcp:[%s]:%u" : "tcp:%s:%u", address, incoming->port);
    (void)vq_qmp_call(guest->qmp, command, json_pack("{s:s}", "uri", uri), VQ_QMP_TIMEOUT_MS, cb, guest);
    return 0;
}

/* A tunnel ends in a socket that only QEMU and this daemon have. */
static void ask_to_read(struct vq_qemu_guest *guest, vq_qmp_cb cb)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);

    (void)vq_qmp_call_fd(guest->qmp, "getfd", json_pack("{s:s}", "fdname", "tunnel"), incoming->data_fd, VQ_QMP_TIMEOUT_MS,
                         ignored, NULL); /* without it the next one fails */
    (void)vq_qmp_call(guest->qmp, "migrate-incoming", json_pack("{s:s}", "uri", "fd:tunnel"), VQ_QMP_TIMEOUT_MS, cb, guest);
    (void)close(incoming->data_fd);
    incoming->data_fd = -1;
}

/* The port may have been taken between our trial and QEMU's: then the next one, unless it was named. */
static bool may_try_again(const struct vq_qemu_guest *guest, struct vq_incoming *incoming, const struct vq_error *err)
{
    return strstr(err->message, "in use") != NULL && guest->migration->options.uri == NULL &&
           ++incoming->port_tries < VQ_INCOMING_PORT_TRIES;
}

static void listening(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct vq_error own = VQ_ERROR_INIT;

    (void)reply;
    if (!guest->job.is_waiting || guest->job.is_unwinding)
        return;
    if (err != NULL && may_try_again(guest, incoming, err)) {
        vq_log(INFO, "migrate.in", "domain=%s port=%u: %s, trying another one", guest->name, incoming->port, err->message);
        incoming->port = 0; /* the taken one stays reserved, so that another one is found */
        if (ask_to_listen(guest, "migrate-incoming", listening, &own) == 0)
            return;
        err = &own;
    }
    incoming->is_listening = err == NULL;
    answered(guest, err);
}

enum vq_step_result vq_incoming_listen(struct vq_job *job)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.migrate.in.listen"))
        return vq_qemu_step_failed(job, "qemu.migrate.in.listen");
    if (vq_incoming_of(job->owner)->data_fd >= 0) {
        ask_to_read(job->owner, listening);
        return VQ_STEP_WAIT;
    }
    return ask_to_listen(job->owner, "migrate-incoming", listening, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_WAIT;
}

/* ---- Listening again, after post-copy has failed ---- */

static void recovering(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (guest->migration == NULL || guest->migration->role != VQ_MIGRATE_IN)
        return;
    vq_incoming_of(guest)->listens_again = err == NULL;
    vq_incoming_answer_prepare(vq_incoming_of(guest), err);
}

char *vq_incoming_uri(struct vq_qemu_guest *guest)
{
    const struct vq_incoming *incoming = vq_incoming_of(guest);

    if (incoming->uri_host == NULL || incoming->port == 0)
        return NULL;
    return vq_asprintf(strchr(incoming->uri_host, ':') != NULL ? "tcp:[%s]:%u" : "tcp:%s:%u", incoming->uri_host,
                       incoming->port);
}

void vq_incoming_recover(struct vq_qemu_guest *guest, struct vq_request *request, vq_migrate_prepare_cb cb, void *data)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct vq_error err = VQ_ERROR_INIT;
    int rc;

    incoming->prepare = request;
    incoming->prepared = cb;
    incoming->prepare_data = data;
    vq_qemu_ports_keep_displays(guest);
    incoming->port = 0;
    free(vq_take(incoming->uri_host));
    rc = vq_incoming_choose_host(guest, &incoming->uri_host, &err);
    if (rc == 0 && guest->migration->peer != 0 && !guest->migration->has_key) /* the earlier daemon knew it */
        rc = write_key(guest, &err);
    if (rc == 0)
        rc = ask_to_listen(guest, "migrate-recover", recovering, &err);
    if (rc < 0)
        vq_incoming_answer_prepare(incoming, &err);
}
