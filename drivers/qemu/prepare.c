/* Firmware, and what the host must have: see prepare.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/prepare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "conf/domain.h"
#include "drivers/qemu/firmware.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/hostdev.h"
#include "drivers/qemu/start.h"

/* ---- Firmware ---- */

/* A copy for the thread that makes the file. */
struct making {
    uv_work_t work;
    struct vq_qemu_ticket *ticket;
    char *path, *template_path, *loader;
    bool has_owner, is_failed;
    unsigned uid, gid;
    struct vq_error err;
};

static void make_nvram(uv_work_t *work)
{
    struct making *making = work->data;

    making->is_failed = vq_qemu_nvram_create(making->path, making->template_path, making->loader, false, making->has_owner,
                                             making->uid, making->gid, &making->err) < 0;
}

static void nvram_made(uv_work_t *work, int status)
{
    struct making *making = work->data;
    struct vq_qemu_guest *guest = vq_qemu_ticket_use(making->ticket);

    if (status < 0 && !making->is_failed) {
        making->is_failed = true;
        (void)vq_error_set(&making->err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    }
    if (guest != NULL)
        vq_qemu_step_over(guest, making->is_failed ? &making->err : NULL);
    free(making->path);
    free(making->template_path);
    free(making->loader);
    free(making);
}

static enum vq_step_result start_making(struct vq_qemu_guest *guest, struct vq_job *job)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    const struct vq_os *os = &guest->live->os;
    struct making *making = vq_new(struct making);
    struct vq_error err = VQ_ERROR_INIT;

    *making = (struct making){.work.data = making, .path = vq_strdup(os->nvram), .template_path = vq_strdup(os->nvram_template),
                              .loader = vq_strdup(os->loader), .has_owner = settings->has_user && settings->dynamic_ownership,
                              .uid = settings->uid, .gid = settings->gid, .err = VQ_ERROR_INIT};
    making->ticket = vq_qemu_ticket_new(guest);
    if (uv_queue_work(guest->qemu->host->loop, &making->work, make_nvram, nvram_made) == 0)
        return VQ_STEP_WAIT;
    vq_qemu_ticket_give_up(guest);
    nvram_made(&making->work, 0);
    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "no thread for making '%s'", os->nvram);
    return vq_job_fail(job, &err);
}

enum vq_step_result vq_qemu_step_firmware(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    const struct vq_os *os = &guest->live->os;
    VQ_AUTOPTR(vq_qemu_firmwares) firmwares = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.firmware"))
        return vq_qemu_step_failed(job, "qemu.start.firmware");
    if (os->loader == NULL && os->firmware == VQ_FIRMWARE_UNSET)
        return VQ_STEP_DONE;
    firmwares = vq_qemu_firmwares_of_host();
    if (vq_qemu_firmware_choose(guest->live, firmwares, &err) < 0)
        return vq_job_fail(job, &err);
    if (os->loader_type != VQ_LOADER_PFLASH || os->nvram == NULL || access(os->nvram, F_OK) == 0)
        return VQ_STEP_DONE;
    return start_making(guest, job);
}

enum vq_step_result vq_qemu_step_firmware_undo(struct vq_job *job)
{
    vq_qemu_ticket_give_up(vq_qemu_undoing(job)); /* the store stays: it is the definition's, not the run's */
    return VQ_STEP_DONE;
}

/* ---- Pages and nodes ---- */

static bool has_pages(uint64_t size_kib)
{
    VQ_AUTOFREE char *path = vq_asprintf("/sys/kernel/mm/hugepages/hugepages-%llukB", (unsigned long long)size_kib);

    return size_kib <= 4 || access(path, F_OK) == 0;
}

static int check_pages(const struct vq_domain *live, struct vq_error *err)
{
    const struct vq_memory_backing *backing = live->memory_backing;

    for (size_t i = 0; backing != NULL && i < backing->n_hugepages; i++)
        if (!has_pages(backing->hugepages[i]->size_kib))
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Unable to find any usable hugetlbfs mount for %llu KiB",
                                (unsigned long long)backing->hugepages[i]->size_kib);
    for (size_t i = 0; i < live->devices.n_memories; i++)
        if (!has_pages(live->devices.memories[i]->source_pagesize_kib))
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Unable to find any usable hugetlbfs mount for %llu KiB",
                                (unsigned long long)live->devices.memories[i]->source_pagesize_kib);
    return 0;
}

static int check_nodeset(const char *nodeset, struct vq_error *err)
{
    struct vq_cpuset set;

    if (nodeset == NULL || !vq_cpuset_parse(nodeset, VQ_CPUSET_BITS, &set))
        return 0;
    for (int32_t node = vq_cpuset_next(&set, 0); node >= 0; node = vq_cpuset_next(&set, (uint32_t)node + 1)) {
        VQ_AUTOFREE char *path = vq_asprintf("/sys/devices/system/node/node%d", node);
        /* A kernel without NUMA has one node and says nothing of it. */
        if (access(path, F_OK) < 0 && (node > 0 || access("/sys/devices/system/node", F_OK) == 0))
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "NUMA node %d is unavailable", node);
    }
    return 0;
}

