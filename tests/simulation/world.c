/* The simulation's clock, dice and queue of events. */
#include "tests/simulation/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"

static uint64_t mix(uint64_t value)
{
    value ^= value >> 30;
    value *= 0xbf58476d1ce4e5b9u;
    value ^= value >> 27;
    value *= 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

void world_begin(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->seed = seed;
    world->random[0] = mix(seed + 0x9e3779b97f4a7c15u);
    world->random[1] = mix(seed + 0x3c6ef372fe94f82au);
    world->now_us = 1000000; /* libraft takes 0 for "never" */
}

void world_end(struct world *world)
{
    free(world->heap);
}

/* xoroshiro128+ by Blackman and Vigna, public domain algorithm. */
uint64_t world_random(struct world *world)
{
    uint64_t a = world->random[0], b = world->random[1], result = a + b;

    b ^= a;
    world->random[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    world->random[1] = b << 37 | b >> 27;
    return result;
}

uint64_t world_between(struct world *world, uint64_t min, uint64_t max)
{
    return min + (world_random(world) >> 11) % (max - min + 1);
}

bool world_chance(struct world *world, unsigned per_thousand)
{
    return world_between(world, 0, 999) < per_thousand;
}

uint64_t world_ms(const struct world *world)
{
    return world->now_us / 1000;
}

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void swap(struct world *world, size_t i, size_t k)
{
    struct event event = world->heap[i];

    world->heap[i] = world->heap[k];
    world->heap[k] = event;
}

static void sift_up(struct world *world, size_t i)
{
    for (; i > 0 && is_before(&world->heap[i], &world->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(world, i, (i - 1) / 2);
}

static void sift_down(struct world *world, size_t i)
{
    for (;;) {
        size_t least = i, left = 2 * i + 1;
        if (left < world->n_events && is_before(&world->heap[left], &world->heap[least]))
            least = left;
        if (left + 1 < world->n_events && is_before(&world->heap[left + 1], &world->heap[least]))
            least = left + 1;
        if (least == i)
            return;
        swap(world, i, least);
        i = least;
    }
}

void world_plan(struct world *world, uint64_t delay_us, event_fn fn, void *data, const void *owner, event_fn forgotten)
{
    if (world->n_events == world->capacity) {
        world->capacity = world->capacity == 0 ? 256 : world->capacity * 2;
        world->heap = vq_realloc(world->heap, world->capacity, sizeof(*world->heap));
    }
    world->heap[world->n_events] =
        (struct event){world->now_us + delay_us, world->next_order++, fn, data, owner, forgotten};
    sift_up(world, world->n_events++);
}

void world_forget(struct world *world, const void *owner)
{
    size_t kept = 0, n_gone = 0;
    struct event *gone = vq_calloc(world->n_events, sizeof(*gone));

    for (size_t i = 0; i < world->n_events; i++) {
        if (world->heap[i].owner == owner)
            gone[n_gone++] = world->heap[i];
        else
            world->heap[kept++] = world->heap[i];
    }
    world->n_events = kept;
    for (size_t i = kept / 2 + 1; i-- > 0;)
        sift_down(world, i);
    for (size_t i = 0; i < n_gone; i++)
        if (gone[i].forgotten != NULL)
            gone[i].forgotten(gone[i].data);
    free(gone);
}

bool world_step(struct world *world)
{
    if (world->n_events == 0)
        return false;
    struct event event = world->heap[0];
    world->heap[0] = world->heap[--world->n_events];
    sift_down(world, 0);
    world->now_us = event.at_us;
    world->n_steps++;
    world_note(world, event.at_us);
    event.fn(event.data);
    return true;
}

void world_note(struct world *world, uint64_t what)
{
    world->trace = mix(world->trace ^ what) + 0x9e3779b97f4a7c15u;
}

void world_fail(struct world *world, const char *fmt, ...)
{
    va_list args;

    if (world->has_failed)
        return;
    world->has_failed = true;
    va_start(args, fmt);
    int length = vsnprintf(world->failure, sizeof(world->failure), fmt, args);
    va_end(args);
    if (length > 0 && (size_t)length < sizeof(world->failure))
        (void)snprintf(world->failure + length, sizeof(world->failure) - (size_t)length, " (at %llu ms, step %llu)",
                       (unsigned long long)world_ms(world), (unsigned long long)world->n_steps);
}
