/* A raft_io with a disk that forgets what was not flushed, and a network that loses, doubles and delays. */
#include "tests/simulation/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"

enum { DISK_MIN_US = 80, DISK_MAX_US = 2000, SLOW_DISK_US = 40000, CAPACITY_KIB = 60000 };

/* Appends and truncations are done one after the other. */
struct disk_op {
    struct disk_op *next;
    raft_index truncate_from; /* 0: an append */
    struct sim_entry *entries;
    unsigned n_entries;
    struct raft_io_append *request;
    raft_io_append_cb cb;
};

struct sim_io {
    struct raft_io raft;
    struct world *world;
    struct sim_network *network;
    struct sim_disk *disk;
    void (*after)(void *data);
    void *data;
    raft_id id;
    char address[24];
    bool is_dead, is_closing;
    unsigned tick_ms;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb closed;
    struct disk_op *ops, **ops_end;
    bool disk_is_busy;
};

/* ---- The disk's content ---- */

static void *copy_bytes(const void *bytes, size_t length)
{
    return vq_memdup(bytes, length);
}

static void free_entries(struct sim_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(entries[i].bytes);
}

static void free_snapshot(struct sim_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    raft_free(snapshot->configuration.base);
    free(snapshot->data.base);
    free(snapshot);
}

void sim_disk_done(struct sim_disk *disk)
{
    free_entries(disk->entries, disk->n_entries);
    free(disk->entries);
    free_snapshot(disk->snapshot);
    *disk = (struct sim_disk){0};
}

bool sim_disk_is_empty(const struct sim_disk *disk)
{
    return disk->term == 0 && disk->n_entries == 0 && disk->snapshot == NULL;
}

static void disk_truncate(struct sim_disk *disk, raft_index from)
{
    while (disk->n_entries > 0 && disk->first + disk->n_entries > from)
        free(disk->entries[--disk->n_entries].bytes);
}

void sim_disk_forget_last(struct sim_disk *disk, size_t n)
{
    if (n < disk->n_entries)
        disk_truncate(disk, disk->first + disk->n_entries - n);
}

static void disk_append(struct sim_disk *disk, const struct sim_entry *entry)
{
    if (disk->n_entries == disk->capacity) {
        disk->capacity = disk->capacity == 0 ? 64 : disk->capacity * 2;
        disk->entries = vq_realloc(disk->entries, disk->capacity, sizeof(*disk->entries));
    }
    disk->entries[disk->n_entries++] = *entry;
}

static void disk_drop_before(struct sim_disk *disk, raft_index index)
{
    size_t n = 0;

    while (n < disk->n_entries && disk->first + n < index)
        free(disk->entries[n++].bytes);
    memmove(disk->entries, disk->entries + n, (disk->n_entries - n) * sizeof(*disk->entries));
    disk->n_entries -= n;
    disk->first += n;
}

/* ---- Writing ---- */

static uint64_t disk_delay(struct sim_io *io)
{
    return world_chance(io->world, 5) ? SLOW_DISK_US : world_between(io->world, DISK_MIN_US, DISK_MAX_US);
}

static void op_done(void *data);

static void next_op(struct sim_io *io)
{
    if (io->disk_is_busy || io->ops == NULL)
        return;
    io->disk_is_busy = true;
    world_plan(io->world, disk_delay(io), op_done, io, io, NULL);
}

static void write_op(struct sim_io *io, struct disk_op *op)
{
    if (op->truncate_from != 0)
        disk_truncate(io->disk, op->truncate_from);
    for (unsigned i = 0; i < op->n_entries; i++)
        disk_append(io->disk, &op->entries[i]);
    op->n_entries = 0;
}

static struct disk_op *take_op(struct sim_io *io)
{
    struct disk_op *op = io->ops;

    io->ops = op->next;
    if (io->ops == NULL)
        io->ops_end = &io->ops;
    return op;
}

static void finish_op(struct disk_op *op, int status)
{
    if (op->cb != NULL)
        op->cb(op->request, status);
    free_entries(op->entries, op->n_entries);
    free(op->entries);
    free(op);
}

