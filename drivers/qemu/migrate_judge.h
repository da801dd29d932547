/* The verdict on a guest that wants to come to this host: a pure function of what both hosts have. */
#pragma once

#include <stddef.h>

#include "drivers/qemu/migrate_check.h"

struct vq_domain;
struct vq_facts;
struct vq_migrate_cookie;
struct vq_node_migrate_facts_ret;
struct vq_qemu_capabilities;

/* All borrowed. */
struct vq_migrate_case {
    const struct vq_domain *def;     /* as it would come */
    const struct vq_migrate_options *options;
    const struct vq_migrate_cookie *cookie;         /* NULL: none; for what is copied */
    const struct vq_qemu_capabilities *caps;        /* NULL: caps_problem says why */
    const char *caps_problem;
    const struct vq_facts *here;
    const struct vq_node_migrate_facts_ret *there;  /* NULL: the source is no node of the cluster, or did not say */
    const char *here_name, *there_name;             /* of the nodes, for people */
    void (*random)(void *bytes, size_t length);     /* as of struct vq_driver_host */
};

void vq_migrate_judge(const struct vq_migrate_case *judged, struct vq_migrate_problems *problems);

/* The features of the guest's CPU that this emulator cannot give it: each name once, in the array; returns how many. */
size_t vq_migrate_cpu_lacks(const struct vq_domain *def, const struct vq_qemu_capabilities *caps, const char **names,
                            size_t names_max);
