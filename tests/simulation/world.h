/* Time, chance and events of the simulation. Everything that happens is an event with a time; equal times happen in the
 * order in which they were planned. The same seed gives the same run, and the trace's hash tells. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void (*event_fn)(void *data);

struct event {
    uint64_t at_us, order;
    event_fn fn;
    void *data;
    const void *owner;  /* whose events can be forgotten together */
    event_fn forgotten; /* then called instead; may be NULL */
};

struct world {
    uint64_t seed, random[2];
    uint64_t now_us, next_order;
    struct event *heap;
    size_t n_events, capacity;
    uint64_t trace;
    uint64_t n_steps;
    bool has_failed;
    char failure[512];
};

void world_begin(struct world *world, uint64_t seed);
void world_end(struct world *world);

uint64_t world_random(struct world *world);
uint64_t world_between(struct world *world, uint64_t min, uint64_t max); /* both included */
bool world_chance(struct world *world, unsigned per_thousand);
uint64_t world_ms(const struct world *world);

void world_plan(struct world *world, uint64_t delay_us, event_fn fn, void *data, const void *owner, event_fn forgotten);
void world_forget(struct world *world, const void *owner);
/* The next event; false when there is none. */
bool world_step(struct world *world);

void world_note(struct world *world, uint64_t what); /* into the trace */
void world_fail(struct world *world, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