static void op_done(void *data)
{
    struct sim_io *io = data;
    struct disk_op *op = take_op(io);

    io->disk_is_busy = false;
    write_op(io, op);
    finish_op(op, 0);
    next_op(io);
    io->after(io->data);
}

static struct disk_op *add_op(struct sim_io *io)
{
    struct disk_op *op = vq_new(struct disk_op);

    *io->ops_end = op;
    io->ops_end = &op->next;
    return op;
}

static int io_append(struct raft_io *raft, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                     raft_io_append_cb cb)
{
    struct sim_io *io = raft->impl;
    struct disk_op *op = add_op(io);

    op->request = req;
    op->cb = cb;
    op->n_entries = n;
    op->entries = vq_calloc(n, sizeof(*op->entries));
    for (unsigned i = 0; i < n; i++)
        op->entries[i] = (struct sim_entry){entries[i].term, (unsigned short)entries[i].type, entries[i].buf.len,
                                            copy_bytes(entries[i].buf.base, entries[i].buf.len)};
    next_op(io);
    return 0;
}

static int io_truncate(struct raft_io *raft, raft_index index)
{
    struct sim_io *io = raft->impl;

    add_op(io)->truncate_from = index;
    next_op(io);
    return 0;
}

static int io_set_term(struct raft_io *raft, raft_term term)
{
    struct sim_io *io = raft->impl;

    if (!io->is_dead) {
        io->disk->term = term;
        io->disk->vote = 0;
    }
    return 0;
}

static int io_set_vote(struct raft_io *raft, raft_id id)
{
    struct sim_io *io = raft->impl;

    if (!io->is_dead)
        io->disk->vote = id;
    return 0;
}

/* ---- Snapshots ---- */

struct snapshot_put {
    struct sim_io *io;
    unsigned trailing;
    struct raft_io_snapshot_put *request;
    raft_io_snapshot_put_cb cb;
    struct sim_snapshot *snapshot;
};

static void put_forgotten(void *data)
{
    struct snapshot_put *put = data;

    put->cb(put->request, RAFT_CANCELED);
    free_snapshot(put->snapshot);
    free(put);
}

static void put_done(void *data)
{
    struct snapshot_put *put = data;
    struct sim_io *io = put->io;
    struct sim_disk *disk = io->disk;
    raft_index index = put->snapshot->index;

    if (io->ops != NULL) { /* raft_uv lets writes come to an end before it changes the log */
        world_plan(io->world, 500, put_done, put, io, put_forgotten);
        return;
    }
    free_snapshot(disk->snapshot);
    disk->snapshot = put->snapshot;
    if (put->trailing == 0) { /* a leader's: the log begins behind it */
        disk_drop_before(disk, disk->first + disk->n_entries);
        disk->first = index + 1;
    } else if (index > put->trailing) {
        disk_drop_before(disk, index - put->trailing + 1);
    }
    put->cb(put->request, 0);
    free(put);
    io->after(io->data);
}

static int io_snapshot_put(struct raft_io *raft, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct sim_io *io = raft->impl;
    struct snapshot_put *put = vq_new(struct snapshot_put);
    struct sim_snapshot *copy = vq_new(struct sim_snapshot);
    size_t at = 0;

    copy->index = snapshot->index;
    copy->term = snapshot->term;
    copy->configuration_index = snapshot->configuration_index;
    if (raft_configuration_encode(&snapshot->configuration, &copy->configuration) != 0)
        abort();
    for (unsigned i = 0; i < snapshot->n_bufs; i++)
        copy->data.len += snapshot->bufs[i].len;
    copy->data.base = vq_calloc(1, copy->data.len + 1);
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        memcpy((char *)copy->data.base + at, snapshot->bufs[i].base, snapshot->bufs[i].len);
        at += snapshot->bufs[i].len;
    }
    *put = (struct snapshot_put){io, trailing, req, cb, copy};
    world_plan(io->world, 5000 + disk_delay(io) * 4, put_done, put, io, put_forgotten);
    return 0;
}

