/* Distances between the NUMA cells of a guest: what is said of one way holds for the way back. */
#include <stdlib.h>

#include "conf/base/memory.h"
#include "conf/domain_rules.h"

enum { DISTANCE_TO_ITSELF = 10 };

static const struct vq_numa_distance *find_distance(const struct vq_numa_cell *cell, uint32_t id)
{
    for (size_t i = 0; i < cell->n_distances; i++) {
        if (cell->distances[i]->id == id)
            return cell->distances[i];
    }
    return NULL;
}

static void add_distance(struct vq_numa_cell *cell, uint32_t id, uint32_t value)
{
    if (find_distance(cell, id) != NULL)
        return;
    struct vq_numa_distance *distance = vq_new(struct vq_numa_distance);

    *distance = (struct vq_numa_distance){.id = id, .value = value};
    VQ_GROW(cell->distances, cell->n_distances);
    cell->distances[cell->n_distances++] = distance;
}

static int compare_distances(const void *a, const void *b)
{
    const struct vq_numa_distance *x = *(const struct vq_numa_distance *const *)a;
    const struct vq_numa_distance *y = *(const struct vq_numa_distance *const *)b;

    return x->id < y->id ? -1 : x->id > y->id;
}

void vq_domain_fill_distances(struct vq_cpu *cpu)
{
    for (size_t i = 0; i < cpu->n_cells; i++) {
        struct vq_numa_cell *cell = cpu->cells[i];

        /* What is added to a cell that comes later is what this one says: it adds nothing in turn. */
        for (size_t k = 0; k < cell->n_distances; k++) {
            uint32_t other = cell->distances[k]->id;

            if (other < cpu->n_cells && other != i)
                add_distance(cpu->cells[other], (uint32_t)i, cell->distances[k]->value);
        }
    }
    for (size_t i = 0; i < cpu->n_cells; i++) {
        struct vq_numa_cell *cell = cpu->cells[i];

        if (cell->n_distances == 0)
            continue;
        add_distance(cell, (uint32_t)i, DISTANCE_TO_ITSELF);
        qsort(cell->distances, cell->n_distances, sizeof(struct vq_numa_distance *), compare_distances);
    }
}
