/* Starting a guest, step by step; undoing the same steps from the last is stopping it. */
#define VQ_FROM VIR_FROM_QEMU

#include <assert.h>
#include <errno.h>
#include <libvirt/libvirt.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/command.h"
#include "drivers/qemu/cpu_run.h"
#include "drivers/qemu/console.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/files.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/images.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/ports.h"
#include "drivers/qemu/hostdev.h"
#include "drivers/qemu/prepare.h"
#include "drivers/qemu/process.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/run_secrets.h"
#include "drivers/qemu/save_managed.h"
#include "drivers/qemu/start.h"
#include "drivers/qemu/tap.h"
#include "drivers/qemu/tune.h"
#include "proto/cluster.pb-c.h"

struct vq_qemu_ticket {
    struct vq_qemu_guest *guest;
};

struct vq_qemu_ticket *vq_qemu_ticket_new(struct vq_qemu_guest *guest)
{
    struct vq_qemu_ticket *ticket = vq_new(struct vq_qemu_ticket);

    assert(guest->ticket == NULL);
    ticket->guest = guest;
    guest->ticket = ticket;
    return ticket;
}

void vq_qemu_ticket_give_up(struct vq_qemu_guest *guest)
{
    if (guest->ticket != NULL)
        guest->ticket->guest = NULL;
    guest->ticket = NULL;
}

struct vq_qemu_guest *vq_qemu_ticket_use(struct vq_qemu_ticket *ticket)
{
    struct vq_qemu_guest *guest = ticket->guest;

    if (guest != NULL)
        guest->ticket = NULL;
    free(ticket);
    return guest;
}

struct vq_qemu_guest *vq_qemu_undoing(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;

    if (guest->phase != VQ_GUEST_STOPPING)
        vq_qemu_guest_set_phase(guest, VQ_GUEST_STOPPING);
    return guest;
}

void vq_qemu_step_over(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    if (guest->job.is_waiting)
        vq_job_resume(&guest->job, err);
    else if (err != NULL)
        (void)vq_job_fail(&guest->job, err);
}

enum vq_step_result vq_qemu_step_failed(struct vq_job *job, const char *failpoint_name)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "failure point %s", failpoint_name);
    return vq_job_fail(job, &err);
}

/* ---- read the definition and know the emulator ---- */

static int read_definition(struct vq_qemu_guest *guest, struct vq_error *err)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    if (!guest->qemu->host->domain_find(guest->uuid, true, arena, &info) || info.xml == NULL)
        return vq_qemu_definition_error(guest->uuid, guest->name, &info, err);
    if (info.owner != guest->qemu->host->node_id)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' belongs to a node that has left the cluster",
                            guest->name);
    guest->generation = info.generation;
    if (guest->live != NULL)
        return 0; /* came with the call */
    if (vq_domain_parse(info.xml, VQ_PARSE_INACTIVE, &guest->live, err) < 0)
        return vq_error_wrap(err, "reading the definition");
    return 0;
}

static void capabilities_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = vq_qemu_ticket_use(data);
    struct vq_error own = VQ_ERROR_INIT;

    if (guest == NULL)
        return;
    if (err != NULL) {
        vq_qemu_step_over(guest, err);
        return;
    }
    guest->caps = vq_qemu_capabilities_ref(caps);
    /* What the text leaves out because it is the default; and the same check as at define, by today's emulator. */
    if (vq_qemu_definition_fill(guest->live, caps, guest->qemu->host->random, &own) < 0)
        vq_qemu_step_over(guest, &own);
    else
        vq_qemu_step_over(guest, NULL);
}