static struct raft_snapshot *load_snapshot(const struct sim_snapshot *from)
{
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof(*snapshot));

    snapshot->index = from->index;
    snapshot->term = from->term;
    snapshot->configuration_index = from->configuration_index;
    raft_configuration_init(&snapshot->configuration);
    if (raft_configuration_decode(&from->configuration, &snapshot->configuration) != 0)
        abort();
    snapshot->n_bufs = 1;
    snapshot->bufs = raft_malloc(sizeof(*snapshot->bufs));
    snapshot->bufs[0].len = from->data.len;
    snapshot->bufs[0].base = raft_malloc(from->data.len);
    memcpy(snapshot->bufs[0].base, from->data.base, from->data.len);
    return snapshot;
}

struct snapshot_get {
    struct sim_io *io;
    struct raft_io_snapshot_get *request;
    raft_io_snapshot_get_cb cb;
};

static void get_forgotten(void *data)
{
    struct snapshot_get *get = data;

    get->cb(get->request, load_snapshot(get->io->disk->snapshot), 0); /* its message goes nowhere */
    free(get);
}

static void get_done(void *data)
{
    struct sim_io *io = ((struct snapshot_get *)data)->io;

    get_forgotten(data);
    io->after(io->data);
}

static int io_snapshot_get(struct raft_io *raft, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct sim_io *io = raft->impl;
    struct snapshot_get *get = vq_new(struct snapshot_get);

    *get = (struct snapshot_get){io, req, cb};
    world_plan(io->world, disk_delay(io), get_done, get, io, get_forgotten);
    return 0;
}

/* ---- Starting ---- */

static int io_init(struct raft_io *raft, raft_id id, const char *address)
{
    struct sim_io *io = raft->impl;

    io->id = id;
    (void)snprintf(io->address, sizeof(io->address), "%s", address);
    return 0;
}

static int io_load(struct raft_io *raft, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                   raft_index *start_index, struct raft_entry *entries[], size_t *n_entries)
{
    struct sim_io *io = raft->impl;
    struct sim_disk *disk = io->disk;

    *term = disk->term;
    *voted_for = disk->vote;
    *snapshot = disk->snapshot == NULL ? NULL : load_snapshot(disk->snapshot);
    if (disk->n_entries == 0)
        disk->first = disk->snapshot == NULL ? 1 : disk->snapshot->index + 1;
    *start_index = disk->first;
    *n_entries = disk->n_entries;
    *entries = disk->n_entries == 0 ? NULL : raft_calloc(disk->n_entries, sizeof(**entries));
    for (size_t i = 0; i < disk->n_entries; i++) {
        struct raft_entry *entry = &(*entries)[i];
        entry->term = disk->entries[i].term;
        entry->type = (enum raft_entry_type)disk->entries[i].type;
        entry->buf.len = disk->entries[i].length;
        entry->buf.base = raft_malloc(entry->buf.len);
        memcpy(entry->buf.base, disk->entries[i].bytes, entry->buf.len);
        entry->batch = entry->buf.base;
    }
    return 0;
}

static int io_bootstrap(struct raft_io *raft, const struct raft_configuration *conf)
{
    struct sim_io *io = raft->impl;
    struct raft_buffer buf;

    if (!sim_disk_is_empty(io->disk))
        return RAFT_CANTBOOTSTRAP;
    if (raft_configuration_encode(conf, &buf) != 0)
        return RAFT_NOMEM;
    io->disk->term = 1;
    io->disk->first = 1;
    disk_append(io->disk, &(struct sim_entry){1, RAFT_CHANGE, buf.len, copy_bytes(buf.base, buf.len)});
    raft_free(buf.base);
    return 0;
}

static int io_recover(struct raft_io *raft, const struct raft_configuration *conf)
{
    (void)raft, (void)conf;
    return RAFT_INVALID;
}

static void on_tick(void *data)
{
    struct sim_io *io = data;

    if (io->is_dead || io->is_closing)
        return;
    io->tick(&io->raft);
    world_plan(io->world, io->tick_ms * 1000ull, on_tick, io, io, NULL);
    io->after(io->data);
}

