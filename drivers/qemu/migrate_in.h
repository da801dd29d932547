/* The destination's side of one migration: what its files share. docs/migration.md has the whole picture.
 *
 *   prepare ──► steps of an arrival: ... QEMU listens ──► waits for data ──► loads ──► takes over
 *                                       answers prepare                          │        │ the log says: ours
 *                                                                                ▼        ▼
 *                                              the log says: not ours ──► undone       arrives: CPUs run, finish is answered
 *
 * From the moment when the source may send, the guest is not ended before the log has decided: see migrate_in_decide.c.
 * With a daemon outside the cluster the client decides, by finish. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"

enum { VQ_INCOMING_DATA_MS = 30000, VQ_INCOMING_SILENT_MS = 60000, VQ_INCOMING_WATCH_MS = 5000, VQ_INCOMING_FINISH_MS = 60000,
       VQ_INCOMING_RETRY_MS = 200, VQ_INCOMING_BACK_MS = 1000, VQ_INCOMING_PORT_TRIES = 16, VQ_INCOMING_COMMIT_TRIES = 5 };

/* What is applied in this node's copy of the replicated state. */
enum vq_incoming_fate { VQ_INCOMING_OPEN, VQ_INCOMING_OURS, VQ_INCOMING_NOT_OURS };

/* migration->side of a guest that comes. */
struct vq_incoming {
    struct vq_qemu_guest *guest;
    struct vq_request *prepare;     /* NULL: was answered */
    vq_migrate_prepare_cb prepared;
    void *prepare_data;
    struct vq_request *finish;      /* NULL: nobody asks yet */
    vq_migrate_finish_cb finished;
    void *finish_data;
    bool is_cancelled;              /* finish said so */
    bool may_run;                   /* finish said so: for a migration from outside */
    struct vq_migrate_cookie source; /* what the source told of itself in its first cookie */
    struct vq_migrate_cookie last;   /* of finish */
    json_t *capabilities;           /* of our QEMU, as it tells them; NULL: not asked yet */
    char *uri_host;                 /* where the source shall send to */
    uint16_t port;                  /* 0: not chosen yet */
    unsigned port_tries;
    int data_fd;                    /* of a tunnel: QEMU reads here instead of listening; -1: none */
    uint16_t nbd_port;              /* for disks that travel, 0: none */
    unsigned pending;               /* answers of QEMU that are still to come */
    bool is_listening;              /* from here on the source may send */
    bool has_data, is_loaded;
    uint64_t loads_since;           /* by the loop's clock */
    bool listens_again;             /* post-copy has failed, and QEMU was told to listen anew */
    bool is_postcopy;               /* the CPUs may run before all is loaded */
    bool was_claimed;               /* DomainMove was answered in this life of the daemon: the state here is not older */
    bool is_current;                /* an end of the move was answered: the same */
    bool wants_end;                 /* an end of the move shall be proposed */
    bool wants_commit;              /* which */
    bool is_asking;                 /* a proposal is under way */
    unsigned commits_refused;
    enum vq_incoming_fate fate;     /* once it is not OPEN, it stays */
    struct vq_error failure;        /* why it is given up, VIR_ERR_OK: it is not */
    uv_timer_t *timer;              /* no data yet; or the next proposal */
    uv_timer_t *finish_timer;
};

/* The side of a guest that comes; made when there is none yet (found after a restart). */
struct vq_incoming *vq_incoming_of(struct vq_qemu_guest *guest);

/* ---- migrate_in_steps.c ---- */

extern const struct vq_step vq_qemu_incoming_steps[];
extern const size_t vq_qemu_n_incoming_steps;
/* Post-copy goes on after the arrival: what QEMU says of it. */
void vq_incoming_postcopy_status(struct vq_qemu_guest *guest, const char *status);
/* The last step is over: the guest is this node's. The CPUs run, unless they shall not; then everybody is told. */
void vq_incoming_arrive(struct vq_qemu_guest *guest);
/* Between nodes, when the log has decided and nothing runs here: if it gave the guest to this node all the same, its run has
 * ended; if not, the images that were made for it go. True: that takes a while, and the job is resumed after it. */
bool vq_incoming_settle(struct vq_qemu_guest *guest);

/* ---- migrate_in_listen.c: QEMU is told how to receive ---- */

