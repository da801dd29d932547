/* One running domain of this host, from the intent to start it until nothing of it is left.
 *
 *      start                    A failure while starting goes through stopping, so that clearing away is written once.
 *        │                      FOUND is what a record of an earlier daemon (or a broken monitor) leaves: the process is
 *        ▼                      there, the monitor is not yet; it is tried again for ever, and never killed for it.
 *     STARTING ──► ACTIVE ◄──► FOUND ◄── record
 *        │           │           │
 *        └──────► STOPPING ◄─────┴────── record
 *                    │
 *                    ▼
 *                  ENDED        (the object goes)
 *
 * Owned by the driver's list; all on the node loop. Nobody keeps a pointer to a guest over a wait: keep (uuid, run) and
 * look it up again with vq_qemu_guest_find_run(). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/text.h"
#include "drivers/job.h"
#include "drivers/qemu/activity.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/helpers.h"
#include "drivers/qemu/ownership.h"

struct vq_agent;
struct vq_domain;
struct vq_hook;
struct vq_migration;
struct vq_process;
struct vq_qemu_capabilities;
struct vq_qemu_console;
struct vq_qmp;
struct vq_restoring;
struct vq_saving;

enum vq_qemu_phase { VQ_GUEST_NEW, VQ_GUEST_STARTING, VQ_GUEST_ACTIVE, VQ_GUEST_FOUND, VQ_GUEST_STOPPING,
                     VQ_GUEST_ENDED, VQ_GUEST_PHASES };

enum { VQ_GUEST_TAPS_MAX = 64, VQ_GUEST_QUEUES_MAX = 64, VQ_GUEST_PORTS_MAX = 16, VQ_GUEST_OWNED_MAX = 128, VQ_GUEST_WAITING_MAX = 32 };

/* How it ended, for state and event. */
struct vq_qemu_end {
    bool is_set;
    uint8_t reason;          /* VIR_DOMAIN_SHUTOFF_* */
    uint8_t detail;          /* VIR_DOMAIN_EVENT_STOPPED_* */
};

struct vq_qemu_tap {
    char name[16];
    int fd;                  /* -1: passed on, or of an earlier daemon */
    int more_fds[VQ_GUEST_QUEUES_MAX - 1], vhost_fds[VQ_GUEST_QUEUES_MAX]; /* of further queues, of vhost-net */
    size_t n_more, n_vhosts;
    size_t interface;        /* index in the definition */
};

struct vq_qemu_guest {
    struct vq_qemu_guest *next;
    struct vq_qemu *qemu;
    uint8_t uuid[VQ_UUID_BYTES];
    char uuid_text[VQ_UUID_TEXT];
    char *name;
    uint64_t generation;
    uint64_t run;
    int32_t id;              /* -1 until claimed */
    enum vq_qemu_phase phase;
    uint8_t state, reason;   /* VIR_DOMAIN_* and its reason, as last published */
    bool is_published;       /* the cluster was told that it runs */
    bool is_claimed;
    struct vq_domain *live;  /* the run's own copy; NULL only when its record could not be read */
    struct vq_qemu_capabilities *caps;
    char *emulator;

    struct vq_process *process; /* NULL: none yet, or ended and let go */
    pid_t pid;
    uint64_t pid_start_time;
    struct vq_qmp *qmp;      /* NULL: no connection */
    char *dir;               /* runtime directory */
    int monitor_fd;          /* listening socket until QEMU has it, -1 */
    int log_fd;              /* of the start, -1 */
    off_t log_start;         /* where this run begins in the log */
    struct vq_qemu_tap taps[VQ_GUEST_TAPS_MAX];
    size_t n_taps;
    uint16_t ports[VQ_GUEST_PORTS_MAX];
    size_t n_ports;
    struct vq_qemu_owned owned[VQ_GUEST_OWNED_MAX]; /* images that QEMU's user has for this run */
    size_t n_owned;
    struct vq_qemu_helper helpers[VQ_GUEST_HELPERS_MAX]; /* programs beside QEMU */
    size_t n_helpers;
    bool has_looked;         /* its images count as in use */
    bool waits_for_helpers;  /* the step that ends them */
    int vsock_fd;            /* with the guest's number set, until QEMU has it, -1 */

    struct vq_job job;       /* start or stop */
    uv_timer_t job_timer, retry_timer, end_timer;
    unsigned open_handles;
    struct vq_request *starter; /* to be answered when the start is over */
    struct vq_qemu_waiting {
        struct vq_request *request;
        uint64_t deadline;      /* loop time at which it is told that the guest does not end */
    } waiting[VQ_GUEST_WAITING_MAX]; /* destroy calls, answered when it has ended */
    size_t n_waiting;