static int io_start(struct raft_io *raft, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct sim_io *io = raft->impl;

    io->tick_ms = msecs;
    io->tick = tick;
    io->recv = recv;
    io->network->ios[io->id] = io;
    world_plan(io->world, world_between(io->world, 1, msecs * 1000ull), on_tick, io, io, NULL);
    return 0;
}

/* ---- The network ---- */

struct packet {
    struct sim_network *network;
    raft_id from, to;
    char address[24];
    struct raft_message message; /* what it points to is in the buffers below */
    struct sim_entry *entries;
    struct raft_buffer data, configuration;
};

static void free_packet(void *data)
{
    struct packet *packet = data;

    if (packet->message.type == RAFT_APPEND_ENTRIES)
        free_entries(packet->entries, packet->message.append_entries.n_entries);
    free(packet->entries);
    free(packet->data.base);
    raft_free(packet->configuration.base);
    free(packet);
}

static struct packet *make_packet(struct sim_io *io, const struct raft_message *message)
{
    struct packet *packet = vq_new(struct packet);

    packet->network = io->network;
    packet->from = io->id;
    packet->to = message->server_id;
    (void)snprintf(packet->address, sizeof(packet->address), "%s", io->address);
    packet->message = *message;
    if (message->type == RAFT_APPEND_ENTRIES) {
        const struct raft_append_entries *args = &message->append_entries;
        packet->entries = vq_calloc(args->n_entries, sizeof(*packet->entries));
        for (unsigned i = 0; i < args->n_entries; i++)
            packet->entries[i] = (struct sim_entry){args->entries[i].term, (unsigned short)args->entries[i].type,
                                                    args->entries[i].buf.len,
                                                    copy_bytes(args->entries[i].buf.base, args->entries[i].buf.len)};
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        packet->data.len = message->install_snapshot.data.len;
        packet->data.base = copy_bytes(message->install_snapshot.data.base, packet->data.len);
        if (raft_configuration_encode(&message->install_snapshot.conf, &packet->configuration) != 0)
            abort();
    }
    return packet;
}

/* All entries of a message are in one piece of memory, as libraft expects of what comes from the network. */
static void unpack_entries(const struct packet *packet, struct raft_append_entries *args)
{
    size_t length = 0, at = 0;

    args->entries = NULL;
    if (args->n_entries == 0)
        return;
    for (unsigned i = 0; i < args->n_entries; i++)
        length += packet->entries[i].length;
    char *batch = raft_malloc(length);
    args->entries = raft_calloc(args->n_entries, sizeof(*args->entries));
    for (unsigned i = 0; i < args->n_entries; i++) {
        const struct sim_entry *from = &packet->entries[i];
        memcpy(batch + at, from->bytes, from->length);
        args->entries[i] =
            (struct raft_entry){from->term, (enum raft_entry_type)from->type, {batch + at, from->length}, batch};
        at += from->length;
    }
}

static void deliver(void *data)
{
    struct packet *packet = data;
    struct sim_network *network = packet->network;
    struct sim_io *io = network->ios[packet->to];
    struct raft_message message = packet->message;

    if (io == NULL || io->is_closing || network->is_cut[packet->from][packet->to]) {
        free_packet(packet);
        return;
    }
    world_note(io->world, packet->from * 64 + packet->to * 8 + packet->message.type);
    message.server_id = packet->from;
    message.server_address = packet->address;
    if (message.type == RAFT_APPEND_ENTRIES) {
        unpack_entries(packet, &message.append_entries);
    } else if (message.type == RAFT_INSTALL_SNAPSHOT) {
        message.install_snapshot.data.base = raft_malloc(packet->data.len);
        memcpy(message.install_snapshot.data.base, packet->data.base, packet->data.len);
        raft_configuration_init(&message.install_snapshot.conf);
        if (raft_configuration_decode(&packet->configuration, &message.install_snapshot.conf) != 0)
            abort();
    }
    io->recv(&io->raft, &message);
    free_packet(packet);
    io->after(io->data);
}

