/* The stream itself: what waits for the client, what waits for the driver, and how it ends. */
#define VQ_FROM VIR_FROM_STREAMS
#include "node/client/stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"

enum item_kind { ITEM_DATA, ITEM_HOLE, ITEM_END, ITEM_FINISH, ITEM_FAIL };

/* One thing on its way. Data keeps growing at its end while it waits. */
struct item {
    struct item *next;
    enum item_kind kind;
    int64_t hole;
    struct vq_error *err;
    size_t packet; /* bytes of the client's packet that this is, for taken() */
    size_t used;   /* of the data */
    size_t length, capacity;
    uint8_t *data;
};

struct queue {
    struct item *first, *last;
    size_t bytes;
};

/* Ends in one of two ways: the driver finishes or fails it (is_ending; what waits is still sent), or the client aborts
 * it (is_over at once). Freed when over and nobody is inside. run() moves what can be moved; called from inside a
 * callback it only notes that there is more to do. */
struct vq_stream {
    struct vq_stream_link *link;
    enum vq_stream_kind kind;
    const struct vq_stream_callbacks *callbacks;
    void *data;
    struct vq_stream **slot;
    struct queue out, in;
    bool is_corked;
    bool is_sending; /* the link has a packet under way */
    bool writer_waits;
    bool driver_full; /* it said: no more until resume */
    bool is_ending;   /* the driver has let go */
    bool is_over;     /* nothing more goes either way */
    bool is_running, run_again;
    unsigned refs; /* functions that still look at it */
};

static void item_free(struct item *item)
{
    free(item->err);
    free(item->data);
    free(item);
}

static void queue_clear(struct queue *queue)
{
    while (queue->first != NULL) {
        struct item *item = queue->first;
        queue->first = item->next;
        item_free(item);
    }
    *queue = (struct queue){0};
}

static struct item *queue_add(struct queue *queue, enum item_kind kind)
{
    struct item *item = vq_new(struct item);

    item->kind = kind;
    if (queue->last != NULL)
        queue->last->next = item;
    else
        queue->first = item;
    queue->last = item;
    return item;
}

static void queue_drop_first(struct queue *queue)
{
    struct item *item = queue->first;

    queue->first = item->next;
    if (queue->first == NULL)
        queue->last = NULL;
    item_free(item);
}

static void item_append(struct item *item, const void *bytes, size_t length)
{
    if (item->length + length > item->capacity) {
        item->capacity = (item->length + length) * 2;
        item->data = vq_realloc(item->data, item->capacity, 1);
    }
    memcpy(item->data + item->length, bytes, length);
    item->length += length;
}

static void stream_ref(struct vq_stream *stream)
{
    stream->refs++;
}

static void stream_unref(struct vq_stream *stream)
{
    if (--stream->refs > 0 || !stream->is_over)
        return;
    if (stream->slot != NULL)
        *stream->slot = NULL;
    queue_clear(&stream->out);
    queue_clear(&stream->in);
    stream->link->ops->released(stream->link);
    free(stream);
}

void vq_stream_new(struct vq_stream_link *link, enum vq_stream_kind kind, const struct vq_stream_callbacks *callbacks,
                   void *data, struct vq_stream **slot)
{
    struct vq_stream *stream = vq_new(struct vq_stream);

    stream->link = link;
    stream->kind = kind;
    stream->callbacks = callbacks;
    stream->data = data;
    stream->is_corked = true;
    stream->slot = slot;
    *slot = stream;
    link->stream = stream;
}

/* ---- To the client ---- */

static void send_data(struct vq_stream *stream, struct item *item)
{
    size_t length = item->length - item->used;

    if (length > VQ_STREAM_CHUNK_MAX)
        length = VQ_STREAM_CHUNK_MAX;
    const uint8_t *bytes = item->data + item->used;
    item->used += length;
    stream->out.bytes -= length;
    stream->is_sending = true;
    stream->link->ops->data(stream->link, bytes, length);
}

/* Give the first item, or a packet of it, to the link. */
static void send_first(struct vq_stream *stream)
{
    struct item *item = stream->out.first;
    struct vq_stream_link *link = stream->link;

    switch (item->kind) {
    case ITEM_DATA:
        send_data(stream, item);
        if (stream->is_over || item->used < item->length)
            return;
        break;
    case ITEM_HOLE:
        stream->is_sending = true;
        link->ops->hole(link, item->hole);
        break;
    case ITEM_END:
        stream->is_sending = true;
        link->ops->end(link);
        break;
    case ITEM_FINISH:
        stream->is_over = true;
        link->ops->finish(link);
        return;
    case ITEM_FAIL:
        stream->is_over = true;
        link->ops->fail(link, item->err);
        return;
    }
    if (!stream->is_over)
        queue_drop_first(&stream->out);
}

static void move_out(struct vq_stream *stream)
{
    while (!stream->is_over && !stream->is_corked && !stream->is_sending && stream->out.first != NULL)
        send_first(stream);
    if (!stream->is_over && !stream->is_ending && stream->writer_waits && stream->out.bytes < VQ_STREAM_QUEUE_MAX / 2) {
        stream->writer_waits = false;
        if (stream->callbacks->writable != NULL)
            stream->callbacks->writable(stream, stream->data);
    }
}

/* ---- To the driver ---- */

static struct item *end_with(struct vq_stream *stream, enum item_kind kind)
{
    assert(!stream->is_ending);
    stream->is_ending = true;
    stream->run_again = true;
    return queue_add(&stream->out, kind);
}

