/* The check at the destination: ask the emulator, the host and the source, one after the other, then judge.
 *
 *   names ─► emulator ─► facts of this host ─► facts of the source ─► verdict ─► can the source reach a port here? ─► told */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/migrate_check.h"

#include <arpa/inet.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_facts.h"
#include "drivers/qemu/migrate_gather.h"
#include "drivers/qemu/migrate_judge.h"
#include "drivers/qemu/migrate_uri.h"
#include "proto/gen/node.h"

enum { GATHER_MS = 5000, SOURCE_MS = 8000, PORT_MS = 3000 };

struct check {
    struct check *next;
    struct vq_request *request;
    struct vq_qemu *qemu;
    struct vq_migrate_options options;
    const struct vq_migrate_cookie *cookie; /* NULL: none */
    uint64_t source;         /* node; 0: not of this cluster */
    char *source_name;
    struct vq_domain *def;
    struct vq_qemu_capabilities *caps; /* NULL: caps_problem */
    char caps_problem[512];
    struct vq_gathering *gathering;
    struct vq_facts *facts;
    struct vq_peer *peer;
    int listener;            /* a port that is tried; -1: none */
    uint16_t port;
    char address[64];
    struct vq_migrate_problems problems;
    vq_migrate_check_cb cb;  /* NULL: it is over, a call-back of others is still to come */
    void *data;
    unsigned n_waiting;      /* call-backs of others to come */
};

static struct check *checks;

/* ---- The end ---- */

static void check_free(struct check *check)
{
    struct check **link = &checks;

    while (*link != check)
        link = &(*link)->next;
    *link = check->next;
    vq_migrate_options_done(&check->options);
    vq_migrate_problems_done(&check->problems);
    vq_domain_free(check->def);
    vq_qemu_capabilities_free(check->caps);
    vq_facts_free(check->facts);
    free(check->source_name);
    free(check);
}

/* A call-back of others has come. False: nobody waits for the check any more, and it may be gone. */
static bool goes_on(struct check *check)
{
    check->n_waiting--;
    if (check->cb != NULL)
        return true;
    if (check->n_waiting == 0)
        check_free(check);
    return false;
}

static void tell(struct check *check, const struct vq_error *err)
{
    vq_migrate_check_cb cb = vq_take(check->cb);

    if (check->gathering != NULL)
        vq_gathering_forget(vq_take(check->gathering));
    if (check->listener >= 0)
        (void)close(check->listener); /* nothing was read from it */
    check->listener = -1;
    check->n_waiting++; /* closing a peer calls back */
    if (check->peer != NULL)
        check->peer->class->close(vq_take(check->peer));
    cb(&check->problems, check->facts, err, check->data);
    if (--check->n_waiting == 0)
        check_free(check);
}

static void finish(struct check *check)
{
    struct vq_error err = VQ_ERROR_INIT;
    bool is_refused = vq_migrate_problems_error(&check->problems, &err);

    tell(check, is_refused ? &err : NULL);
}

void vq_migrate_checks_stop(void)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct check *next;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    for (struct check *check = checks; check != NULL; check = next) {
        next = check->next;
        if (check->cb != NULL)
            tell(check, &err);
    }
}

/* ---- Names ---- */

#define REFUSE(code_, remedy_, ...)                                                                                    \
    vq_migrate_problems_add(&check->problems,                                                                          \
                            &(struct vq_migrate_problem){.severity = VQ_MIGRATE_REFUSAL, .code = (code_),              \
                                                         .node = (char *)check->qemu->host->node_name, .device = NULL, \
                                                         .remedy = (char *)(remedy_)},                                 \
                            __VA_ARGS__)

static bool is_offline(const struct check *check)
{
    return (check->options.flags & VIR_MIGRATE_OFFLINE) != 0;
}

static void look_at_domain(struct check *check, const struct vq_domain_info *info)
{
    const struct vq_driver_host *host = check->qemu->host;
    const char *name = check->options.dname != NULL ? check->options.dname : check->def->name;
    bool is_off = info->id < 0 && (info->flags & VQ_INFO_CLAIMED) == 0;

    if (check->source == 0 && is_off && strcmp(info->name, name) == 0)
        return; /* the definition of a guest that comes back, here or at another node: prepare takes it over */
    if (check->source == 0)
        REFUSE(VIR_ERR_OPERATION_FAILED, "undefine it there, or give the guest another UUID",
               "a domain with the UUID of '%s' is there already: '%s'", check->def->name, info->name);
    else if (info->owner == host->node_id)
        REFUSE(VIR_ERR_OPERATION_INVALID, "", "the domain '%s' is on this node already", info->name);
    else if (info->owner != check->source)
        REFUSE(VIR_ERR_OPERATION_INVALID, "migrate it from there", "the domain '%s' is not on %s any more", info->name,
               check->source_name);
    else if (info->moving_to != 0 && info->moving_to != host->node_id)
        REFUSE(VIR_ERR_OPERATION_INVALID, "wait for it, or cancel it (virsh domjobabort)",
               "another migration of '%s' is under way", info->name);
}

