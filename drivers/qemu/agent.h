/* The agent inside a guest: a connection to its channel, one command at a time, and no trust.
 *
 * Whatever an agent does (silence, garbage, lines without end, answers that come too late) harms nobody but the call that asked it.
 * Each command is preceded by guest-sync-delimited with a new number; all bytes before the 0xFF in front of the right number are
 * dropped, so that the answer to a command that was given up is never taken for another's. Each call is answered exactly once. There is a
 * connection while QEMU says that somebody has the channel open inside the guest (VSERPORT_CHANGE).
 *
 * Reference: QEMU "Guest Agent Protocol Reference", guest-sync-delimited. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_agent;
struct vq_port;
struct vq_qemu_guest;
struct vq_request;

#define VQ_AGENT_CHANNEL "org.qemu.guest_agent.0"

enum {
    VQ_AGENT_LINE_MAX = 8 * 1024 * 1024, /* one answer; a client gets at most half of this */
    VQ_AGENT_CALLS_MAX = 32,             /* per guest: one is under way, the others wait for it */
    VQ_AGENT_WAIT_MS = 30000,            /* for one's turn */
    VQ_AGENT_SYNC_MS = 5000,             /* for the agent to show that it listens */
    VQ_AGENT_BLOCK_MS = 10 * 60 * 1000,  /* for an answer, where the client said "however long it takes" */
};

/* What answers a command to which the agent says nothing when it succeeds. */
enum vq_agent_await { VQ_AGENT_ANSWER, VQ_AGENT_SHUTDOWN, VQ_AGENT_RESET, VQ_AGENT_SUSPEND };

struct vq_agent_answer {
    json_t *value;               /* the content of "return", borrowed; NULL: an event came instead, or err tells */
    json_t *root;                /* the whole answer */
    const struct vq_error *err;  /* NULL: all is well */
    bool is_unsupported;         /* this agent does not know the command, or it is forbidden to use it */
};
/* May call back into the agent, also vq_agent_close(). Errors: VIR_ERR_AGENT_UNRESPONSIVE it did not answer in time, or is gone;
 * VIR_ERR_INTERNAL_ERROR what it refused, in its words, or what is no answer; VIR_ERR_OPERATION_TIMEOUT others were before it. */
typedef void (*vq_agent_cb)(const struct vq_agent_answer *answer, void *data);

/* ---- The connection ---- */

/* The definition's channel for an agent; NULL: there is none. */
struct vq_port *vq_agent_channel(const struct vq_qemu_guest *guest);
/* Somebody inside has opened the channel, or it is to be seen whether. Without effect where there is a connection or no use for one. */
void vq_agent_open(struct vq_qemu_guest *guest);
/* The channel was closed, or the guest ends: calls are answered, now. */
void vq_agent_close(struct vq_qemu_guest *guest);
/* QEMU's event for which a command may wait. */
void vq_agent_event(struct vq_qemu_guest *guest, enum vq_agent_await event);
/* QEMU's word on a channel of the guest: its state in the XML, the connection, the event for clients (reason: VIR_CONNECT_DOMAIN_EVENT_
 * AGENT_LIFECYCLE_REASON_*). */
void vq_agent_channel_is(struct vq_qemu_guest *guest, struct vq_port *channel, bool is_open, int reason);
/* The same for all channels, from the answer to query-chardev. */
void vq_agent_channels_are(struct vq_qemu_guest *guest, json_t *query_chardev, int reason);

/* A connection to the socket at which the guest's QEMU listens for a channel; does not block. Refused when another process listens. */
VQ_MUST_CHECK int vq_agent_connect(const struct vq_qemu_guest *guest, const char *path, int *ret_fd, struct vq_error *err);

/* ---- Asking ---- */

/* Can the agent be asked at all? False: err tells why it cannot (VIR_ERR_OPERATION_INVALID, VIR_ERR_AGENT_UNRESPONSIVE,
 * VIR_ERR_ARGUMENT_UNSUPPORTED). */
VQ_MUST_CHECK bool vq_agent_is_there(const struct vq_qemu_guest *guest, struct vq_error *err);
/* For a handler: the running guest of the request whose agent can be asked. NULL: the request was failed. */
struct vq_qemu_guest *vq_agent_guest_of(struct vq_request *request);
/* Only when it is there. take_arguments: an object or NULL. timeout_s: VIR_DOMAIN_QEMU_AGENT_COMMAND_* or seconds; guest->agent_timeout
 * is what the client has chosen. */
void vq_agent_call(struct vq_qemu_guest *guest, const char *command, json_t *take_arguments, int timeout_s, vq_agent_cb cb, void *data);
/* The whole command of a user. */
void vq_agent_call_raw(struct vq_qemu_guest *guest, json_t *take_command, int timeout_s, vq_agent_cb cb, void *data);
/* The command succeeds with an event of QEMU, or when the channel closes behind it. */
void vq_agent_call_await(struct vq_qemu_guest *guest, const char *command, json_t *take_arguments, int timeout_s,
                         enum vq_agent_await await, vq_agent_cb cb, void *data);

/* ---- The reader by itself: for the connection and for fuzzing ---- */

struct vq_agent_reader {
    char *bytes;
    size_t length, capacity, scanned;
    bool is_syncing;             /* an answer to guest-sync-delimited is looked for */
    bool is_delimited;           /* its 0xFF has come */
};

void vq_agent_reader_done(struct vq_agent_reader *reader);
/* What comes next is looked at as that; all that was held is dropped. */
void vq_agent_reader_expect(struct vq_agent_reader *reader, bool is_syncing);
/* Errors: VIR_ERR_INTERNAL_ERROR: no line ends within the bound. Never while syncing: then it is dropped. */
VQ_MUST_CHECK int vq_agent_reader_feed(struct vq_agent_reader *reader, const char *bytes, size_t length, struct vq_error *err);
/* 1: an answer, an object that the caller gives back; 0: more bytes are needed; -1: garbage. While syncing garbage is dropped. */
VQ_MUST_CHECK int vq_agent_reader_next(struct vq_agent_reader *reader, json_t **ret_answer, struct vq_error *err);
