/* Framing: the length word, the header, and the payload of an error reply. */
#define VQ_FROM VIR_FROM_RPC
#include "proto/frame.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "proto/gen/remote.h"

static uint32_t word_at(const uint8_t *bytes)
{
    uint32_t word;

    memcpy(&word, bytes, sizeof(word));
    return be32toh(word);
}

static void add_word(struct vq_buffer *buffer, uint32_t word)
{
    word = htobe32(word);
    vq_buffer_add_bytes(buffer, &word, sizeof(word));
}

static bool carries_fds(uint32_t type)
{
    return type == VQ_FRAME_CALL_WITH_FDS || type == VQ_FRAME_REPLY_WITH_FDS;
}

int vq_frame_decode(const uint8_t *bytes, size_t length, struct vq_frame *ret_frame, size_t *ret_length,
                    struct vq_error *err)
{
    if (length < VQ_FRAME_LENGTH_BYTES) {
        *ret_length = 0;
        return 0;
    }
    uint32_t whole = word_at(bytes);
    if (whole < VQ_FRAME_MIN || whole > VQ_FRAME_MAX)
        return vq_error_set(err, VIR_ERR_RPC, "message of %u bytes, from %d to %d allowed", whole, VQ_FRAME_MIN,
                            VQ_FRAME_MAX);
    if (length < whole) {
        *ret_length = whole;
        return 0;
    }

    struct vq_frame frame = {
        .program = word_at(bytes + 4),
        .version = word_at(bytes + 8),
        .procedure = (int32_t)word_at(bytes + 12),
        .type = word_at(bytes + 16),
        .serial = word_at(bytes + 20),
        .status = word_at(bytes + 24),
        .payload = bytes + VQ_FRAME_MIN,
        .payload_length = whole - VQ_FRAME_MIN,
    };
    if (carries_fds(frame.type)) {
        if (frame.payload_length < 4)
            return vq_error_set(err, VIR_ERR_RPC, "message ends before its number of descriptors");
        frame.n_fds = word_at(frame.payload);
        if (frame.n_fds > VQ_FRAME_FDS_MAX)
            return vq_error_set(err, VIR_ERR_RPC, "message with %u descriptors, %d allowed", frame.n_fds,
                                VQ_FRAME_FDS_MAX);
        frame.payload += 4;
        frame.payload_length -= 4;
    }
    *ret_frame = frame;
    *ret_length = whole;
    return 1;
}

size_t vq_frame_begin(struct vq_buffer *buffer, const struct vq_frame *frame)
{
    size_t begin = buffer->length;

    add_word(buffer, 0); /* the length, see vq_frame_end() */
    add_word(buffer, frame->program);
    add_word(buffer, frame->version);
    add_word(buffer, (uint32_t)frame->procedure);
    add_word(buffer, frame->type);
    add_word(buffer, frame->serial);
    add_word(buffer, frame->status);
    if (carries_fds(frame->type))
        add_word(buffer, frame->n_fds);
    return begin;
}

int vq_frame_end(struct vq_buffer *buffer, size_t begin, struct vq_error *err)
{
    assert(buffer->length >= begin + VQ_FRAME_MIN);

    size_t whole = buffer->length - begin;
    if (whole > VQ_FRAME_MAX) {
        vq_buffer_truncate(buffer, begin);
        return vq_error_set(err, VIR_ERR_RPC, "message of %zu bytes, %d allowed", whole, VQ_FRAME_MAX);
    }
    uint32_t word = htobe32((uint32_t)whole);
    memcpy(buffer->data + begin, &word, sizeof(word));
    return 0;
}

void vq_frame_add_error(struct vq_buffer *buffer, const struct vq_error *error)
{
    /* A handler that failed without a reason still owes the client a well-formed error. */
    static const struct vq_error unexplained = {
        .code = VIR_ERR_INTERNAL_ERROR, .from = VIR_FROM_RPC, .int1 = -1, .message = "the call failed for no known reason"};
    char text[sizeof(error->message) + 128];

    if (error->code == VIR_ERR_OK)
        error = &unexplained;
    vq_error_text(error, text, sizeof(text));
    struct vq_remote_error wire = {
        .code = error->code,
        .domain = error->from,
        .message = text,
        .level = VIR_ERR_ERROR,
        .str1 = vq_error_template(error->code),
        .str2 = error->message,
        .int1 = error->int1,
        .int2 = -1,
    };
    int result = vq_xdr_encode(&vq_xdr_remote_error, &wire, buffer, NULL);
    assert(result == 0); /* three short texts are within every bound */
    (void)result;
}