static void look_at_names(struct check *check)
{
    const struct vq_driver_host *host = check->qemu->host;
    const char *name = check->options.dname != NULL ? check->options.dname : check->def->name;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = {0}, other = {0};

    if (host->domain_find(check->def->uuid, false, arena, &info))
        look_at_domain(check, &info);
    else if (check->source != 0)
        REFUSE(VIR_ERR_NO_DOMAIN, "", "the cluster knows no domain with the UUID of '%s'", check->def->name);
    if (host->domain_find_by_name(check->qemu->driver, name, arena, &other) &&
        memcmp(other.uuid, check->def->uuid, sizeof(other.uuid)) != 0)
        REFUSE(VIR_ERR_OPERATION_FAILED, "choose another name (--dname)", "the name '%s' is that of another domain", name);
    if (vq_qemu_guest_find(check->qemu, check->def->uuid) != NULL)
        REFUSE(VIR_ERR_OPERATION_INVALID, "try again in a moment",
               "something of '%s' is there still: a run that ends, or another migration", check->def->name);
    if (host->is_draining())
        REFUSE(VIR_ERR_OPERATION_INVALID, "let guests come again: virtquorum undrain NODE", "the node is being drained");
}

/* ---- Ports ---- */

static bool address_from_uri(const struct check *check, char *address, size_t size, uint16_t *ret_port)
{
    VQ_AUTOFREE char *host = NULL, *path = NULL;
    struct vq_error ignored = VQ_ERROR_INIT;

    if (strncmp(check->options.uri, "tcp:", 4) != 0 ||
        vq_migrate_uri_parse(check->options.uri, &host, ret_port, &path, &ignored) < 0)
        return false; /* prepare tells what is wrong with it */
    (void)snprintf(address, size, "%s", host);
    return true;
}

/* Where the data would be sent to: as prepare chooses. False: not known here, or no port of TCP. */
static bool choose_address(struct check *check)
{
    const char *known = check->qemu->host->node_address(check->qemu->host->node_id);
    struct in6_addr numbers;

    check->port = 0;
    if (check->options.uri != NULL) {
        if (!address_from_uri(check, check->address, sizeof(check->address), &check->port))
            return false;
    } else {
        (void)snprintf(check->address, sizeof(check->address), "%s", known == NULL ? "" : known);
    }
    return inet_pton(AF_INET, check->address, &numbers) == 1 || inet_pton(AF_INET6, check->address, &numbers) == 1;
}

static int listen_on(const char *address, uint16_t port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    socklen_t length = sizeof(at.v4);
    int on = 1;

    if (inet_pton(AF_INET, address, &at.v4.sin_addr) != 1) {
        at.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        length = sizeof(at.v6);
        if (inet_pton(AF_INET6, address, &at.v6.sin6_addr) != 1)
            return -1;
    }
    int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* as QEMU does */
    if (bind(fd, &at.any, length) == 0 && listen(fd, 1) == 0)
        return fd;
    (void)close(fd); /* never used */
    return -1;
}

/* The kernel answers who connects: nothing has to be accepted. */
static bool open_port(struct check *check)
{
    const struct vq_qemu_settings *settings = &check->qemu->settings;
    unsigned first = check->port != 0 ? check->port : settings->migration_port_min;
    unsigned last = check->port != 0 ? check->port : settings->migration_port_max;

    for (unsigned port = first; port <= last && check->listener < 0; port++) {
        check->listener = listen_on(check->address, (uint16_t)port);
        check->port = (uint16_t)port;
    }
    if (check->listener < 0)
        REFUSE(VIR_ERR_OPERATION_FAILED, "free one, or widen migration_port_min and _max in qemu.conf",
               "no port of %u-%u can be opened on %s", first, last, check->address);
    return check->listener >= 0;
}

static void port_tried(const void *ret, const struct vq_error *err, void *data)
{
    struct check *check = data;
    const struct vq_node_try_port_ret *told = ret;
    const struct vq_qemu_settings *settings = &check->qemu->settings;
    char remedy[160];

    if (!goes_on(check))
        return;
    (void)snprintf(remedy, sizeof(remedy), "open TCP ports %u-%u for the nodes in the firewalls of both",
                   settings->migration_port_min, settings->migration_port_max);
    if (told == NULL)
        REFUSE(err->code, "", "%s could not try the port: %s", check->source_name, err->message);
    else if (!told->reached)
        REFUSE(VIR_ERR_OPERATION_FAILED, remedy, "%s cannot reach %s port %u: %s", check->source_name, check->address,
               check->port, told->text);
    finish(check);
}

static void try_port(struct check *check)
{
    if ((check->options.flags & VIR_MIGRATE_TUNNELLED) != 0 || !choose_address(check) || !open_port(check)) {
        finish(check);
        return;
    }
    const struct vq_node_try_port_args args = {.host = check->address, .port = check->port, .timeout_ms = PORT_MS};
    check->n_waiting++;
    check->peer->class->call(check->peer, VQ_PROGRAM_NODE, VQ_NODE_TRY_PORT, &args, PORT_MS + 1000, port_tried, check);
}

