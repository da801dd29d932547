/* Listeners. */
#define VQ_FROM VIR_FROM_RPC
#include "node/client/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/daemon.h"
#include "node/client/session.h"
#include "proto/tls.h"

enum { LISTENERS_MAX = 12, ACCEPTS_PER_TURN = 64 };

struct listener {
    struct vq_listeners *all;
    uv_poll_t poll;
    int fd;            /* -1: closed, to be tried again */
    bool is_suspended; /* enough clients for now */
    bool has_complained;
    struct vq_session_options options;
    char *path; /* UNIX */
    mode_t mode;
    ino_t inode;                     /* of the socket file that is ours */
    struct sockaddr_storage address; /* TCP, TLS */
    bool is_tls;
    char name[160]; /* for the log */
};

struct vq_listeners {
    struct vq_daemon *daemon;
    struct listener *listeners[LISTENERS_MAX];
    unsigned n_listeners;
    struct vq_tls_credentials *credentials; /* NULL: no certificates yet */
    bool has_complained_tls;
};

/* ---- UNIX ---- */

/* 1: somebody answers there; 0: free or stale (and then removed); -1: cannot tell. */
static int probe_path(const struct sockaddr_un *address, struct vq_error *err)
{
    struct stat status;

    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : vq_error_system(err, errno, "looking at %s", address->sun_path);
    if (!S_ISSOCK(status.st_mode))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s exists and is not a socket", address->sun_path);
    VQ_AUTOCLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vq_error_system(err, errno, "making a socket");
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return 1;
    if (errno != ECONNREFUSED)
        return vq_error_system(err, errno, "asking who listens on %s", address->sun_path);
    if (unlink(address->sun_path) < 0 && errno != ENOENT)
        return vq_error_system(err, errno, "removing the stale %s", address->sun_path);
    return 0;
}

static int set_owner(const struct listener *listener, struct vq_error *err)
{
    const char *group = listener->all->daemon->config.unix_group;

    if (group != NULL && !listener->options.is_admin) {
        struct group *entry = getgrnam(group); /* once per opened listener, before clients: may read files */
        if (entry == NULL)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "unix_sock_group: there is no group '%s'", group);
        if (chown(listener->path, (uid_t)-1, entry->gr_gid) < 0)
            return vq_error_system(err, errno, "giving %s to group %s", listener->path, group);
    }
    if (chmod(listener->path, listener->mode) < 0)
        return vq_error_system(err, errno, "setting the mode of %s", listener->path);
    return 0;
}

static int open_unix(struct listener *listener, struct vq_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;

    if (strlen(listener->path) >= sizeof(address.sun_path))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the path %s is too long for a socket", listener->path);
    memcpy(address.sun_path, listener->path, strlen(listener->path) + 1);
    int found = probe_path(&address, err);
    if (found < 0)
        return -1;
    if (found > 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "another daemon answers on %s", listener->path);

    VQ_AUTOCLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vq_error_system(err, errno, "making a socket");
    /* The umask of 077 keeps everybody else out until set_owner() has said who may come in. */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return vq_error_system(err, errno, "binding %s", listener->path);
    if (set_owner(listener, err) < 0 || lstat(listener->path, &status) < 0)
        return -1;
    if (listen(fd, (int)listener->all->daemon->config.max_queued_clients) < 0)
        return vq_error_system(err, errno, "listening on %s", listener->path);
    listener->inode = status.st_ino;
    listener->fd = fd;
    fd = -1;
    return 0;
}

/* ---- TCP and TLS ---- */