enum vq_step_result vq_qemu_step_emulator(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;
    const char *emulator = guest->live->devices.emulator;

    if (emulator == NULL)
        emulator = vq_qemu_emulators_default(guest->qemu->emulators, guest->live->os.arch);
    if (emulator == NULL) {
        (void)vq_error_set(&err, VIR_ERR_CONFIG_UNSUPPORTED, "this host has no emulator for architecture '%s'",
                           guest->live->os.arch != NULL ? guest->live->os.arch : "");
        return vq_job_fail(job, &err);
    }
    guest->emulator = vq_strdup(emulator);
    if (guest->live->type == VQ_VIRT_KVM)
        vq_qemu_emulators_get_kvm(guest->qemu->emulators, emulator, capabilities_known, vq_qemu_ticket_new(guest));
    else
        vq_qemu_emulators_get(guest->qemu->emulators, emulator, capabilities_known, vq_qemu_ticket_new(guest));
    return guest->ticket != NULL ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_emulator_undo(struct vq_job *job)
{
    vq_qemu_ticket_give_up(vq_qemu_undoing(job));
    return VQ_STEP_DONE;
}

static enum vq_step_result prepare_run(struct vq_job *job)
{
    struct vq_error err = VQ_ERROR_INIT;

    return read_definition(job->owner, &err) < 0 ? vq_job_fail(job, &err) : vq_qemu_step_emulator(job);
}

/* ---- take the right to run ---- */

int vq_qemu_run_claimed(struct vq_qemu_guest *guest, uint64_t run, int32_t id, struct vq_error *err)
{
    VQ_AUTOFREE char *sub = NULL;

    guest->run = run;
    guest->id = id;
    guest->is_claimed = true;
    guest->dir = vq_qemu_files_dir(guest);
    sub = vq_asprintf("%s/" VQ_QEMU_GUEST_SUBDIR, guest->dir);
    return vq_qemu_definition_begin_run(guest->live, id, sub, err);
}

static int claim_locally(struct vq_qemu_guest *guest, struct vq_error *err)
{
    uint64_t run;
    int32_t id;

    guest->qemu->host->local_run(guest->uuid, &run, &id);
    vq_log(INFO, "guest.claim", "domain=%s run=%llu: started without a quorum, with a number of this node's own",
           guest->name, (unsigned long long)run);
    return vq_qemu_run_claimed(guest, run, id, err);
}

/* The start was given up while the cluster was asked, and the answer was yes. */
static void give_back(struct vq_qemu_guest *guest, const struct vq_proposal_result *result)
{
    guest->run = result->number;
    guest->id = result->id;
    guest->is_claimed = true;
    vq_qemu_guest_publish_end(guest);
}

static void claim_done(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = vq_qemu_ticket_use(data);
    struct vq_error own = VQ_ERROR_INIT;
    int rc;

    if (guest == NULL)
        return;
    if (guest->job.is_unwinding) { /* given up meanwhile: claim_undo() waits for this answer */
        if (result != NULL)
            give_back(guest, result);
        vq_job_resume(&guest->job, NULL);
        return;
    }
    /* The quorum went while we asked: then it is as if there had been none before. Where the claim may still be committed
     * later ("unknown"), the run gets that number then: only this node claims its own guests. */
    if (err != NULL && (err->code == VIR_ERR_OPERATION_INVALID || err->code == VIR_ERR_OPERATION_TIMEOUT) &&
        !guest->qemu->host->has_quorum())
        rc = claim_locally(guest, &own);
    else if (err != NULL)
        rc = -1, own = *err;
    else
        rc = vq_qemu_run_claimed(guest, result->number, result->id, &own);
    vq_qemu_step_over(guest, rc < 0 ? &own : NULL);
}

enum vq_step_result vq_qemu_step_claim(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainRun run = VQ__DOMAIN_RUN__INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.claim"))
        return vq_qemu_step_failed(job, "qemu.start.claim");
    if (!guest->qemu->host->has_quorum())
        return claim_locally(guest, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
    run.uuid.data = guest->uuid;
    run.uuid.len = sizeof(guest->uuid);
    run.node = guest->qemu->host->node_id;
    run.if_generation = guest->generation;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RUN;
    command.domain_run = &run;
    guest->qemu->host->propose(&command, 0, claim_done, vq_qemu_ticket_new(guest));
    return guest->ticket != NULL ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

/* Nothing of the run is left: the cluster is told last. A claim on its way is waited for: it cannot be taken back, and one
 * that came later than the next start's would make that one the older run. */
enum vq_step_result vq_qemu_step_claim_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    if (guest->ticket != NULL)
        return VQ_STEP_WAIT; /* claim_done() */
    if (guest->is_claimed)
        vq_qemu_guest_publish_end(guest);
    return VQ_STEP_DONE;
}

/* ---- write down what is intended ---- */

enum vq_step_result vq_qemu_step_record(struct vq_job *job)
{
    struct vq_error err = VQ_ERROR_INIT;

    return vq_qemu_record_write(job->owner, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_record_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_qemu_record_delete(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, the next start of the daemon removes it", guest->name, err.message);
    return VQ_STEP_DONE;
}

/* ---- directory, socket, log ---- */

enum vq_step_result vq_qemu_step_files(struct vq_job *job)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.files"))
        return vq_qemu_step_failed(job, "qemu.start.files");
    return vq_qemu_files_create(job->owner, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_files_undo(struct vq_job *job)
{
    vq_qemu_files_remove(vq_qemu_undoing(job));
    return VQ_STEP_DONE;
}

/* ---- ports of displays ---- */

enum vq_step_result vq_qemu_step_ports(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.ports"))
        return vq_qemu_step_failed(job, "qemu.start.ports");
    return vq_qemu_ports_reserve(guest, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_ports_undo(struct vq_job *job)
{
    vq_qemu_undoing(job)->n_ports = 0;
    return VQ_STEP_DONE;
}

/* ---- images ---- */

enum vq_step_result vq_qemu_step_images(struct vq_job *job)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.images"))
        return vq_qemu_step_failed(job, "qemu.start.images");
    return vq_qemu_ownership_take(job->owner, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_images_undo(struct vq_job *job)
{
    vq_qemu_ownership_give_back(vq_qemu_undoing(job));
    return VQ_STEP_DONE;
}

/* ---- taps ---- */

static bool needs_tap(const struct vq_interface *interface)
{
    return interface->type == VQ_INTERFACE_BRIDGE ||
           (interface->type == VQ_INTERFACE_ETHERNET && interface->target_managed != VQ_SWITCH_OFF) ||
           (interface->type == VQ_INTERFACE_NETWORK && interface->bridge != NULL);
}

/* A bridge that is not there is named, with the guest's interface; and what was meant, where that can be told. */
static int check_bridge(const struct vq_qemu_guest *guest, const struct vq_interface *interface, struct vq_error *err)
{
    VQ_AUTOFREE char *network = NULL;

    if (interface->type != VQ_INTERFACE_BRIDGE || interface->bridge == NULL || if_nametoindex(interface->bridge) != 0)
        return 0;
    network = vq_asprintf("%s/qemu/networks/%s.xml", guest->qemu->host->config_dir, interface->bridge);
    if (vq_name_is_component(interface->bridge) && access(network, F_OK) == 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s': '%s' is the name of a network, not of a bridge; "
                            "use <interface type='network'> with <source network='%s'/>", interface->info.alias,
                            interface->bridge, interface->bridge);
    return vq_error_system(err, ENODEV, "Cannot get interface MTU on '%s': interface '%s' of the guest has it for its bridge",
                           interface->bridge, interface->info.alias);
}

/* What an interface may say, and nothing here does. */
static int check_interface(const struct vq_interface *interface, struct vq_error *err)
{
    const struct {
        bool is_said;
        const char *what;
    } things[] = { { interface->inbound.average != 0 || interface->outbound.average != 0, "<bandwidth>" },
                   { interface->coalesce_rx_frames != 0, "<coalesce>" },
                   { interface->virtualport != NULL && interface->type != VQ_INTERFACE_NETWORK, "<virtualport>" },
                   { interface->port_isolated == VQ_SWITCH_ON, "<port isolated='yes'>" },
                   { interface->script != NULL && interface->type == VQ_INTERFACE_ETHERNET, "<script>" },
                   { interface->type == VQ_INTERFACE_DIRECT, "type='direct'" },
                   { interface->type == VQ_INTERFACE_HOSTDEV, "type='hostdev'" } };

    if (interface->vlan != NULL && interface->vlan->n_tags > 0 && interface->type != VQ_INTERFACE_NETWORK)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "interface %02x:%02x:%02x:%02x:%02x:%02x - vlan tag not supported for this connection type",
                            interface->mac[0], interface->mac[1], interface->mac[2], interface->mac[3], interface->mac[4],
                            interface->mac[5]);
    for (size_t i = 0; i < VQ_N_ELEMENTS(things); i++)
        if (things[i].is_said)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s': %s is not supported",
                                interface->info.alias, things[i].what);
    return 0;
}

static int taps_choose(struct vq_qemu_guest *guest, struct vq_error *err)
{
    struct vq_devices *devices = &guest->live->devices;

    for (size_t i = 0; i < devices->n_interfaces; i++) {
        struct vq_interface *interface = devices->interfaces[i];
        struct vq_qemu_tap *tap = &guest->taps[guest->n_taps];

        if (check_interface(interface, err) < 0 || check_bridge(guest, interface, err) < 0)
            return -1;
        if (interface->type == VQ_INTERFACE_NETWORK && interface->bridge == NULL)
            return vq_error_set(err, VIR_ERR_NO_NETWORK, "no network with matching name '%s'",
                                interface->network != NULL ? interface->network : "");
        if (!needs_tap(interface))
            continue;
        if (guest->n_taps == VQ_GUEST_TAPS_MAX)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %d tap devices", VQ_GUEST_TAPS_MAX);
        if (vq_qemu_tap_choose(guest, interface, tap->name, err) < 0)
            return -1;
        tap->fd = -1;
        tap->interface = i;
        guest->n_taps++;
        free(interface->target);
        interface->target = vq_strdup(tap->name);
    }
    return 0;
}

static int taps_make(struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (guest->n_taps == 0)
        return 0;
    if (vq_qemu_record_write(guest, err) < 0)
        return -1;
    for (size_t i = 0; i < guest->n_taps; i++) {
        struct vq_qemu_tap *tap = &guest->taps[i];

        const struct vq_interface *interface = guest->live->devices.interfaces[tap->interface];

        if (vq_qemu_tap_create(tap->name, interface, &tap->fd, err) < 0 ||
            vq_qemu_tap_add_queues(tap, interface, err) < 0)
            return -1;
    }
    return 0;
}

enum vq_step_result vq_qemu_step_taps(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.taps"))
        return vq_qemu_step_failed(job, "qemu.start.taps");
    return taps_choose(guest, &err) < 0 || taps_make(guest, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_taps_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    vq_qemu_taps_done(guest);
    for (size_t i = 0; i < guest->n_taps; i++)
        if (!vq_qemu_tap_delete(guest->taps[i].name))
            vq_log(WARN, "guest.tap", "domain=%s tap=%s: cannot be removed, it stays", guest->name,
                   guest->taps[i].name);
    guest->n_taps = 0;
    return VQ_STEP_DONE;
}

/* ---- QEMU itself ---- */

/* Where the certificates of displays are, when qemu.conf wants TLS for them. */
static void add_displays(const struct vq_qemu_settings *settings, struct vq_qemu_launch *launch)
{
    const char *otherwise = settings->default_tls.dir;

    if (settings->spice_tls.is_wanted)
        launch->spice_tls_dir = settings->spice_tls.dir != NULL ? settings->spice_tls.dir
                                : otherwise != NULL             ? otherwise
                                                                : "/etc/pki/libvirt-spice";
    if (settings->vnc_tls.is_wanted)
        launch->vnc_tls_dir = settings->vnc_tls.dir != NULL ? settings->vnc_tls.dir
                              : otherwise != NULL           ? otherwise
                                                            : "/etc/pki/libvirt-vnc";
    launch->vnc_tls_verify = (settings->vnc_tls.verifies >= 0 ? settings->vnc_tls.verifies : settings->default_tls.verifies) > 0;
}

static int build_command(struct vq_qemu_guest *guest, const struct vq_qemu_run_secrets *secrets,
                         struct vq_qemu_command **ret, struct vq_error *err)
{
    size_t n = guest->live->devices.n_interfaces;
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    char **generics = NULL;
    int rc;
    VQ_AUTOFREE struct vq_qemu_queues *taps = vq_calloc(n + 1, sizeof(*taps));
    VQ_AUTOFREE char *dir = vq_asprintf("%s/" VQ_QEMU_GUEST_SUBDIR, guest->dir);
    struct vq_qemu_launch launch = { .dir = dir, .monitor_fd = guest->monitor_fd, .taps = taps, .n_taps = n,
                                     .vsock_fd = guest->vsock_fd, .memory_dir = dir, .now_s = (int64_t)time(NULL),
                                     .sandbox = settings->seccomp_sandbox != 0,
                                     .incoming = vq_migrate_is_incoming(guest) || vq_restore_is_loading(guest) ? "defer" : NULL,
                                     .secrets = secrets, .tls_dir = guest->qemu->settings.default_tls.dir,
                                     .chardev_tls_dir = guest->qemu->settings.default_tls.dir,
                                     .chardev_tls_verify = guest->qemu->settings.default_tls.verifies != 0 };

    for (size_t i = 0; i < guest->n_taps; i++) {
        const struct vq_qemu_tap *tap = &guest->taps[i];
        struct vq_qemu_queues *queues = &taps[tap->interface];

        queues->tap[queues->n_taps++] = tap->fd;
        for (size_t k = 0; k < tap->n_more; k++)
            queues->tap[queues->n_taps++] = tap->more_fds[k];
        for (size_t k = 0; k < tap->n_vhosts; k++)
            queues->vhost[queues->n_vhosts++] = tap->vhost_fds[k];
    }
    add_displays(settings, &launch);
    if (vq_qemu_cpu_begin_run(guest->live, guest->caps, err) < 0 || vq_qemu_hostdev_generics(guest->live, &generics, err) < 0)
        return -1;
    launch.scsi_generics = (const char *const *)generics;
    launch.n_scsi_generics = guest->live->devices.n_hostdevs;
    rc = vq_qemu_command_build(guest->live, guest->caps, &launch, ret, err);
    vq_qemu_hostdev_generics_free(generics, guest->live->devices.n_hostdevs);
    if (rc == 0)
        vq_qemu_cpu_settle(guest->live, guest->caps);
    return rc;
}

static int spawn(struct vq_qemu_guest *guest, const struct vq_qemu_command *command, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    struct vq_process_spec spec = { .argv = command->argv, .environment = command->environment,
                                    .output_fd = guest->log_fd, .fds = command->fds, .n_fds = command->n_fds,
                                    .has_user = settings->has_user, .uid = settings->uid, .gid = settings->gid,
                                    .keep_capabilities = !settings->clear_emulator_capabilities,
                                    .is_own_session = true, .files_max = settings->max_files,
                                    .processes_max = settings->max_processes };

    if (vq_process_fork(guest->qemu->host->loop, &spec, &vq_qemu_process_callbacks, guest, &guest->process, err) < 0)
        return -1;
    guest->pid = vq_process_pid(guest->process);
    guest->pid_start_time = vq_process_start_time(guest->process);
    /* The child waits for our word: dying before the record is written leaves nothing behind. */
    return vq_qemu_record_write(guest, err);
}

/* The child has its own copies of the descriptors with secrets, ours are closed at once. */
static int fork_emulator(struct vq_qemu_guest *guest, struct vq_error *err)
{
    VQ_AUTOPTR(vq_qemu_command) command = NULL;
    struct vq_qemu_run_secrets secrets = {0};
    int rc = -1;

    if (vq_qemu_run_secrets_fetch(&secrets, guest->live, guest->qemu->host, err) == 0 &&
        build_command(guest, &secrets, &command, err) == 0) {
        vq_qemu_log_start(guest, command);
        rc = spawn(guest, command, err);
    }
    vq_qemu_run_secrets_done(&secrets);
    return rc;
}

enum vq_step_result vq_qemu_step_spawn(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.spawn"))
        return vq_qemu_step_failed(job, "qemu.start.spawn");
    if (fork_emulator(guest, &err) < 0)
        return vq_job_fail(job, &err);
    if (VQ_FAILPOINT("qemu.start.go"))
        return vq_qemu_step_failed(job, "qemu.start.go");
    vq_process_go(guest->process);
    (void)close(guest->monitor_fd); /* QEMU's from now on */
    guest->monitor_fd = -1;
    if (guest->vsock_fd >= 0)
        (void)close(guest->vsock_fd);
    guest->vsock_fd = -1;
    vq_qemu_taps_done(guest);
    return VQ_STEP_DONE;
}

static void end_of_start_late(uv_timer_t *timer)
{
    struct vq_qemu_guest *guest = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    /* SIGKILL only when somebody said destroy, or when no CPU has ever run: nothing can be lost then. */
    if (!guest->may_kill && guest->is_booted) {
        vq_log(WARN, "guest.end", "domain=%s pid=%d: does not end after SIGTERM, waiting on; destroy ends it",
               guest->name, (int)guest->pid);
        return;
    }
    vq_log(WARN, "guest.end", "domain=%s pid=%d: does not end after SIGTERM, sending SIGKILL", guest->name,
           (int)guest->pid);
    if (vq_process_signal(guest->process, SIGKILL, &err) < 0)
        vq_log(ERROR, "guest.end", "domain=%s: %s", guest->name, err.message);
}

enum vq_step_result vq_qemu_step_spawn_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);
    struct vq_error err = VQ_ERROR_INIT;

    if (guest->process != NULL && !vq_process_has_exited(guest->process) && vq_process_has_gone_on(guest->process)) {
        if (vq_process_signal(guest->process, SIGTERM, &err) < 0)
            vq_log(ERROR, "guest.end", "domain=%s: %s", guest->name, err.message);
        (void)uv_timer_start(&guest->end_timer, end_of_start_late, VQ_QEMU_TERM_MS, VQ_QEMU_TERM_MS);
        return VQ_STEP_WAIT; /* vq_qemu_guest_exited() */
    }
    (void)uv_timer_stop(&guest->end_timer);
    vq_process_free(guest->process);
    guest->process = NULL;
    vq_qemu_log_end(guest);
    return VQ_STEP_DONE;
}

/* ---- the monitor ---- */

enum vq_step_result vq_qemu_step_greet(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.greet"))
        return vq_qemu_step_failed(job, "qemu.start.greet");
    return vq_qemu_guest_connect(guest, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_WAIT;
}

enum vq_step_result vq_qemu_step_greet_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    (void)uv_timer_stop(&guest->retry_timer);
    vq_qemu_consoles_close(guest);
    vq_qemu_guest_disconnect(guest);
    return VQ_STEP_DONE;
}

/* ---- let it run ---- */

static void cont_done(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (err != NULL && guest->qmp != NULL && vq_qmp_is_broken(guest->qmp))
        return; /* QEMU has ended, and its pidfd tells why; or the monitor is told to be broken */
    if (guest->job.is_active && guest->job.is_waiting && !guest->job.is_unwinding)
        vq_job_resume(&guest->job, err);
}

static enum vq_step_result run_run(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    /* From this record on a restarted daemon keeps the guest instead of clearing it away. */
    guest->is_booted = true;
    if (vq_qemu_record_write(guest, &err) < 0)
        return vq_job_fail(job, &err);
    if (vq_restore_use(guest, &err) < 0)
        return vq_job_fail(job, &err);
    if (VQ_FAILPOINT("qemu.start.cont"))
        return vq_qemu_step_failed(job, "qemu.start.cont");
    if (guest->start_paused)
        return VQ_STEP_DONE;
    (void)vq_qmp_call(guest->qmp, "cont", NULL, VQ_QMP_TIMEOUT_MS, cont_done, guest);
    return VQ_STEP_WAIT;
}

static enum vq_step_result publish_run(struct vq_job *job)
{
    static const struct vq_qemu_event running[] = { { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED },
                                                    { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED } };
    static const struct vq_qemu_event paused[] = { { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED },
                                                   { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED } };
    struct vq_qemu_guest *guest = job->owner;

    vq_qemu_guest_set_phase(guest, VQ_GUEST_ACTIVE);
    (void)VQ_FAILPOINT("qemu.start.publish");
    if (guest->restoring != NULL) {
        vq_restore_publish(guest);
        return VQ_STEP_DONE;
    }
    if (guest->start_paused)
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, -1, 0);
    else
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED, -1, 0);
    vq_qemu_guest_publish(guest, guest->start_paused ? paused : running, 2);
    return VQ_STEP_DONE;
}

#define STEP(name) vq_qemu_step_##name, vq_qemu_step_##name##_undo
const struct vq_step vq_qemu_guest_steps[] = {
    /* name                      run, undo                                timeout_ms */
    { "read the definition",     prepare_run, vq_qemu_step_emulator_undo, 20000 },
    { "look at the images",      STEP(look),                              30000 },
    { "take the right to run",   STEP(claim),                             15000 },
    { "write the record",        STEP(record),                            0 },
    { "run hook \"prepare\"",    STEP(hook_prepare),                      0 },
    { "make directory and log",  STEP(files),                             0 },
    { "choose the firmware",     STEP(firmware),                          30000 },
    { "find host devices",       STEP(host),                              0 },
    { "reserve ports",           STEP(ports),                             0 },
    { "give images to QEMU",     STEP(images),                            0 },
    { "make taps",               STEP(taps),                              0 },
    { "make a TPM",              STEP(tpm),                               60000 },
    { "run helpers",             STEP(helpers),                           0 },
    { "run hook \"start\"",      STEP(hook_start),                        0 },
    { "run QEMU",                STEP(spawn),                             0 },
    { "greet the monitor",       STEP(greet),                             30000 },
    { "place the threads",       vq_qemu_step_tune, NULL,                 VQ_QMP_TIMEOUT_MS + 5000 },
    { "load what was saved",     vq_restore_load, vq_restore_load_undo,    0 },
    { "let the CPUs run",        run_run, NULL,                           VQ_QMP_TIMEOUT_MS + 5000 },
    { "run hook \"started\"",    STEP(hook_started),                      0 },
    { "publish",                 publish_run, NULL,                       0 },
};
#undef STEP
const size_t vq_qemu_n_guest_steps = VQ_N_ELEMENTS(vq_qemu_guest_steps);

/* ---- from outside ---- */

static void start_done(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_request *starter = guest->starter;
    struct vq_error err = job->error;
    char name[128];

    guest->starter = NULL;
    if (!job->is_unwinding) {
        vq_log(INFO, "guest.started", "domain=%s id=%d pid=%d", guest->name, guest->id, (int)guest->pid);
        if (starter != NULL)
            vq_qemu_start_reply(guest, starter);
        return;
    }
    (void)snprintf(name, sizeof(name), "%s", guest->name);
    vq_log(WARN, "guest.start", "domain=%s: %s", name, err.message);
    vq_qemu_guest_finish(guest);
    if (starter != NULL)
        vq_request_fail(starter, &err);
}

void vq_qemu_start(struct vq_qemu *qemu, const struct vq_domain_info *info, const struct vq_qemu_start_options *options,
                   struct vq_request *request)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(qemu, info->uuid);
    struct vq_error err = VQ_ERROR_INIT;

    if (guest != NULL || qemu->stopping) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "%s", guest == NULL ? "the daemon is stopping"
                           : guest->phase == VQ_GUEST_STOPPING ? "domain is being stopped"
                                                               : "domain is already running");
        vq_domain_free(options->take_definition);
        vq_restoring_free(options->take_restoring);
        if (request != NULL)
            vq_request_fail(request, &err);
        return;
    }
    guest = vq_qemu_guest_new(qemu, info->uuid, info->name);
    guest->live = options->take_definition;
    guest->restoring = options->take_restoring;
    if (guest->restoring == NULL)
        vq_managed_pass_over(qemu, info->uuid);
    guest->starter = request;
    guest->start_paused = options->paused;
    guest->autodestroy = options->autodestroy;
    guest->autodestroy_node = options->autodestroy_node;
    guest->autodestroy_session = options->autodestroy_session;
    vq_qemu_guest_set_phase(guest, VQ_GUEST_STARTING);
    vq_job_start(&guest->job, vq_qemu_guest_steps, vq_qemu_n_guest_steps, &guest->job_timer, start_done, guest);
}
