/* A small hash table from numbers to objects that embed an entry. Lengths of the chains stay short for the few thousand
 * calls that are ever under way. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct vq_id_entry {
    uint64_t id;
    struct vq_id_entry *next;
};

enum { VQ_ID_MAP_BUCKETS = 1024 };

struct vq_id_map {
    struct vq_id_entry *buckets[VQ_ID_MAP_BUCKETS];
    size_t n_entries;
};

/* entry->id is set and not in the map yet. */
void vq_id_map_add(struct vq_id_map *map, struct vq_id_entry *entry);
struct vq_id_entry *vq_id_map_find(const struct vq_id_map *map, uint64_t id); /* NULL: none */
void vq_id_map_remove(struct vq_id_map *map, struct vq_id_entry *entry);      /* one that is not in it is fine */

/* Any entry, NULL when there is none: to empty the map. */
struct vq_id_entry *vq_id_map_any(const struct vq_id_map *map);
/* Call back for each; the callback may remove the one it is called with. */
void vq_id_map_each(struct vq_id_map *map, void (*cb)(struct vq_id_entry *entry, void *data), void *data);
