/* What the handlers of definitions share. Each handler has the type vq_driver_fn; the rows are in handlers_define.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "drivers/driver.h"

struct vq_domain;
struct vq_qemu_guest;

/* Refuse the request. */
void vq_qemu_refuse(struct vq_request *request, int from, int code, const char *fmt, ...) VQ_PRINTF(4, 5);
/* Answer with a text in *ret_text, a member of request->ret; take_text is freed. */
void vq_qemu_reply_text(struct vq_request *request, const char **ret_text, char *take_text);
/* Zeroed memory that lives as long as the request; NULL: the request was refused. */
void *vq_qemu_request_alloc(struct vq_request *request, size_t size);

/* Has the guest a channel for its agent? */
bool vq_qemu_has_agent(const struct vq_qemu_guest *guest);
/* The agent would have to answer this, and cannot. */
void vq_qemu_refuse_agent(struct vq_request *request, const struct vq_qemu_guest *guest);

/* What VIR_DOMAIN_AFFECT_* comes to for this domain. */
struct vq_qemu_target {
    bool live, config;
    struct vq_qemu_guest *guest; /* live: the running guest, with its definition */
};
/* False: the request was refused ("domain is not running", "transient domains ..."). */
bool vq_qemu_find_target(struct vq_request *request, uint32_t flags, struct vq_qemu_target *ret);

/* The inactive definition, parsed; NULL: the request was refused. */
struct vq_domain *vq_qemu_read_definition(struct vq_request *request);

/* A vq_qemu_changed_cb for requests without a result: answers the request that is its data. */
void vq_qemu_change_over(const struct vq_error *err, void *request);

struct vq_qemu_capabilities;
struct vq_qemu_machine;
/* Called with capabilities or an error; data is the request. */
typedef void (*vq_qemu_emulator_fn)(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data);
/* The emulator that a question about what guests get is about: path, else this host's for the architecture. The request is
 * refused when the architecture or the type is unknown. KVM has been tried unless the type is "qemu". */
void vq_qemu_with_emulator(struct vq_request *request, const char *path, const char *arch, const char *virttype,
                           vq_qemu_emulator_fn known);
/* Has it this architecture, machine and type of guests? NULL: no, and the request was refused. */
const struct vq_qemu_machine *vq_qemu_check_emulator(struct vq_request *request, const struct vq_qemu_capabilities *caps,
                                                     const char *arch, const char *machine_name, const char *virttype);

void vq_qemu_handle_set_memory(struct vq_request *request);         /* handlers_config.c */
void vq_qemu_handle_set_memory_flags(struct vq_request *request);
void vq_qemu_handle_set_max_memory(struct vq_request *request);
void vq_qemu_handle_set_vcpus(struct vq_request *request);
void vq_qemu_handle_set_vcpus_flags(struct vq_request *request);
void vq_qemu_handle_get_vcpus_flags(struct vq_request *request);
void vq_qemu_handle_set_lifecycle_action(struct vq_request *request);
void vq_qemu_handle_get_scheduler_type(struct vq_request *request);
void vq_qemu_handle_set_metadata(struct vq_request *request);       /* handlers_metadata.c */
void vq_qemu_handle_get_metadata(struct vq_request *request);
void vq_qemu_handle_xml_to_native(struct vq_request *request);      /* handlers_host.c */
void vq_qemu_handle_get_max_vcpus(struct vq_request *request);
void vq_qemu_handle_get_version(struct vq_request *request);
void vq_qemu_handle_get_capabilities(struct vq_request *request);
void vq_qemu_handle_get_domain_capabilities(struct vq_request *request);
void vq_qemu_handle_get_cpu_model_names(struct vq_request *request);
void vq_qemu_handle_get_sev_info(struct vq_request *request);
