/* Numbers to objects, see the header. */
#include "node/mesh/idmap.h"

#include <assert.h>

static struct vq_id_entry **bucket_of(const struct vq_id_map *map, uint64_t id)
{
    /* Fibonacci hashing: ids count up, sessions and nodes too. */
    return (struct vq_id_entry **)&map->buckets[(id * UINT64_C(0x9E3779B97F4A7C15)) >> 54];
}

void vq_id_map_add(struct vq_id_map *map, struct vq_id_entry *entry)
{
    struct vq_id_entry **bucket = bucket_of(map, entry->id);

    static_assert(VQ_ID_MAP_BUCKETS == 1 << 10, "bucket_of() takes the upper ten bits");
    entry->next = *bucket;
    *bucket = entry;
    map->n_entries++;
}

struct vq_id_entry *vq_id_map_find(const struct vq_id_map *map, uint64_t id)
{
    struct vq_id_entry *entry = *bucket_of(map, id);

    while (entry != NULL && entry->id != id)
        entry = entry->next;
    return entry;
}

void vq_id_map_remove(struct vq_id_map *map, struct vq_id_entry *entry)
{
    struct vq_id_entry **at = bucket_of(map, entry->id);

    while (*at != NULL && *at != entry)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = entry->next;
    map->n_entries--;
}

struct vq_id_entry *vq_id_map_any(const struct vq_id_map *map)
{
    for (size_t i = 0; map->n_entries > 0 && i < VQ_ID_MAP_BUCKETS; i++)
        if (map->buckets[i] != NULL)
            return map->buckets[i];
    return NULL;
}

void vq_id_map_each(struct vq_id_map *map, void (*cb)(struct vq_id_entry *entry, void *data), void *data)
{
    for (size_t i = 0; i < VQ_ID_MAP_BUCKETS; i++) {
        struct vq_id_entry *next;
        for (struct vq_id_entry *entry = map->buckets[i]; entry != NULL; entry = next) {
            next = entry->next;
            cb(entry, data);
        }
    }
}
