/* `virtquorum check`: findings about this host and its cluster. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/cluster.pb-c.h"

enum check_grade { CHECK_PASS, CHECK_WARN, CHECK_FAIL };

struct check_finding {
    enum check_grade grade;
    char *subject; /* "kvm" */
    char *text;    /* what was found */
    char *remedy;  /* what to do; NULL: nothing */
};

struct check_findings {
    struct check_finding *items;
    size_t n_items;
};

/* remedy NULL: none. */
void check_add(struct check_findings *findings, enum check_grade grade, const char *subject, const char *remedy,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void check_done(struct check_findings *findings);

/* check_host.c: kernel, devices, programs, directories. root: "" or, for tests, a directory that stands for /. */
void check_host(struct check_findings *findings, const char *root);
/* check_cluster.c: what the daemon knows of itself and the other nodes. now_s: unix time. */
void check_status(struct check_findings *findings, const Vq__ClusterStatus *status, long now_s);
/* Can each node's first address be reached from here? */
void check_ports(struct check_findings *findings, const Vq__ClusterStatus *status);