    bool was_commanded;      /* somebody sent commands of his own to the monitor */
    bool start_paused;       /* VIR_DOMAIN_START_PAUSED */
    bool is_resuming;        /* found with everything loaded, and its CPUs are still to run */
    bool is_booted;          /* CPUs have been told to run (or the user wanted them paused) */
    bool reboot_wanted;      /* the next power-off is a reboot that somebody asked for */
    bool autodestroy;
    uint64_t autodestroy_node, autodestroy_session;
    struct vq_qemu_end end;  /* why it is ending */
    bool removes_logs;       /* somebody said destroy, and that no log shall be left */
    bool may_kill;           /* somebody said destroy: SIGKILL after the deadline */
    uint64_t term_sent_ms;   /* loop time of the first SIGTERM, 0: none */
    uint8_t next_pause_reason, next_pause_detail; /* of the next STOP */
    bool has_next_pause;
    char io_error_target[32]; /* disk that gave the last error for which it was paused, "": none */
    char degraded[256];      /* why the monitor is not there, "" when it is */
    unsigned retry_ms;

    uint64_t balloon_kib;    /* what the guest has now, 0: not known */
    pid_t *vcpu_threads;
    size_t n_vcpu_threads;
    struct vq_qemu_console *consoles;
    struct vq_agent *agent;  /* NULL: nobody inside has its channel open */
    bool has_agent_error;    /* somebody has, and it cannot be reached */
    unsigned agent_tries;    /* to reach it, since it was opened */
    int agent_timeout;       /* seconds for its answers, or VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_* */
    bool is_greeting;        /* the first questions are being answered */
    unsigned pending_greet;  /* answers of the greeting that are still to come */
    json_t *status;          /* answer of query-status while greeting */
    struct vq_qemu_activity activity;   /* the long work that is under way */
    struct vq_qemu_completed completed; /* numbers of the last one */
    struct vq_migration *migration;     /* NULL: none */
    struct vq_saving *saving;           /* save or dump that is under way, NULL: none */
    struct vq_restoring *restoring;     /* it starts from a saved image; NULL: it boots, or runs already */
    uint64_t arrived_ms;     /* unix time when its CPUs began to run here after a migration; 0: it was started here */
    bool is_handed_over;     /* another node is the owner now: of what is left here nothing is told or given back */
    uint64_t migration_speed_mib;   /* per second, as set by clients; 0: as fast as it goes */
    uint64_t migration_downtime_ms; /* at most, as set by clients; 0: QEMU's own */
    uint64_t migration_cache;       /* bytes, of xbzrle, as set by clients; 0: QEMU's own */
    struct vq_hook *hook;   /* script that a step waits for, by its ticket; NULL: none */
    struct vq_qemu_ticket *ticket; /* a call-back of others that a step waits for */
    struct vq_error exec_err; /* the program could not be run */
};

struct vq_qemu_guest *vq_qemu_guest_find(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES]);
struct vq_qemu_guest *vq_qemu_guest_find_run(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], uint64_t run);

/* In the list, phase NEW. */
struct vq_qemu_guest *vq_qemu_guest_new(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], const char *name);
/* Out of the list; memory goes when its handles have closed. Only when ENDED, or when the driver stops. */
void vq_qemu_guest_free(struct vq_qemu_guest *guest);

/* Whatever the guest waits for may come, and finds nobody. */
void vq_qemu_ticket_give_up(struct vq_qemu_guest *guest);

/* The only writer of guest->phase; asserts that the move is in the diagram. */
void vq_qemu_guest_set_phase(struct vq_qemu_guest *guest, enum vq_qemu_phase phase);
const char *vq_qemu_phase_name(enum vq_qemu_phase phase);

/* The state changed: remember, record, publish with up to one event (event -1: none). */
void vq_qemu_guest_set_state(struct vq_qemu_guest *guest, uint8_t state, uint8_t reason, int event, int detail);

/* The state as it is, with its events (at most four), to the cluster. From then on the guest is published. */
struct vq_qemu_event {
    uint8_t event, detail;   /* VIR_DOMAIN_EVENT_* */
};
void vq_qemu_guest_publish(struct vq_qemu_guest *guest, const struct vq_qemu_event *events, size_t n_events);

/* For a handler: the running guest of the request, with a monitor that can be asked. NULL: the request was failed
 * (VIR_ERR_OPERATION_INVALID "domain is not running", or VIR_ERR_OPERATION_FAILED when QEMU does not respond). */
struct vq_qemu_guest *vq_qemu_guest_of(struct vq_request *request);