enum vq_step_result vq_incoming_make_disks(struct vq_job *job);
enum vq_step_result vq_incoming_make_disks_undo(struct vq_job *job);
enum vq_step_result vq_incoming_tell(struct vq_job *job);
enum vq_step_result vq_incoming_serve_disks(struct vq_job *job);
enum vq_step_result vq_incoming_listen(struct vq_job *job);
/* Post-copy has failed: listen anew. cb as that of prepare; nobody else waits for one. */
void vq_incoming_recover(struct vq_qemu_guest *guest, struct vq_request *request, vq_migrate_prepare_cb cb, void *data);
/* Where it listens, malloc'ed; NULL: it does not. */
char *vq_incoming_uri(struct vq_qemu_guest *guest);
/* The data have come, or will not. */
void vq_incoming_forget_key(struct vq_qemu_guest *guest);
/* Host part of the URI that the source gets; malloc'ed. */
VQ_MUST_CHECK int vq_incoming_choose_host(struct vq_qemu_guest *guest, char **ret_host, struct vq_error *err);

/* ---- migrate_resume.c ---- */

/* Post-copy that was resumed has ended, well or badly: answers who waits for it. */
void vq_incoming_resumed(const struct vq_qemu_guest *guest, const struct vq_error *err);
/* The other node has told its QEMU to go on: ours says so within that time, or it has failed again. */
void vq_incoming_wait_for_resume(struct vq_qemu_guest *guest, uint64_t ms);

/* ---- migrate_in_silence.c ---- */

/* While it loads: when no data have come for VQ_INCOMING_SILENT_MS, it is given up. */
void vq_incoming_watch(struct vq_incoming *incoming);
/* How long ago did data come to a connection of this port? UINT64_MAX: there is none. False: the kernel does not tell. */
bool vq_incoming_data_age(uint16_t port, uint64_t *ret_ms);

/* ---- migrate_in_decide.c: what the log says ---- */

/* Ask for an end of the move until one is applied, here or there; vq_incoming_decided() comes then, maybe before this returns. */
void vq_incoming_commit(struct vq_qemu_guest *guest);
void vq_incoming_cancel(struct vq_qemu_guest *guest);
/* Look at what is applied. */
void vq_incoming_look(struct vq_qemu_guest *guest);
/* Tell the log that a move to this node, of which nothing is here, is over. */
void vq_incoming_disown(struct vq_qemu *qemu, const struct vq_domain_info *info);

/* ---- migrate_in_prepare.c ---- */

/* A client's connection has ended, or a node was lost (session 0): for calls that have no guest yet. */
void vq_incoming_prepare_session_ended(uint64_t entry_node, uint64_t session);

/* ---- migrate_in_back.c ---- */

/* It has not come: the domain, which is off, goes back to the node that it was taken from. A step's undo, which waits until it is known
 * that the domain is not this node's any more; or one attempt, when it had not come so far as to have a record. */
enum vq_step_result vq_incoming_give_back(struct vq_job *job);
void vq_incoming_give_back_once(struct vq_qemu_guest *guest);
/* Propose another owner of a domain that is off; if_generation: of its owner. */
void vq_incoming_change_owner(const struct vq_driver_host *host, const uint8_t uuid[VQ_UUID_BYTES], uint64_t from, uint64_t to,
                              uint64_t if_generation, vq_propose_cb cb, void *data);

/* ---- migrate_in.c ---- */

/* Begin with the steps. The guest may be gone afterwards. */
void vq_incoming_start(struct vq_qemu_guest *guest);
/* incoming->fate is known now. The guest may be gone afterwards. */
void vq_incoming_decided(struct vq_qemu_guest *guest);
/* It comes to nothing: end it, in the order that its stage allows. The guest may be gone afterwards. */
void vq_incoming_give_up(struct vq_qemu_guest *guest, const struct vq_error *why);
/* Answers prepare and finish, if somebody waits: it does not come. */
void vq_incoming_answer_end(struct vq_incoming *incoming);
/* Answers, if somebody waits; err NULL: well. */
void vq_incoming_answer_prepare(struct vq_incoming *incoming, const struct vq_error *err);
void vq_incoming_answer_finish(struct vq_incoming *incoming, const struct vq_error *err);
/* Who we are, and for a node of the cluster the number of the run that it becomes. name: of the guest at the source.
 * capabilities: what QEMU answered when it was asked for them; NULL: that is not told. */
VQ_MUST_CHECK int vq_incoming_write_cookie(struct vq_qemu_guest *guest, const char *name, const json_t *capabilities,
                                           struct vq_arena *arena, uint8_t **ret_bytes, uint32_t *ret_length,
                                           struct vq_error *err);
/* The numbers are the source's; how long the CPUs stood still is known here, but for the difference of two clocks. */
void vq_incoming_take_stats(struct vq_qemu_guest *guest, const struct vq_migrate_cookie *cookie);
/* Why the last arrival of that name came to nothing, when nobody was told yet; once. */
bool vq_incoming_take_failure(const char *name, struct vq_error *ret_err);
