/* The source's side of one migration: what its files share. docs/migration.md has the whole picture.
 *
 *   perform ──► steps of a departure: record ─ tell QEMU ─ disks ─ connect ─ send ─ settle disks ─ switch over ─ outcome
 *                    ▲                                                                   │            │
 *                    └──────────── undone from the last: the CPUs run on ◄───────────────┴────────────┘ not theirs
 *
 * With post-copy the outcome is asked for before the switch over: migrate_out_postcopy.c.
 *
 * Until QEMU is told to switch over, the destination cannot have everything, and giving up is this side's own business. From
 * then on the log decides (between nodes) or the client (with a daemon outside): the guest stays paused until it has. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "drivers/job.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_uri.h"
#include "drivers/qemu/qmp.h"

enum { VQ_LEAVING_CONNECT_MS = 10000, VQ_LEAVING_CANCEL_MS = 20000, VQ_LEAVING_RETRY_MS = 200,
       VQ_LEAVING_EXITED_MS = 10000, VQ_LEAVING_FOLLOW_MS = 3000, VQ_LEAVING_LOST_MS = 5000, VQ_LEAVING_CALLS_MAX = 16,
       VQ_LEAVING_STORAGE_MS = 5000,
       VQ_LEAVING_SWITCH_MS = 30000, VQ_LEAVING_DOWNTIME_MAX_MS = 2000000, VQ_LEAVING_OUTCOME_MS = 30000,
       VQ_LEAVING_CONT_MS = 500, VQ_LEAVING_CONT_TRIES = 20, VQ_LEAVING_COMMIT_TRIES = 25 };

/* What is applied in this node's copy of the replicated state. */
enum vq_leaving_fate { VQ_LEAVING_OPEN, VQ_LEAVING_STAYS, VQ_LEAVING_GONE };

/* What QEMU has said last of its migration. */
enum vq_leaving_qemu { VQ_LEAVING_QEMU_NONE, VQ_LEAVING_QEMU_ACTIVE, VQ_LEAVING_QEMU_PRE_SWITCHOVER, VQ_LEAVING_QEMU_DEVICE,
                       VQ_LEAVING_QEMU_POSTCOPY, VQ_LEAVING_QEMU_PAUSED, VQ_LEAVING_QEMU_RECOVER, VQ_LEAVING_QEMU_COMPLETED,
                       VQ_LEAVING_QEMU_FAILED, VQ_LEAVING_QEMU_CANCELLED };

struct vq_leaving_connection;
struct vq_leaving_beginning;
struct vq_leaving_key;
struct vq_leaving_storage;

/* migration->side of a guest that leaves. */
struct vq_leaving {
    struct vq_qemu_guest *guest;      /* NULL: it has gone, the memory follows when the handles have closed */
    struct vq_request *request;       /* of perform (or p2p); NULL: nobody waits */
    vq_migrate_cookie_cb done;
    void *data;
    struct vq_migrate_cookie own;     /* capabilities of our QEMU */
    struct vq_migrate_cookie peer;    /* the destination's, from prepare */
    struct vq_job job;
    uv_timer_t job_timer, wait_timer;
    uint64_t calls[VQ_LEAVING_CALLS_MAX]; /* questions to QEMU, the last ones */
    unsigned n_calls;
    struct vq_leaving_connection *connection; /* NULL: none is being made */
    struct vq_leaving_key *key;       /* NULL: none is being asked for */
    struct vq_leaving_storage *storage; /* NULL: it is not being looked at */
    struct vq_leaving_beginning *beginning; /* begin waits for the sizes of disks; NULL: it does not */
    bool has_credentials;             /* QEMU has an object with what encrypts the data */
    enum vq_leaving_qemu qemu;
    bool is_told;                     /* migrate was said */
    bool is_active;                   /* QEMU has begun to send */
    bool is_switched;                 /* migrate-continue was said: the destination may have everything */
    bool has_stopped;                 /* QEMU has said so, and it has not been told yet */
    bool was_stopped_by_user;         /* suspended while it migrated */
    bool is_current;                  /* an end of the move was answered by the log: the state is not older than the move */
    bool is_asking;                   /* a proposal is under way */
    unsigned n_refused;               /* how often QEMU would not let the CPUs run on */
    bool is_deciding;                 /* the commit was proposed here: until an end is applied, it may be the peer's */
    bool wants_commit;                /* the next proposal is the commit, else the cancel */
    unsigned commits_refused;
    bool wants_postcopy;              /* QEMU was told to switch to post-copy */
    bool has_viewers;                 /* told where it goes, and not known to have followed */
    bool has_exited;                  /* QEMU has ended while the outcome was not known */
    bool is_confirmed;                /* the request is that of confirm */
    bool shall_undefine;              /* it said so */
    struct vq_request *resuming;      /* of migrate_resume: the destination's node waits for it; NULL: nobody does */
    struct vq_job resume;             /* uses job_timer: the job above is over by then */
    char *resume_uri;
    enum vq_leaving_fate fate;        /* once it is not OPEN, it stays */
    struct vq_error failure;          /* why it is given up */
};

