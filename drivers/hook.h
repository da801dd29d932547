/* Hook scripts: programs of the administrator that are run at certain moments, with words that say which, and a document on their
 * standard input.
 *
 * For the name "qemu" they are <config_dir>/hooks/qemu and the files of <config_dir>/hooks/qemu.d, in the order of their names;
 * what is not an executable file is passed over. Each is called as
 *
 *     SCRIPT OBJECT OPERATION SUB-OPERATION EXTRA
 *
 * They are looked for anew each time. A script has ended when its process has, whoever still holds its output open: what it
 * leaves running in the background holds up nothing. */
#pragma once

#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

enum {
    VQ_HOOK_TIMEOUT_MS = 120000,     /* of one script; its process group then gets SIGTERM, and SIGKILL after */
    VQ_HOOK_KILL_MS = 5000,
    VQ_HOOK_OUTPUT_MAX = 1024 * 1024, /* a script that writes more is ended */
    VQ_HOOK_WORDS_MAX = 2000,        /* bytes of its standard error that are kept: the last ones */
};

struct vq_hook;

struct vq_hook_call {
    const char *config_dir;  /* "/etc/libvirt" */
    const char *name;        /* "qemu", "daemon", ... */
    const char *object;      /* name of the domain or network; NULL: "-" */
    const char *operation, *sub_operation;
    const char *extra;       /* NULL: "-" */
    const char *input;       /* document; NULL: nothing */
    bool is_filter;          /* what a script writes is the input of the next, and of the last it is the result */
    unsigned timeout_ms;     /* 0: VQ_HOOK_TIMEOUT_MS */
};

/* output: of a filter that wrote something, else NULL; borrowed. err: VIR_ERR_HOOK_SCRIPT_FAILED with script, status and what it wrote
 * to its standard error; those after it were not run. */
typedef void (*vq_hook_cb)(const char *output, const struct vq_error *err, void *data);

/* Everything of the call is copied. NULL: there is no script, and nothing will be called back. Else called back once, later. */
struct vq_hook *vq_hook_start(uv_loop_t *loop, const struct vq_hook_call *call, vq_hook_cb cb, void *data);
/* End it: its process group gets SIGKILL, and nothing is called back. Accepts NULL. */
void vq_hook_cancel(struct vq_hook *hook);
/* The daemon stops: scripts that run are ended, as if they had been late. */
void vq_hook_end_all(void);
/* Is there a script of this name at all? Spares making the document. */
bool vq_hook_exists(const char *config_dir, const char *name);
