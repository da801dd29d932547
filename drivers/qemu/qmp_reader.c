/* Bytes from a QEMU into checked messages. Every byte is hostile. */
#define VQ_FROM VIR_FROM_QEMU

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/qmp.h"

enum { NAME_MAX_BYTES = 128, READER_KEEP_BYTES = 64 * 1024 };

void vq_qmp_reader_done(struct vq_qmp_reader *reader)
{
    free(reader->bytes);
    *reader = (struct vq_qmp_reader){ 0 };
}

/* Move what is not consumed to the front; give back the memory of one huge answer. */
static void reader_compact(struct vq_qmp_reader *reader)
{
    size_t left = reader->length - reader->start;

    if (reader->start > 0 && left > 0)
        memmove(reader->bytes, reader->bytes + reader->start, left);
    reader->scanned -= reader->start;
    reader->length = left;
    reader->start = 0;
    if (reader->capacity > READER_KEEP_BYTES && left < READER_KEEP_BYTES / 2) {
        reader->bytes = vq_realloc(reader->bytes, READER_KEEP_BYTES, 1);
        reader->capacity = READER_KEEP_BYTES;
    }
}

int vq_qmp_reader_feed(struct vq_qmp_reader *reader, const char *bytes, size_t length, struct vq_error *err)
{
    reader_compact(reader);
    if (length > VQ_QMP_LINE_MAX || reader->length > VQ_QMP_LINE_MAX - length)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU sent a line of more than %d bytes", VQ_QMP_LINE_MAX);
    if (reader->length + length > reader->capacity) {
        size_t capacity = reader->capacity != 0 ? reader->capacity : 4096;

        while (capacity < reader->length + length)
            capacity *= 2;
        reader->bytes = vq_realloc(reader->bytes, capacity, 1);
        reader->capacity = capacity;
    }
    if (length > 0)
        memcpy(reader->bytes + reader->length, bytes, length);
    reader->length += length;
    return 0;
}

static int message_event(struct vq_qmp_message *message, struct vq_error *err)
{
    json_t *stamp = json_object_get(message->root, "timestamp");
    json_int_t micros = json_integer_value(json_object_get(stamp, "microseconds"));

    message->kind = VQ_QMP_EVENT;
    message->event = json_string_value(json_object_get(message->root, "event"));
    message->data = json_object_get(message->root, "data");
    message->seconds = json_integer_value(json_object_get(stamp, "seconds"));
    message->micros = micros >= 0 && micros < 1000000 ? (uint32_t)micros : 0;
    if (message->event == NULL || strlen(message->event) > NAME_MAX_BYTES ||
        (message->data != NULL && !json_is_object(message->data)))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU sent an event without name or with odd data");
    return 0;
}

static int message_answer(struct vq_qmp_message *message, struct vq_error *err)
{
    json_t *error = json_object_get(message->root, "error");
    json_t *id = json_object_get(message->root, "id");

    message->data = json_object_get(message->root, "return");
    message->has_id = id != NULL;
    if (id != NULL && (!json_is_integer(id) || json_integer_value(id) <= 0))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU answered with an id that was never given");
    message->id = (uint64_t)json_integer_value(id);
    if (message->data != NULL && error == NULL) {
        message->kind = VQ_QMP_RETURN;
        return 0;
    }
    message->kind = VQ_QMP_ERROR;
    message->error_class = json_string_value(json_object_get(error, "class"));
    message->error_text = json_string_value(json_object_get(error, "desc"));
    if (message->data != NULL || message->error_class == NULL || message->error_text == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU sent a message that is no event, answer or greeting");
    return 0;
}

static size_t number_end(const char *line, size_t length, size_t at)
{
    while (at < length && (isdigit((unsigned char)line[at]) || strchr("+-.eE", line[at]) != NULL))
        at++;
    return at;
}

static bool is_too_large(const char *line, size_t at, size_t end)
{
    char number[32];
    int64_t value;

    if (end - at < 19 || end - at >= sizeof(number)) /* no 64-bit number has more digits */
        return false;
    memcpy(number, line + at, end - at);
    number[end - at] = '\0';
    return strpbrk(number, ".eE") == NULL && !vq_parse_i64(number, INT64_MIN, INT64_MAX, &value);
}

/* QEMU says unsigned 64-bit numbers ("18446744073709551615" for "not known"), and jansson has signed ones. Those beyond
 * become real numbers, which nobody takes for a count. Outside of strings only. */
static json_t *load_with_large_numbers(const char *line, size_t length, json_error_t *json_err)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    bool is_in_string = false;
    size_t copied = 0;

    for (size_t at = 0; at < length; at++) {
        if (is_in_string && line[at] == '\\') {
            at++;
        } else if (line[at] == '"') {
            is_in_string = !is_in_string;
        } else if (!is_in_string && (isdigit((unsigned char)line[at]) || line[at] == '-')) {
            size_t end = number_end(line, length, at);

            if (is_too_large(line, at, end)) {
                vq_buffer_add_bytes(&text, line + copied, end - copied);
                vq_buffer_add(&text, ".0");
                copied = end;
            }
            at = end > at ? end - 1 : at;
        }
    }
    if (copied == 0)
        return NULL; /* it was something else */
    vq_buffer_add_bytes(&text, line + copied, length - copied);
    return json_loadb(text.data, text.length, JSON_ALLOW_NUL, json_err);
}

json_t *vq_qmp_json_load(const char *line, size_t length, json_error_t *json_err)
{
    json_t *root = json_loadb(line, length, JSON_ALLOW_NUL, json_err);

    if (root == NULL && strstr(json_err->text, "integer") != NULL)
        root = load_with_large_numbers(line, length, json_err);
    return root;
}

static int message_parse(const char *line, size_t length, struct vq_qmp_message *message, struct vq_error *err)
{
    json_error_t json_err;
    int rc;

    *message = (struct vq_qmp_message){ 0 };
    message->root = vq_qmp_json_load(line, length, &json_err);
    if (message->root == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU sent what is not JSON (%s at byte %d of %zu)",
                            json_err.text, json_err.position, length);
    if (json_object_get(message->root, "event") != NULL) {
        rc = message_event(message, err);
    } else if (json_object_get(message->root, "QMP") != NULL) {
        message->kind = VQ_QMP_GREETING;
        message->data = json_object_get(message->root, "QMP");
        rc = json_is_object(message->data)
                 ? 0 : vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU sent an odd greeting");
    } else {
        rc = message_answer(message, err);
    }
    if (rc < 0)
        vq_qmp_message_done(message);
    return rc;
}

int vq_qmp_reader_next(struct vq_qmp_reader *reader, struct vq_qmp_message *ret_message, struct vq_error *err)
{
    while (reader->scanned < reader->length) {
        char *from = reader->bytes + reader->scanned;
        char *newline = memchr(from, '\n', reader->length - reader->scanned);
        char *line = reader->bytes + reader->start;
        size_t length;

        if (newline == NULL) {
            reader->scanned = reader->length;
            return 0;
        }
        length = (size_t)(newline - line);
        reader->start = reader->scanned = (size_t)(newline - reader->bytes) + 1;
        while (length > 0 && (line[length - 1] == '\r' || line[length - 1] == ' '))
            length--;
        if (length == 0)
            continue;
        return message_parse(line, length, ret_message, err) < 0 ? -1 : 1;
    }
    return 0;
}

void vq_qmp_message_done(struct vq_qmp_message *message)
{
    json_decref(message->root);
    *message = (struct vq_qmp_message){ 0 };
}