/* Arguments of qom-get for what the guest's balloon driver tells of its memory; NULL: it has none. */
json_t *vq_qemu_balloon_stats_question(const struct vq_qemu_guest *guest);

/* ---- record.c: the run as this node remembers it ---- */

#define VQ_QEMU_RUN_TABLE "qemu.run"

/* Write the record as the guest is now. */
VQ_MUST_CHECK int vq_qemu_record_write(struct vq_qemu_guest *guest, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_record_delete(struct vq_qemu_guest *guest, struct vq_error *err);
/* Every field is optional and checked. Errors: VIR_ERR_INTERNAL_ERROR. */
VQ_MUST_CHECK int vq_qemu_record_read(struct vq_qemu *qemu, const void *key, size_t key_length, const void *value,
                                      size_t length, struct vq_qemu_guest **ret_guest, char **ret_boot_id,
                                      enum vq_qemu_phase *ret_phase, struct vq_error *err);

/* ---- start.c, stop.c, recover.c ---- */

struct vq_qemu_start_options {
    bool paused, autodestroy;
    uint64_t autodestroy_node, autodestroy_session;
    struct vq_domain *take_definition; /* to run with instead of the stored one, for this run only; NULL: the stored one */
    struct vq_restoring *take_restoring; /* the image to start from; NULL: it boots */
};
/* Start a domain of this node. request: answered with success or error at the end; NULL: nobody waits (autostart). */
void vq_qemu_start(struct vq_qemu *qemu, const struct vq_domain_info *info, const struct vq_qemu_start_options *options,
                   struct vq_request *request);
extern const struct vq_step vq_qemu_guest_steps[];
extern const size_t vq_qemu_n_guest_steps;

/* Answer all that wait for the end. */
void vq_qemu_guest_answer_waiting(struct vq_qemu_guest *guest, const struct vq_error *err);

/* Ask QEMU to end (SIGTERM) and clear away after it has. may_kill: SIGKILL after VQ_QEMU_TERM_MS. Can be called again. */
enum { VQ_QEMU_TERM_MS = 10000, VQ_QEMU_GRACEFUL_MS = 15000 };
void vq_qemu_guest_end(struct vq_qemu_guest *guest, uint8_t reason, uint8_t detail, bool may_kill);
/* The pidfd told. */
void vq_qemu_guest_exited(struct vq_qemu_guest *guest, int status);
extern const struct vq_process_callbacks vq_qemu_process_callbacks;
/* Tell the cluster that the run is over, as guest->end says. */
void vq_qemu_guest_publish_end(struct vq_qemu_guest *guest);
/* All steps are undone: ENDED, those who waited are answered, the object goes. */
void vq_qemu_guest_finish(struct vq_qemu_guest *guest);
/* The start succeeded: fill the reply of create, createXML and the like, and answer. */
void vq_qemu_start_reply(struct vq_qemu_guest *guest, struct vq_request *request);
/* Undo what was done, then ENDED. */
void vq_qemu_guest_unwind(struct vq_qemu_guest *guest);

/* Connect the monitor of a guest that runs (start or recovery): callback data is the guest. */
VQ_MUST_CHECK int vq_qemu_guest_connect(struct vq_qemu_guest *guest, struct vq_error *err);
/* Close the monitor; questions in flight are answered with an error. */
void vq_qemu_guest_disconnect(struct vq_qemu_guest *guest);
/* The monitor is there and has been asked everything: make states agree with QEMU's. */
void vq_qemu_guest_reconcile(struct vq_qemu_guest *guest, json_t *status);
/* The monitor is gone or never came: FOUND, and try again. */
void vq_qemu_guest_degrade(struct vq_qemu_guest *guest, const char *why);
void vq_qemu_recover(struct vq_driver *driver);
/* Report as ended what the cluster believes to run here, or to be about to, and what nothing here knows of. */
void vq_qemu_disown_unknown(struct vq_driver *driver);
/* The same for one domain; data is the struct vq_qemu. */
void vq_qemu_disown(const struct vq_domain_info *info, void *data);

/* ---- monitor.c: what QEMU tells by itself ---- */
void vq_qemu_guest_event(struct vq_qmp *qmp, const char *name, json_t *data, int64_t seconds, uint32_t micros,
                         void *owner);
/* The guest has shut down (now, or while we were away): what on_poweroff says, or the reboot that was asked for. */
void vq_qemu_guest_powered_off(struct vq_qemu_guest *guest);
/* The guest's kernel has panicked: what on_crash says. */
void vq_qemu_guest_panicked(struct vq_qemu_guest *guest);
/* system_reset and cont. */
void vq_qemu_guest_reboot_now(struct vq_qemu_guest *guest);