/* ---- The source ---- */

static void judge(struct check *check, const struct vq_node_migrate_facts_ret *there)
{
    const struct vq_driver_host *host = check->qemu->host;
    const struct vq_migrate_case judged = {
        .def = check->def,
        .options = &check->options,
        .cookie = check->cookie,
        .caps = check->caps,
        .caps_problem = check->caps_problem,
        .here = check->facts,
        .there = there,
        .here_name = host->node_name,
        .there_name = check->source_name,
        .random = host->random,
    };

    vq_migrate_judge(&judged, &check->problems);
}

static void source_told(const void *ret, const struct vq_error *err, void *data)
{
    struct check *check = data;

    if (!goes_on(check))
        return;
    if (ret == NULL) {
        REFUSE(err->code, "", "%s does not say what the guest uses there: %s", check->source_name, err->message);
        judge(check, NULL);
        finish(check);
        return;
    }
    judge(check, ret);
    try_port(check);
}

static void source_reached(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct check *check = data;

    if (!goes_on(check)) {
        if (take_peer != NULL)
            take_peer->class->close(take_peer);
        return;
    }
    if (take_peer == NULL) {
        REFUSE(err->code, "", "%s cannot be asked: %s", check->source_name, err->message);
        judge(check, NULL);
        finish(check);
        return;
    }
    check->peer = take_peer;
    struct vq_node_migrate_facts_args args = {.dom = {.name = check->def->name, .id = -1}};
    memcpy(args.dom.uuid, check->def->uuid, sizeof(args.dom.uuid));
    check->n_waiting++;
    take_peer->class->call(take_peer, VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_FACTS, &args, SOURCE_MS, source_told, check);
}

/* ---- This host ---- */

static void gathered(struct vq_facts *take_facts, void *data)
{
    struct check *check = data;

    check->gathering = NULL;
    check->facts = take_facts;
    if (take_facts == NULL) {
        REFUSE(VIR_ERR_OPERATION_TIMEOUT, "look for a file system of the network that hangs",
               "the host did not say within %d s what it has of the guest's files", GATHER_MS / 1000);
        finish(check);
    } else if (check->source == 0) {
        judge(check, NULL);
        finish(check);
    } else {
        check->n_waiting++;
        check->qemu->host->peer_open_node(check->source, check->request, source_reached, check);
    }
}

static void emulator_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct check *check = data;

    if (!goes_on(check))
        return;
    if (caps != NULL)
        check->caps = vq_qemu_capabilities_ref(caps);
    else
        (void)snprintf(check->caps_problem, sizeof(check->caps_problem), "%s", err->message);
    check->gathering = vq_gathering_start(check->qemu->host->loop, vq_facts_new(check->def, false), GATHER_MS, gathered,
                                          check);
}

static void ask_emulator(struct check *check)
{
    struct vq_error err = VQ_ERROR_INIT;
    const char *path = vq_qemu_choose_emulator(check->qemu, check->def, &err);

    check->n_waiting++;
    if (path == NULL)
        emulator_known(NULL, &err, check);
    else if (check->def->type == VQ_VIRT_KVM)
        vq_qemu_emulators_get_kvm(check->qemu->emulators, path, emulator_known, check);
    else
        vq_qemu_emulators_get(check->qemu->emulators, path, emulator_known, check);
}

static void start(struct vq_request *request, const struct vq_migrate_options *options, uint64_t source,
                  const struct vq_migrate_cookie *cookie, vq_migrate_check_cb cb, void *data)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct check *check = vq_new(struct check);
    struct vq_error err = VQ_ERROR_INIT;
    const char *source_name = source == 0 ? NULL : qemu->host->node_name_of(source);

    check->next = checks;
    checks = check;
    check->request = request;
    check->qemu = qemu;
    check->cookie = cookie;
    check->source = source;
    check->source_name = vq_strdup(source_name != NULL ? source_name : "the source");
    check->listener = -1;
    check->cb = cb;
    check->data = data;
    vq_migrate_options_copy(&check->options, options);
    if (options->dxml == NULL)
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "no domain XML passed");
    if (options->dxml == NULL || vq_domain_parse(options->dxml, 0, &check->def, &err) < 0) {
        tell(check, &err);
        return;
    }
    look_at_names(check);
    if (is_offline(check))
        finish(check); /* only the definition comes */
    else
        ask_emulator(check);
}

void vq_migrate_check_run(struct vq_request *request, const struct vq_migrate_options *options,
                          const struct vq_migrate_cookie *cookie, vq_migrate_check_cb cb, void *data)
{
    bool is_ours = cookie != NULL && vq_migrate_cookie_is_ours(cookie, vq_qemu_of(request));

    start(request, options, is_ours ? cookie->node : 0, cookie, cb, data);
}

void vq_migrate_check_for(struct vq_request *request, const struct vq_migrate_options *options, uint64_t source,
                          vq_migrate_check_cb cb, void *data)
{
    start(request, options, source, NULL, cb, data);
}