static inline bool vq_migrate_is_leaving(const struct vq_qemu_guest *guest)
{
    return guest->migration != NULL && guest->migration->role == VQ_MIGRATE_OUT;
}

/* After a restart of the daemon: may it be another node's already? */
bool vq_leaving_is_undecided(const struct vq_qemu_guest *guest);
/* The side of a guest that leaves, made when there is none yet (found after a restart); NULL: it does not leave. */
struct vq_leaving *vq_leaving_of(struct vq_qemu_guest *guest);
/* A question to QEMU; cb gets the guest. It comes only while the departure is the same. False: there is no monitor. */
bool vq_leaving_ask(struct vq_leaving *leaving, const char *command, json_t *take_arguments, int fd, vq_qmp_cb cb);

/* ---- migrate_out_check.c ---- */

/* May this guest migrate at all? VIR_ERR_OPERATION_INVALID, VIR_ERR_MIGRATE_UNSAFE. */
VQ_MUST_CHECK int vq_leaving_check(const struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                                   struct vq_error *err);
/* Do both hosts see the same images? Between nodes the destination compares the files themselves, when it prepares; towards a daemon
 * outside only their file system can be looked at, before anything is sent. Called back once, never from inside, within
 * VQ_LEAVING_STORAGE_MS. NULL: there is nothing to look at, and no call-back. Errors: VIR_ERR_MIGRATE_UNSAFE,
 * VIR_ERR_OPERATION_TIMEOUT. */
typedef void (*vq_leaving_storage_cb)(const struct vq_error *err, void *data);
struct vq_leaving_storage *vq_leaving_check_storage(const struct vq_qemu_guest *guest,
                                                    const struct vq_migrate_options *options, vq_leaving_storage_cb cb,
                                                    void *data);
void vq_leaving_forget_storage(struct vq_leaving_storage *storage); /* no call-back. Not from inside it */
/* Is this node a member of a cluster, so that begin cannot know yet which of the two it will be? */
bool vq_leaving_may_have_peers(const struct vq_driver_host *host);

/* ---- migrate_out_steps.c ---- */

extern const struct vq_step vq_leaving_steps[];
extern const size_t vq_n_leaving_steps;
/* The waiting step that runs forward is over. No effect otherwise. */
void vq_leaving_step_over(struct vq_leaving *leaving, const struct vq_error *err);
/* The undo that waits is over. No effect otherwise. */
void vq_leaving_undo_over(struct vq_leaving *leaving);
enum vq_step_result vq_leaving_step_failed(struct vq_job *job, const char *failpoint_name);
/* The monitor has gone, not QEMU's answer: it is opened anew, and what became of the migration is asked then. */
bool vq_leaving_is_lost(const struct vq_qemu_guest *guest, const struct vq_error *err);
/* QEMU was told to migrate, and has not come to an end with it. */
bool vq_leaving_is_at_work(const struct vq_leaving *leaving);
/* Can the destination run the guest, as far as is known here? */
bool vq_leaving_may_be_gone(const struct vq_leaving *leaving);

/* ---- migrate_out_status.c ---- */

/* QEMU's word about its migration has changed ("active", "completed" ...). */
void vq_leaving_status(struct vq_qemu_guest *guest, const char *status);
/* Give up: undone as far as it has come; or, when the destination may have everything, ask the log for that. */
void vq_leaving_give_up(struct vq_qemu_guest *guest, const struct vq_error *why);
/* Towards a daemon outside: all was sent, and whether it runs there will not be known. It stays paused, for a person to decide. */
void vq_leaving_unknown(struct vq_qemu_guest *guest);
/* Ask QEMU once more to let the CPUs run: its answer was lost with the monitor. */
void vq_leaving_run_on(struct vq_leaving *leaving);
/* Tell QEMU to switch over. */
void vq_leaving_go_on(struct vq_leaving *leaving);
/* The CPUs have stopped for the migration: tell it, if that was not yet done. */
void vq_leaving_tell_stopped(struct vq_qemu_guest *guest);

/* ---- migrate_out_disks.c ---- */

enum vq_step_result vq_leaving_disks_run(struct vq_job *job);
enum vq_step_result vq_leaving_disks_undo(struct vq_job *job);
enum vq_step_result vq_leaving_settle_run(struct vq_job *job);

/* ---- migrate_out_viewers.c ---- */

enum vq_step_result vq_leaving_viewers_run(struct vq_job *job);
enum vq_step_result vq_leaving_follow_run(struct vq_job *job);

/* ---- migrate_out_connect.c ---- */

/* cb: once, with the descriptor, which is closed after it; or -1 and err. */
typedef void (*vq_leaving_connected_cb)(struct vq_leaving *leaving, int fd, const struct vq_error *err);
VQ_MUST_CHECK int vq_leaving_connect(struct vq_leaving *leaving, const char *uri, vq_leaving_connected_cb cb,
                                     struct vq_error *err);
