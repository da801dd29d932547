/* A client of the daemon in the same process: it speaks frames over a socket while the loop turns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/buffer.h"
#include "proto/frame.h"
#include "tests/unit/fake_node.h"

struct fake_client {
    struct fake_node *node;
    int fd;
    uint32_t serial; /* of the next call */
    struct vq_buffer in;
    size_t taken;          /* of in: the last frame that was given out */
    struct vq_frame frame; /* the last one; its payload is valid until the next */
    bool is_ended;         /* the daemon closed */
};

/* socket: "lrun/libvirt-sock" and the like, below the node's directory. */
void fake_client_connect(struct fake_client *client, struct fake_node *node, const char *socket);
void fake_client_close(struct fake_client *client);
/* connect_open of that URI, which must succeed. */
void fake_client_open(struct fake_client *client, const char *uri);

/* Send a frame; returns its serial (calls are numbered, other types carry the serial given). */
void fake_client_send(struct fake_client *client, const struct vq_frame *frame, const void *payload, size_t length);
uint32_t fake_client_call(struct fake_client *client, uint32_t program, uint32_t procedure,
                          const struct vq_xdr_struct *type, const void *args);
/* The next frame from the daemon; the test fails when none comes. */
const struct vq_frame *fake_client_next(struct fake_client *client);
/* True when a frame or the end is there after the loop has turned for some time. */
bool fake_client_hears(struct fake_client *client, uint64_t ms);
void fake_client_expect_end(struct fake_client *client);

/* A call of the main program and its answer: the error's code (0: success; ret is then decoded into the arena). */
int fake_client_ask(struct fake_client *client, uint32_t procedure, const struct vq_xdr_struct *args_type,
                    const void *args, const struct vq_xdr_struct *ret_type, void *ret, struct vq_arena *arena);
/* The fields of the error in the last frame. */
int fake_client_error(const struct fake_client *client, int *ret_from, char *text, size_t size);
