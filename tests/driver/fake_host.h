/* What the daemon would do for a driver, in one process and without a cluster: domains in a list, records in files (so that
 * they outlive a crash of the test's child), reports and events in a trace. */
#pragma once

#include "drivers/driver.h"

enum { FAKE_DOMAINS_MAX = 8 };

struct fake_domain {
    struct vq_domain_info info;
    char *name, *xml;
    bool is_gone;
};

struct fake_host {
    struct vq_driver_host host;
    uv_loop_t loop;
    char dir[64];
    struct fake_domain domains[FAKE_DOMAINS_MAX];
    size_t n_domains;
    bool has_quorum;
    bool loses_quorum;       /* while the next proposal waits: whether it was done is unknown */
    uint64_t next_run;
    char trace[8192];        /* "started/booted running/booted " ... */
};

extern struct fake_host fake;

/* The stream of the last call that had one. */
struct vq_stream {
    const struct vq_stream_callbacks *callbacks;
    void *data;
    char text[65536];        /* what the driver wrote */
    size_t length;
    bool is_ended, is_finished, is_failed;
};
extern struct vq_stream fake_stream;

/* A directory of its own under /tmp, the loop, and all functions of the host. again: the directory stays (a restart). */
void fake_host_init(bool again);
void fake_host_done(bool remove_files);
/* The UUIDs of this process's domains but for the last two digits: other runs on the machine have others. */
const char *fake_uuid_prefix(void);
struct fake_domain *fake_domain_add(const char *name, const char *xml, bool persistent);
/* Runs the loop until the condition holds; false after ten seconds. */
bool fake_host_until(bool (*condition)(void *data), void *data);

/* A call of the procedure; runs the loop until it is answered. Gives the error code, VIR_ERR_OK for success. */
int fake_call(struct vq_driver *driver, enum vq_program program, const char *procedure, struct fake_domain *domain,
              const void *args);
extern struct vq_error fake_error; /* of the last call */
extern uint8_t fake_ret[4096];     /* of the last call; pointers in it are no longer good */
extern char fake_text[65536];      /* its text, or its stats as "name: field=value ..." */
