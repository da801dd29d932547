/* Bytes from a guest's agent into answers: see agent.h. Every byte is hostile. */
#define VQ_FROM VIR_FROM_QEMU

#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/qmp.h"

enum { SYNC_LINE_MAX = 256, DELIMITER = 0xff, FIRST_BYTES = 4096 };

void vq_agent_reader_done(struct vq_agent_reader *reader)
{
    free(reader->bytes);
    *reader = (struct vq_agent_reader){ 0 };
}

void vq_agent_reader_expect(struct vq_agent_reader *reader, bool is_syncing)
{
    if (reader->capacity > FIRST_BYTES) { /* of one long answer */
        free(reader->bytes);
        reader->bytes = NULL;
        reader->capacity = 0;
    }
    reader->length = reader->scanned = 0;
    reader->is_syncing = is_syncing;
    reader->is_delimited = false;
}

static void append(struct vq_agent_reader *reader, const char *bytes, size_t length)
{
    if (length == 0)
        return;
    if (reader->length + length > reader->capacity) {
        size_t capacity = reader->capacity != 0 ? reader->capacity : FIRST_BYTES;

        while (capacity < reader->length + length)
            capacity *= 2;
        reader->bytes = vq_realloc(reader->bytes, capacity, 1);
        reader->capacity = capacity;
    }
    memcpy(reader->bytes + reader->length, bytes, length);
    reader->length += length;
}

/* Only what follows the last delimiter counts, and nothing that is longer than a number's answer can be. */
static void feed_syncing(struct vq_agent_reader *reader, const char *bytes, size_t length)
{
    const char *last = length > 0 ? memrchr(bytes, DELIMITER, length) : NULL;

    if (last != NULL) {
        reader->length = reader->scanned = 0;
        reader->is_delimited = true;
        length -= (size_t)(last + 1 - bytes);
        bytes = last + 1;
    }
    if (!reader->is_delimited)
        return;
    if (length > SYNC_LINE_MAX - reader->length) {
        const char *end = memchr(bytes, '\n', length);

        if (end == NULL || (size_t)(end - bytes) >= SYNC_LINE_MAX - reader->length) {
            reader->length = reader->scanned = 0;
            reader->is_delimited = false;
            return;
        }
        length = (size_t)(end - bytes) + 1;
    }
    append(reader, bytes, length);
}

int vq_agent_reader_feed(struct vq_agent_reader *reader, const char *bytes, size_t length, struct vq_error *err)
{
    if (reader->is_syncing) {
        feed_syncing(reader, bytes, length);
        return 0;
    }
    if (length > VQ_AGENT_LINE_MAX || reader->length > VQ_AGENT_LINE_MAX - length)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "No complete agent response found in %d bytes", VQ_AGENT_LINE_MAX);
    append(reader, bytes, length);
    return 0;
}

/* One line off the front: its JSON, or NULL. */
static json_t *take_line(struct vq_agent_reader *reader, size_t length)
{
    json_error_t json_err;
    const char *text = reader->bytes;
    size_t line = length;
    json_t *root;

    while (line > 0 && (unsigned char)text[0] == DELIMITER) {
        text++;
        line--;
    }
    root = vq_qmp_json_load(text, line, &json_err);
    if (root != NULL && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    reader->length -= length + 1;
    memmove(reader->bytes, reader->bytes + length + 1, reader->length);
    reader->scanned = 0;
    return root;
}

int vq_agent_reader_next(struct vq_agent_reader *reader, json_t **ret_answer, struct vq_error *err)
{
    const char *newline;
    json_t *root;

    while (reader->length > reader->scanned) {
        newline = memchr(reader->bytes + reader->scanned, '\n', reader->length - reader->scanned);
        if (newline == NULL) {
            reader->scanned = reader->length;
            return 0;
        }
        root = take_line(reader, (size_t)(newline - reader->bytes));
        if (root != NULL) {
            *ret_answer = root;
            return 1;
        }
        if (!reader->is_syncing)
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Invalid data provided by guest agent");
        reader->length = reader->scanned = 0;
        reader->is_delimited = false;
    }
    return 0;
}