void vq_leaving_disconnect(struct vq_leaving *leaving); /* no call-back any more */

/* ---- migrate_out_key.c ---- */

#define VQ_LEAVING_CREDENTIALS "migrate-out" /* id of QEMU's object */
/* key: VQ_MIGRATE_KEY_BYTES; NULL: err tells. */
typedef void (*vq_leaving_key_cb)(struct vq_leaving *leaving, const uint8_t *key, const struct vq_error *err);
/* Ask the peer, a node, for the key of the data. cb once. */
void vq_leaving_ask_key(struct vq_leaving *leaving, vq_leaving_key_cb cb);
void vq_leaving_forget_key(struct vq_leaving *leaving); /* no call-back any more */

/* ---- migrate_out_decide.c ---- */

/* Is the move that the destination's cookie names one that can still be decided? The cookie comes through the client: an old or
 * made up one must not pass for a move that was committed. Errors: VIR_ERR_OPERATION_INVALID. */
VQ_MUST_CHECK int vq_leaving_check_move(const struct vq_qemu_guest *guest, uint64_t peer, uint64_t run, struct vq_error *err);
/* Look at what is applied; vq_leaving_decided() when that is known for the first time. */
void vq_leaving_look(struct vq_qemu_guest *guest);
/* Ask for the cancel until one of the ends is applied; vq_leaving_decided() comes then, maybe before this returns. */
void vq_leaving_cancel_move(struct vq_qemu_guest *guest);
/* The same for a guest that goes on whatever comes of it: nobody waits. */
void vq_leaving_forget_move(struct vq_qemu *qemu, const uint8_t uuid[16], uint64_t peer, uint64_t run);

/* Ask for the commit in the same way: before QEMU is told to switch over. Refused for good, the cancel is asked for. */
void vq_leaving_commit_move(struct vq_qemu_guest *guest);

/* ---- migrate_out_postcopy.c ---- */

/* Is the commit asked for here, before the switch over? With a return path, as post-copy needs one. */
bool vq_leaving_decides_early(const struct vq_qemu_guest *guest);
/* It is its peer's, and its QEMU here only has to send the rest. */
bool vq_leaving_serves(const struct vq_qemu_guest *guest);
/* The commit is applied: QEMU goes on. Perform is answered when all was sent. The guest may be ended here at once. */
void vq_leaving_serve(struct vq_qemu_guest *guest);
void vq_leaving_serve_again(struct vq_qemu_guest *guest); /* found after a restart */
void vq_leaving_kill(struct vq_qemu_guest *guest); /* it must not run, and ends at once */
void vq_leaving_serve_status(struct vq_qemu_guest *guest); /* leaving->qemu has changed */
void vq_leaving_serve_changed(struct vq_qemu_guest *guest); /* the replicated state has */
/* Answers the request: switch to post-copy. */
void vq_leaving_start_post_copy(struct vq_request *request, struct vq_qemu_guest *guest);

/* ---- migrate_out_resume.c ---- */

/* Post-copy has failed, and the peer listens at the URI: connect to it. Answers the request. The caller has looked whether it serves. */
void vq_leaving_resume(struct vq_request *request, struct vq_qemu_guest *guest, const char *uri);
void vq_leaving_resume_status(struct vq_leaving *leaving); /* leaving->qemu has changed */

/* ---- migrate_out_begin.c, migrate_out_confirm.c ---- */

/* Answers begin, if somebody still waits. */
void vq_leaving_fail_begin(struct vq_leaving *leaving, const struct vq_error *err);
/* Answers confirm: nothing of the guest is left here, or it runs on. */
void vq_leaving_confirmed(struct vq_leaving *leaving, const struct vq_migration *migration);

/* ---- migrate_out.c ---- */

/* It is its peer's: nothing of it is this node's to tell any more. stage: what is left here is for. */
void vq_leaving_let_go(struct vq_qemu_guest *guest, enum vq_migrate_stage stage);
/* The same, and what is left here ends. */
void vq_leaving_hand_over(struct vq_qemu_guest *guest);
/* The step of that name waits, in either direction. */
bool vq_leaving_waits_in(const struct vq_leaving *leaving, const char *step);
/* leaving->fate is known now. The guest may be gone afterwards. */
void vq_leaving_decided(struct vq_qemu_guest *guest);
/* The steps are over, in either direction. */
void vq_leaving_done(struct vq_job *job);
/* Answers perform, if somebody waits; err NULL: well. */
void vq_leaving_answer(struct vq_leaving *leaving, const struct vq_error *err);
VQ_MUST_CHECK int vq_leaving_begin_activity(struct vq_qemu_guest *guest, struct vq_error *err);
/* guest->migration, stage BEGUN, bound to the client's connection unless the daemon itself is the client. */
struct vq_migration *vq_leaving_new(struct vq_qemu_guest *guest, const struct vq_request *request,
                                    const struct vq_migrate_options *options);
/* The migration is over, and the guest is this node's as before. */
void vq_leaving_drop(struct vq_qemu_guest *guest, int type, const struct vq_error *err);