static int open_tcp(struct listener *listener, struct vq_error *err)
{
    int on = 1;
    socklen_t length =
        listener->address.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    VQ_AUTOCLOSE int fd = socket(listener->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vq_error_system(err, errno, "making a socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return vq_error_system(err, errno, "setting up %s", listener->name);
    if (listener->address.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return vq_error_system(err, errno, "setting up %s", listener->name);
    if (bind(fd, (struct sockaddr *)&listener->address, length) < 0)
        return vq_error_system(err, errno, "binding %s", listener->name);
    if (listen(fd, (int)listener->all->daemon->config.max_queued_clients) < 0)
        return vq_error_system(err, errno, "listening on %s", listener->name);
    listener->fd = fd;
    fd = -1;
    return 0;
}

static bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int load_credentials(struct vq_listeners *all, struct vq_tls_credentials **ret, struct vq_error *err)
{
    const struct vq_config *config = &all->daemon->config;
    VQ_AUTOFREE char *ca =
        config->ca_file == NULL ? vq_asprintf("%s/CA/cacert.pem", config->pki_dir) : vq_strdup(config->ca_file);
    VQ_AUTOFREE char *certificate = config->cert_file == NULL
                                        ? vq_asprintf("%s/libvirt/servercert.pem", config->pki_dir)
                                        : vq_strdup(config->cert_file);
    VQ_AUTOFREE char *key = config->key_file == NULL ? vq_asprintf("%s/libvirt/private/serverkey.pem", config->pki_dir)
                                                     : vq_strdup(config->key_file);
    VQ_AUTOFREE char *crl =
        config->crl_file == NULL ? vq_asprintf("%s/CA/cacrl.pem", config->pki_dir) : vq_strdup(config->crl_file);

    if (!file_exists(ca) || !file_exists(certificate) || !file_exists(key)) {
        *ret = NULL; /* a host that was never given any: no TLS, and nothing to complain about */
        return 0;
    }
    return vq_tls_credentials_load(ca, certificate, key, file_exists(crl) ? crl : NULL, ret, err);
}

int vq_listeners_reload(struct vq_listeners *all, struct vq_error *err)
{
    struct vq_tls_credentials *credentials = NULL;

    if (!all->daemon->config.listen_tls)
        return 0;
    if (load_credentials(all, &credentials, err) < 0)
        return -1;
    if (credentials != NULL) {
        vq_tls_credentials_free(all->credentials);
        all->credentials = credentials;
    }
    return 0;
}

/* ---- Accepting ---- */

/* Field 22 of /proc/PID/stat; with the pid it names a process for good. 0: it has ended already. */
static uint64_t process_start(int32_t pid)
{
    char path[64], text[1024];
    uint64_t start;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    char *field = strrchr(text, ')'); /* the name in parentheses may hold anything */
    for (int i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    if (field == NULL)
        return 0;
    field[1 + strcspn(field + 1, " ")] = '\0';
    return vq_parse_u64(field + 1, 10, UINT64_MAX, &start) ? start : 0;
}

static bool identify(const struct listener *listener, int fd, struct vq_caller *caller)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    int on = 1;

    *caller = (struct vq_caller){0};
    if (listener->path == NULL) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* slower without, but it works */
        return true;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return false;
    caller->has_unix = true;
    caller->uid = peer.uid;
    caller->gid = peer.gid;
    caller->pid = peer.pid;
    caller->process_start = process_start(peer.pid);
    return true;
}

static bool user_sees_node(const struct vq_config *config, const struct vq_caller *caller)
{
    for (size_t i = 0; caller->has_unix && i < config->n_node_view_uids; i++)
        if (config->node_view_uids[i] == caller->uid)
            return true;
    return false;
}

static void accepted(struct listener *listener, int take_fd)
{
    static const struct vq_tls_options server = {.is_server = true, .verify = VQ_TLS_VERIFY_PEER};
    struct vq_listeners *all = listener->all;
    struct vq_tls_session *tls = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_caller caller;
    struct vq_tls_options options = server;

    options.verify = all->daemon->config.tls_no_verify ? VQ_TLS_VERIFY_OPTIONAL : VQ_TLS_VERIFY_PEER;
    if (!identify(listener, take_fd, &caller)) {
        (void)close(take_fd); /* gone again already */
        return;
    }
    if (listener->is_tls && vq_tls_session_new(all->credentials, &options, &tls, &err) < 0) {
        vq_log(WARN, "listener.tls", "%s: %s", listener->name, err.message);
        (void)close(take_fd); /* the client sees the end of the connection */
        return;
    }
    struct vq_session_options session = listener->options;
    session.is_node_view = session.is_node_view || user_sees_node(&all->daemon->config, &caller);
    vq_session_accept(all->daemon, take_fd, tls, &session, &caller);
}

static void suspend(struct listener *listener)
{
    listener->is_suspended = true;
    (void)uv_poll_stop(&listener->poll); /* cannot fail on an open handle */
}

static void readable(uv_poll_t *poll, int status VQ_UNUSED, int events VQ_UNUSED)
{
    struct listener *listener = poll->data;

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (!vq_sessions_may_accept(listener->all->daemon)) {
            suspend(listener);
            return;
        }
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            accepted(listener, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            vq_log(WARN, "listener.full", "%s: %s, accepting again in a second", listener->name, strerror(errno));
            suspend(listener);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return; /* nobody is waiting */
        }
    }
}

/* ---- All of them ---- */

static void listener_open(struct listener *listener)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_daemon *daemon = listener->all->daemon;

    if (listener->is_tls && listener->all->credentials == NULL)
        return;
    if ((listener->path != NULL ? open_unix : open_tcp)(listener, &err) < 0) {
        if (!listener->has_complained)
            vq_log(ERROR, "listener.failed", "%s: %s, trying again each second", listener->name, err.message);
        listener->has_complained = true;
        return;
    }
    if (uv_poll_init(daemon->loop, &listener->poll, listener->fd) != 0) {
        (void)close(listener->fd); /* tried again in a second */
        listener->fd = -1;
        return;
    }
    listener->has_complained = false;
    listener->poll.data = listener;
    (void)uv_poll_start(&listener->poll, UV_READABLE, readable); /* cannot fail on an open handle */
    vq_log(INFO, "listener.open", "%s", listener->name);
}

static struct listener *add(struct vq_listeners *all)
{
    assert(all->n_listeners < LISTENERS_MAX);
    struct listener *listener = vq_new(struct listener);

    listener->all = all;
    listener->fd = -1;
    all->listeners[all->n_listeners++] = listener;
    return listener;
}

/* What asks for an authentication that is not there is not opened at all. Root passes polkit in any case, so a socket
 * that only root can reach needs none. */
static bool auth_is_served(const char *name, const char *auth, bool only_root)
{
    if (auth == NULL || strcmp(auth, "none") == 0 || (only_root && strcmp(auth, "polkit") == 0))
        return true;
    vq_log(ERROR, "listener.auth", "%s: authentication '%s' is not served, not opened", name, auth);
    return false;
}

static void add_unix(struct vq_listeners *all, char *take_path, mode_t mode, struct vq_session_options options)
{
    const struct vq_config *config = &all->daemon->config;
    const char *auth = options.is_admin ? NULL : options.is_readonly ? config->auth_unix_ro : config->auth_unix_rw;

    if (!auth_is_served(take_path, auth, (mode & 077) == 0)) {
        free(take_path);
        return;
    }
    struct listener *listener = add(all);
    options.is_unix = options.is_secure = true;
    listener->options = options;
    listener->path = take_path;
    listener->mode = mode;
    (void)snprintf(listener->name, sizeof(listener->name), "%s", take_path);
}

/* One numeric address. */
static void add_tcp(struct vq_listeners *all, const char *address, const char *port, bool is_tls)
{
    struct listener *listener = add(all);
    struct sockaddr_in *ip4 = (struct sockaddr_in *)&listener->address;
    struct sockaddr_in6 *ip6 = (struct sockaddr_in6 *)&listener->address;
    uint64_t number = 0;

    listener->is_tls = is_tls;
    listener->options.is_secure = is_tls;
    listener->options.is_node_view = vq_streq(all->daemon->config.default_view, "node");
    (void)snprintf(listener->name, sizeof(listener->name), "%s port %s (%s)", address, port, is_tls ? "TLS" : "TCP");
    if (vq_parse_u64(port, 10, UINT16_MAX, &number) && inet_pton(AF_INET, address, &ip4->sin_addr) == 1) {
        ip4->sin_family = AF_INET;
        ip4->sin_port = htons((uint16_t)number);
    } else if (number != 0 && inet_pton(AF_INET6, address, &ip6->sin6_addr) == 1) {
        ip6->sin6_family = AF_INET6;
        ip6->sin6_port = htons((uint16_t)number);
    } else {
        vq_log(ERROR, "listener.address", "%s: not a numeric address and port, not opened", listener->name);
        all->n_listeners--;
        free(listener);
    }
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static void add_tcp_pair(struct vq_listeners *all, bool is_tls)
{
    const struct vq_config *config = &all->daemon->config;
    const char *port = is_tls ? config->tls_port : config->tcp_port;
    bool anywhere = is_tls || config->tcp_without_auth;

    if (!auth_is_served(is_tls ? "TLS" : "TCP", is_tls ? config->auth_tls : config->auth_tcp, false))
        return;
    if (config->listen_addr != NULL && (anywhere || is_loopback(config->listen_addr))) {
        add_tcp(all, config->listen_addr, port, is_tls);
        return;
    }
    if (config->listen_addr != NULL)
        vq_log(WARN, "listener.loopback",
               "TCP without authentication is served on loopback only, not on %s "
               "(--tcp-without-auth lets everybody in)",
               config->listen_addr);
    add_tcp(all, anywhere ? "0.0.0.0" : "127.0.0.1", port, is_tls);
    if (file_exists("/proc/net/if_inet6"))
        add_tcp(all, anywhere ? "::" : "::1", port, is_tls);
}

static void add_all(struct vq_listeners *all)
{
    const struct vq_config *config = &all->daemon->config;
    bool by_node = vq_streq(config->default_view, "node");
    const struct vq_session_options cluster = {.is_node_view = by_node};
    const struct vq_session_options cluster_ro = {.is_node_view = by_node, .is_readonly = true};
    const struct vq_session_options admin = {.is_admin = true};
    const struct vq_session_options node = {.is_node_view = true};
    const struct vq_session_options node_ro = {.is_node_view = true, .is_readonly = true};

    add_unix(all, vq_asprintf("%s/libvirt-sock", config->libvirt_run_dir), config->unix_rw_mode, cluster);
    add_unix(all, vq_asprintf("%s/libvirt-sock-ro", config->libvirt_run_dir), config->unix_ro_mode, cluster_ro);
    add_unix(all, vq_asprintf("%s/libvirt-admin-sock", config->libvirt_run_dir), config->unix_admin_mode, admin);
    add_unix(all, vq_asprintf("%s/node/libvirt-sock", config->run_dir), config->unix_rw_mode, node);
    add_unix(all, vq_asprintf("%s/node/libvirt-sock-ro", config->run_dir), config->unix_ro_mode, node_ro);
    if (config->listen_tcp)
        add_tcp_pair(all, false);
    if (config->listen_tls)
        add_tcp_pair(all, true);
}

/* Certificates that come later are found, too. */
static void try_credentials(struct vq_listeners *all)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (all->credentials != NULL || vq_listeners_reload(all, &err) == 0 || all->has_complained_tls)
        return;
    all->has_complained_tls = true;
    vq_log(ERROR, "listener.certificates", "no TLS: %s, trying again each second", err.message);
}

struct vq_listeners *vq_listeners_new(struct vq_daemon *daemon)
{
    struct vq_listeners *all = vq_new(struct vq_listeners);

    all->daemon = daemon;
    add_all(all);
    vq_listeners_tick(all);
    return all;
}

void vq_listeners_tick(struct vq_listeners *all)
{
    try_credentials(all);
    for (unsigned i = 0; i < all->n_listeners; i++) {
        struct listener *listener = all->listeners[i];
        if (listener->fd < 0) {
            listener_open(listener);
        } else if (listener->is_suspended && vq_sessions_may_accept(all->daemon)) {
            listener->is_suspended = false;
            (void)uv_poll_start(&listener->poll, UV_READABLE, readable); /* cannot fail on an open handle */
        }
    }
}

static void listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    (void)close(listener->fd);
    free(listener->path);
    free(listener);
}

static void listener_stop(struct listener *listener)
{
    struct stat status;

    if (listener->fd < 0) {
        free(listener->path);
        free(listener);
        return;
    }
    if (listener->path != NULL && lstat(listener->path, &status) == 0 && status.st_ino == listener->inode)
        (void)unlink(listener->path); /* a stale one would be replaced by the next start */
    uv_close((uv_handle_t *)&listener->poll, listener_closed);
}

void vq_listeners_stop(struct vq_listeners *all)
{
    if (all == NULL)
        return;
    for (unsigned i = 0; i < all->n_listeners; i++)
        listener_stop(all->listeners[i]);
    vq_tls_credentials_free(all->credentials);
    free(all);
}
