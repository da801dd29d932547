/* Framing of the libvirt protocol: length, header, payload. Plain functions on bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_buffer;

enum {
    VQ_FRAME_LENGTH_BYTES = 4,
    VQ_FRAME_HEADER_BYTES = 24,
    VQ_FRAME_MIN = VQ_FRAME_LENGTH_BYTES + VQ_FRAME_HEADER_BYTES,
    VQ_FRAME_MAX = 33554432 + VQ_FRAME_LENGTH_BYTES,
    VQ_FRAME_FDS_MAX = 32,
    VQ_STREAM_CHUNK_MAX = 262120,       /* raw bytes we put into one stream packet */
};

#define VQ_KEEPALIVE_PROGRAM 0x6b656570u

enum vq_frame_type {
    VQ_FRAME_CALL, VQ_FRAME_REPLY, VQ_FRAME_MESSAGE, VQ_FRAME_STREAM, VQ_FRAME_CALL_WITH_FDS,
    VQ_FRAME_REPLY_WITH_FDS, VQ_FRAME_STREAM_HOLE,
};

enum vq_frame_status { VQ_FRAME_OK, VQ_FRAME_ERROR, VQ_FRAME_CONTINUE };

struct vq_frame {
    uint32_t program; /* wire numbers, as they came */
    uint32_t version;
    int32_t procedure;
    uint32_t type;    /* enum vq_frame_type when valid; any value may come in */
    uint32_t serial;
    uint32_t status;
    const uint8_t *payload; /* borrowed; behind n_fds for the *_WITH_FDS types */
    size_t payload_length;
    uint32_t n_fds;
};

/* Look at received bytes. 1: *ret_frame is one whole frame of *ret_length bytes; 0: more bytes are needed (*ret_length
 * says how many in all once the length word is there, else 0); -1: the peer broke framing, drop it. */
VQ_MUST_CHECK int vq_frame_decode(const uint8_t *bytes, size_t length, struct vq_frame *ret_frame, size_t *ret_length,
                                  struct vq_error *err);

/* Begin a frame in the buffer; append the payload behind it; then end it with the offset that begin returned.
 * n_fds is written for the *_WITH_FDS types. end fails when the frame is over VQ_FRAME_MAX, and takes it back. */
size_t vq_frame_begin(struct vq_buffer *buffer, const struct vq_frame *frame);
VQ_MUST_CHECK int vq_frame_end(struct vq_buffer *buffer, size_t begin, struct vq_error *err);

/* Append the payload of an error reply (struct error of the protocol; dom and net absent). */
void vq_frame_add_error(struct vq_buffer *buffer, const struct vq_error *error);
