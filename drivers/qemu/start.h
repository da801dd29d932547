/* What the steps of a start (start.c) and those of an arrival (migrate_in_steps.c) share. */
#pragma once

#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "drivers/job.h"

struct vq_qemu_guest;

/* A call-back of others that a step waits for. It outlives a step that gives up (vq_qemu_ticket_give_up()): the ticket is then
 * nobody's, and goes when the call-back comes. */
struct vq_qemu_ticket;
struct vq_qemu_ticket *vq_qemu_ticket_new(struct vq_qemu_guest *guest);
/* The guest, or NULL when it has given up; the ticket is gone. */
struct vq_qemu_guest *vq_qemu_ticket_use(struct vq_qemu_ticket *ticket);

/* The guest whose steps are undone; the first undo makes it STOPPING. */
struct vq_qemu_guest *vq_qemu_undoing(struct vq_job *job);
/* A call-back has come: the waiting step goes on; one that was answered at once has not returned yet and sees the error. */
void vq_qemu_step_over(struct vq_qemu_guest *guest, const struct vq_error *err);
enum vq_step_result vq_qemu_step_failed(struct vq_job *job, const char *failpoint_name);

/* Find the emulator of guest->live and ask what it can do: fills guest->emulator, guest->caps, and what the text leaves out. */
enum vq_step_result vq_qemu_step_emulator(struct vq_job *job);
enum vq_step_result vq_qemu_step_emulator_undo(struct vq_job *job);
/* The cluster gave this run its number and id. */
VQ_MUST_CHECK int vq_qemu_run_claimed(struct vq_qemu_guest *guest, uint64_t run, int32_t id, struct vq_error *err);
/* A start of an own domain takes its run number; undone, the cluster is told that the run is over. */
enum vq_step_result vq_qemu_step_claim(struct vq_job *job);
enum vq_step_result vq_qemu_step_claim_undo(struct vq_job *job);

/* The plain ones. */
enum vq_step_result vq_qemu_step_record(struct vq_job *job);
enum vq_step_result vq_qemu_step_record_undo(struct vq_job *job);
enum vq_step_result vq_qemu_step_files(struct vq_job *job);
enum vq_step_result vq_qemu_step_files_undo(struct vq_job *job);
enum vq_step_result vq_qemu_step_ports(struct vq_job *job);
enum vq_step_result vq_qemu_step_ports_undo(struct vq_job *job);
enum vq_step_result vq_qemu_step_images(struct vq_job *job);
enum vq_step_result vq_qemu_step_images_undo(struct vq_job *job);
enum vq_step_result vq_qemu_step_taps(struct vq_job *job);
enum vq_step_result vq_qemu_step_taps_undo(struct vq_job *job);
enum vq_step_result vq_qemu_step_spawn(struct vq_job *job);
enum vq_step_result vq_qemu_step_spawn_undo(struct vq_job *job);
enum vq_step_result vq_qemu_step_greet(struct vq_job *job);
enum vq_step_result vq_qemu_step_greet_undo(struct vq_job *job);

/* ---- hook_steps.c: scripts of the administrator; nothing happens when there are none ---- */

enum vq_step_result vq_qemu_step_hook_prepare(struct vq_job *job);
enum vq_step_result vq_qemu_step_hook_prepare_undo(struct vq_job *job); /* "release" */
enum vq_step_result vq_qemu_step_hook_start(struct vq_job *job);
enum vq_step_result vq_qemu_step_hook_start_undo(struct vq_job *job); /* "stopped" */
enum vq_step_result vq_qemu_step_hook_started(struct vq_job *job);
enum vq_step_result vq_qemu_step_hook_started_undo(struct vq_job *job);
/* A guest was found again after a restart of the daemon. */
void vq_qemu_hook_reconnect(struct vq_qemu_guest *guest);
/* The script that a step waits for is ended, and not heard of again. */
void vq_qemu_hook_drop(struct vq_qemu_guest *guest);
