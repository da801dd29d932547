/* Before a guest is touched: everything that would go wrong at its destination, found at once.
 *
 * Asked by the destination's prepare, before anything is made, and by whoever only wants to know (`virtquorum migrate
 * --check`, the choice of a target when a node is drained). Facts of the host that may take time (files, file systems, links)
 * are gathered by a worker; the verdict on them is a pure function. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_facts;
struct vq_migrate_cookie;
struct vq_migrate_options;
struct vq_request;

enum { VQ_MIGRATE_PROBLEMS_MAX = 256, VQ_MIGRATE_CHECK_MS = 35000 };

enum vq_migrate_severity {
    VQ_MIGRATE_WARNING,      /* the guest can come, but something of it will be different */
    VQ_MIGRATE_REFUSAL,      /* it cannot come */
};

struct vq_migrate_problem {
    enum vq_migrate_severity severity;
    int code;                /* VIR_ERR_* */
    char *node;              /* where it is */
    char *device;            /* "disk vda", "interface 52:54:00:00:00:01", "CPU"; "": the guest or the node as a whole */
    char *text;              /* "the bridge 'br0' is missing" */
    char *remedy;            /* "make the bridge there, or ..."; "": none is known */
};

struct vq_migrate_problems {
    struct vq_migrate_problem *items;
    size_t n_items;          /* at most VQ_MIGRATE_PROBLEMS_MAX; what comes after that is left out */
};

void vq_migrate_problems_add(struct vq_migrate_problems *problems, const struct vq_migrate_problem *problem,
                             const char *fmt, ...) VQ_PRINTF(3, 4); /* copied; the text is made of fmt */
void vq_migrate_problems_done(struct vq_migrate_problems *problems);
/* One error of all refusals: their common code, or VIR_ERR_OPERATION_FAILED; the texts joined. False: there is none. */
bool vq_migrate_problems_error(const struct vq_migrate_problems *problems, struct vq_error *err);

/* On the destination. options as for prepare: dxml is the XML of the guest as it would come. cookie: the source's, as read, borrowed
 * until the call-back; cookie->node says whom to ask what the source has. Called back exactly once, maybe before this returns,
 * within VQ_MIGRATE_CHECK_MS, also when the driver stops. problems: borrowed for the call, warnings too; facts: too, what this host
 * has, NULL when it was not looked at. err NULL: nothing stands against it; else all refusals in one, or that the XML cannot be
 * read. The request, only looked at, lives until then. */
typedef void (*vq_migrate_check_cb)(const struct vq_migrate_problems *problems, const struct vq_facts *facts,
                                    const struct vq_error *err, void *data);
void vq_migrate_check_run(struct vq_request *request, const struct vq_migrate_options *options,
                          const struct vq_migrate_cookie *cookie, vq_migrate_check_cb cb, void *data);

/* The check for a node that asks: `source`, without a cookie. */
void vq_migrate_check_for(struct vq_request *request, const struct vq_migrate_options *options, uint64_t source,
                          vq_migrate_check_cb cb, void *data);
/* The driver stops: those that are under way are called back with an error. */
void vq_migrate_checks_stop(void);