/* The stream breaks for a reason that is not the driver's: it hears that the stream is gone, the client hears why. */
static void refuse(struct vq_stream *stream, const char *why)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "%s", why);
    end_with(stream, ITEM_FAIL)->err = vq_memdup(&err, sizeof(err));
    stream->callbacks->aborted(stream, stream->data);
}

/* Pieces of the first item's data until all is given or the driver says stop. True: all is given. */
static bool give_data(struct vq_stream *stream, struct item *item)
{
    do {
        size_t length = item->length - item->used;
        if (length > VQ_STREAM_PIECE_MAX)
            length = VQ_STREAM_PIECE_MAX;
        const uint8_t *bytes = item->data + item->used;
        item->used += length;
        if (!stream->callbacks->data(stream, bytes, length, stream->data))
            stream->driver_full = true;
    } while (!stream->is_ending && !stream->is_over && !stream->driver_full && item->used < item->length);
    return item->used == item->length;
}

static void give_first(struct vq_stream *stream)
{
    struct item *item = stream->in.first;
    bool is_given = true;

    switch (item->kind) {
    case ITEM_DATA:
    case ITEM_END:
        if (stream->kind == VQ_STREAM_DOWN)
            refuse(stream, "this stream cannot be written to");
        else
            is_given = give_data(stream, item);
        break;
    case ITEM_HOLE:
        if (stream->callbacks->hole == NULL || stream->kind == VQ_STREAM_DOWN || item->hole < 0)
            refuse(stream, "this stream takes no holes");
        else
            stream->callbacks->hole(stream, item->hole, stream->data);
        break;
    case ITEM_FINISH:
    case ITEM_FAIL:
        stream->callbacks->finish(stream, stream->data);
        break;
    }
    if (is_given && !stream->is_over) {
        size_t packet = item->packet;
        queue_drop_first(&stream->in);
        stream->link->ops->taken(stream->link, packet);
    }
}

static void move_in(struct vq_stream *stream)
{
    while (!stream->is_over && !stream->is_ending && stream->in.first != NULL && !stream->driver_full)
        give_first(stream);
}

static void run(struct vq_stream *stream)
{
    if (stream->is_running) {
        stream->run_again = true;
        return;
    }
    stream_ref(stream);
    stream->is_running = true;
    do {
        stream->run_again = false;
        move_out(stream);
        move_in(stream);
    } while (stream->run_again);
    stream->is_running = false;
    stream_unref(stream);
}

/* ---- What the two sides call ---- */

void vq_stream_uncork(struct vq_stream *stream)
{
    stream->is_corked = false;
    *stream->slot = NULL;
    stream->slot = NULL;
    run(stream);
}

void vq_stream_sent(struct vq_stream *stream)
{
    stream->is_sending = false;
    run(stream);
}

bool vq_stream_write(struct vq_stream *stream, const void *bytes, size_t length)
{
    struct item *item = stream->out.last;

    assert(!stream->is_ending);
    if (length == 0)
        return !stream->writer_waits;
    if (item == NULL || item->kind != ITEM_DATA || item->used > 0 || item->length + length > VQ_STREAM_QUEUE_MAX)
        item = queue_add(&stream->out, ITEM_DATA);
    item_append(item, bytes, length);
    stream->out.bytes += length;
    stream_ref(stream);
    run(stream);
    bool may_go_on = stream->out.bytes < VQ_STREAM_QUEUE_MAX;
    stream->writer_waits = !may_go_on;
    stream_unref(stream);
    return may_go_on;
}

void vq_stream_write_hole(struct vq_stream *stream, int64_t length)
{
    assert(!stream->is_ending);
    queue_add(&stream->out, ITEM_HOLE)->hole = length;
    run(stream);
}

void vq_stream_end(struct vq_stream *stream)
{
    assert(!stream->is_ending);
    (void)queue_add(&stream->out, ITEM_END);
    run(stream);
}

void vq_stream_finish(struct vq_stream *stream)
{
    (void)end_with(stream, ITEM_FINISH);
    run(stream);
}

void vq_stream_fail(struct vq_stream *stream, const struct vq_error *err)
{
    end_with(stream, ITEM_FAIL)->err = vq_memdup(err, sizeof(*err));
    run(stream);
}

void vq_stream_resume(struct vq_stream *stream)
{
    stream->driver_full = false;
    run(stream);
}

/* After the driver has let go, what the client still sends is taken and dropped. */
static bool is_dropped(struct vq_stream *stream, size_t length)
{
    if (stream->is_ending || stream->is_over)
        stream->link->ops->taken(stream->link, length);
    return stream->is_ending || stream->is_over;
}

void vq_stream_from_client_data(struct vq_stream *stream, const uint8_t *bytes, size_t length)
{
    if (is_dropped(stream, length))
        return;
    struct item *item = queue_add(&stream->in, length == 0 ? ITEM_END : ITEM_DATA);

    item->packet = length;
    if (length > 0)
        item_append(item, bytes, length);
    run(stream);
}

void vq_stream_from_client_hole(struct vq_stream *stream, int64_t length)
{
    if (is_dropped(stream, 0))
        return;
    queue_add(&stream->in, ITEM_HOLE)->hole = length;
    run(stream);
}

void vq_stream_from_client_finish(struct vq_stream *stream)
{
    if (is_dropped(stream, 0))
        return;
    (void)queue_add(&stream->in, ITEM_FINISH);
    run(stream);
}

void vq_stream_from_client_abort(struct vq_stream *stream)
{
    if (stream->is_over)
        return;
    stream->is_over = true;
    stream_ref(stream);
    if (!stream->is_ending)
        stream->callbacks->aborted(stream, stream->data);
    stream_unref(stream);
}