struct sending {
    struct raft_io_send *request;
    raft_io_send_cb cb;
};

static void sent(void *data)
{
    struct sending *sending = data;

    sending->cb(sending->request, 0);
    free(sending);
}

static void sent_forgotten(void *data)
{
    struct sending *sending = data;

    sending->cb(sending->request, RAFT_CANCELED);
    free(sending);
}

static uint64_t network_delay(struct sim_network *network)
{
    return world_between(network->world, network->delay_min_us, network->delay_max_us);
}

static int io_send(struct raft_io *raft, struct raft_io_send *req, const struct raft_message *message,
                   raft_io_send_cb cb)
{
    struct sim_io *io = raft->impl;
    struct sim_network *network = io->network;
    struct sending *sending = vq_new(struct sending);

    if (!io->is_dead && !network->is_cut[io->id][message->server_id] &&
        !world_chance(io->world, network->drop_per_thousand)) {
        world_plan(io->world, network_delay(network), deliver, make_packet(io, message), network, free_packet);
        if (world_chance(io->world, network->duplicate_per_thousand))
            world_plan(io->world, network_delay(network), deliver, make_packet(io, message), network, free_packet);
    }
    *sending = (struct sending){req, cb};
    world_plan(io->world, 10, sent, sending, io, sent_forgotten);
    return 0;
}

/* ---- Closing ---- */

static void close_now(void *data)
{
    struct sim_io *io = data;

    world_forget(io->world, io);
    while (io->ops != NULL)
        finish_op(take_op(io), RAFT_CANCELED);
    io->closed(&io->raft);
}

static void io_close(struct raft_io *raft, raft_io_close_cb cb)
{
    struct sim_io *io = raft->impl;

    io->closed = cb;
    io->is_closing = true;
    if (io->network->ios[io->id] == io)
        io->network->ios[io->id] = NULL;
    world_plan(io->world, 0, close_now, io, NULL, NULL);
}

static raft_time io_time(struct raft_io *raft)
{
    return world_ms(((struct sim_io *)raft->impl)->world);
}

static int io_random(struct raft_io *raft, int min, int max)
{
    return (int)world_between(((struct sim_io *)raft->impl)->world, (uint64_t)min, (uint64_t)max);
}

struct sim_io *sim_io_new(struct sim_network *network, struct sim_disk *disk, void (*after)(void *data), void *data)
{
    struct sim_io *io = vq_new(struct sim_io);

    io->raft = (struct raft_io){.version = 2,
                                .capacity = CAPACITY_KIB,
                                .impl = io,
                                .init = io_init,
                                .close = io_close,
                                .load = io_load,
                                .start = io_start,
                                .bootstrap = io_bootstrap,
                                .recover = io_recover,
                                .set_term = io_set_term,
                                .set_vote = io_set_vote,
                                .send = io_send,
                                .append = io_append,
                                .truncate = io_truncate,
                                .snapshot_put = io_snapshot_put,
                                .snapshot_get = io_snapshot_get,
                                .time = io_time,
                                .random = io_random};
    io->world = network->world;
    io->network = network;
    io->disk = disk;
    io->after = after;
    io->data = data;
    io->ops_end = &io->ops;
    return io;
}

struct raft_io *sim_io_raft(struct sim_io *io)
{
    return &io->raft;
}

void sim_io_set_capacity(struct sim_io *io, unsigned short kib)
{
    io->raft.capacity = kib == 0 ? CAPACITY_KIB : kib;
}

/* A batch that is only half on disk fails its checksum, so batches are there or not, in their order. */
void sim_io_crash(struct sim_io *io)
{
    for (struct disk_op *op = io->ops; op != NULL && world_chance(io->world, 500); op = op->next)
        write_op(io, op);
    io->is_dead = true;
    if (io->network->ios[io->id] == io)
        io->network->ios[io->id] = NULL;
}

void sim_io_free(struct sim_io *io)
{
    free(io);
}