static int check_nodes(const struct vq_domain *live, struct vq_error *err)
{
    if (check_nodeset(live->numatune.nodeset, err) < 0)
        return -1;
    for (size_t i = 0; i < live->numatune.n_memnodes; i++)
        if (check_nodeset(live->numatune.memnodes[i]->nodeset, err) < 0)
            return -1;
    for (size_t i = 0; i < live->devices.n_memories; i++)
        if (check_nodeset(live->devices.memories[i]->nodemask, err) < 0)
            return -1;
    return 0;
}

/* ---- The number of the guest's socket family ---- */

enum { CID_MIN = 3, CID_TRIES = 4096 };

/* The kernel knows which numbers are taken, also by others than us. */
static int set_cid(struct vq_qemu_guest *guest, struct vq_vsock *vsock, struct vq_error *err)
{
    bool is_auto = vsock->auto_cid == VQ_SWITCH_ON;
    uint64_t cid = vsock->cid >= CID_MIN ? vsock->cid : CID_MIN;

    for (unsigned i = 0; i < CID_TRIES; i++, cid++) {
        if (ioctl(guest->vsock_fd, VHOST_VSOCK_SET_GUEST_CID, &cid) == 0) {
            vsock->cid = (uint32_t)cid;
            return 0;
        }
        if (errno != EADDRINUSE || !is_auto)
            return vq_error_system(err, errno, "failed to set guest cid");
    }
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "no guest cid is free");
}

static int open_vsock(struct vq_qemu_guest *guest, struct vq_error *err)
{
    struct vq_vsock *vsock = guest->live->devices.vsock;

    if (vsock == NULL)
        return 0;
    guest->vsock_fd = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
    if (guest->vsock_fd < 0)
        return vq_error_system(err, errno, "unable to open vhost-vsock device");
    return set_cid(guest, vsock, err);
}

/* ---- Devices that are one file of the host ---- */

static int check_files(const struct vq_domain *live, struct vq_error *err)
{
    const struct vq_devices *devices = &live->devices;

    for (size_t i = 0; i < devices->n_tpms; i++) {
        const char *path = devices->tpms[i]->device == NULL ? "/dev/tpm0" : devices->tpms[i]->device;
        if (devices->tpms[i]->backend == VQ_TPM_PASSTHROUGH && access(path, F_OK) < 0)
            return vq_error_system(err, errno, "Could not open TPM device %s", path);
    }
    for (size_t i = 0; i < devices->n_inputs; i++) {
        const struct vq_input *input = devices->inputs[i];
        const char *path = input->type == VQ_INPUT_EVDEV ? input->source_dev : input->evdev;
        if ((input->type == VQ_INPUT_EVDEV || input->type == VQ_INPUT_PASSTHROUGH) && path != NULL && access(path, F_OK) < 0)
            return vq_error_system(err, errno, "input device '%s': cannot access '%s'",
                                   input->info.alias == NULL ? "" : input->info.alias, path);
    }
    for (size_t i = 0; i < devices->n_rngs; i++)
        if (devices->rngs[i]->backend == VQ_RNG_RANDOM && devices->rngs[i]->device != NULL &&
            access(devices->rngs[i]->device, F_OK) < 0)
            return vq_error_system(err, errno, "random number generator: cannot access '%s'", devices->rngs[i]->device);
    if (live->launch_security != NULL && vq_streq(live->launch_security->type, "sev") && access("/dev/sev", F_OK) < 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "SEV launch security is not supported with this QEMU binary");
    return 0;
}

/* What the command line can say, and nobody does yet: without the overlay a guest would write what it means to lose into the image. */
static int check_disks(const struct vq_domain *live, struct vq_error *err)
{
    for (size_t i = 0; i < live->devices.n_disks; i++) {
        const struct vq_disk *disk = live->devices.disks[i];

        if (disk->is_transient)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': transient disks are not supported", disk->target);
        if (disk->source.reservations_managed == VQ_SWITCH_ON)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': managed reservations are not supported, give the "
                                "socket of a running qemu-pr-helper", disk->target);
    }
    return 0;
}

/* Displays that draw on a GPU of the host need one. */
static int check_gpus(const struct vq_domain *live, struct vq_error *err)
{
    const struct vq_devices *devices = &live->devices;

    for (size_t i = 0; i < devices->n_graphics; i++) {
        const struct vq_graphics *graphics = devices->graphics[i];
        bool draws = graphics->type == VQ_GRAPHICS_EGL_HEADLESS || graphics->gl == VQ_SWITCH_ON;
        if (graphics->gl_rendernode != NULL && access(graphics->gl_rendernode, F_OK) < 0)
            return vq_error_system(err, errno, "cannot access '%s'", graphics->gl_rendernode);
        if (draws && graphics->type != VQ_GRAPHICS_SDL && access("/dev/dri", F_OK) < 0)
            return vq_error_system(err, errno, "cannot open directory '/dev/dri'");
    }
    return 0;
}

enum vq_step_result vq_qemu_step_host(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.host"))
        return vq_qemu_step_failed(job, "qemu.start.host");
    if (check_pages(guest->live, &err) < 0 || check_nodes(guest->live, &err) < 0 || check_files(guest->live, &err) < 0 ||
        check_gpus(guest->live, &err) < 0 || check_disks(guest->live, &err) < 0 ||
        vq_qemu_hostdevs_find(guest, &err) < 0 || open_vsock(guest, &err) < 0)
        return vq_job_fail(job, &err);
    return VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_host_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    if (guest->vsock_fd >= 0)
        (void)close(guest->vsock_fd);
    guest->vsock_fd = -1;
    return VQ_STEP_DONE;
}
