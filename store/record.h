/* What the files store/apply_domain.c and store/apply_move.c share: the records of a domain as the writer sees them, and the
 * checks that several commands make. Where nothing else is said: 1 found or fine, 0 none or refused, -1 the store failed. */
#pragma once

#include "store/internal.h"

/* A head as the writer changes it: a copy, since a pointer into LMDB ends with the next write. */
struct vq_head_copy {
    union {
        struct vq_domain_head head;
        uint8_t bytes[sizeof(struct vq_domain_head) + VQ_STORE_NAME_MAX + 1];
    };
};

int vq_record_read(struct vq_apply *apply, const uint8_t uuid[16], struct vq_head_copy *ret);
int vq_record_write(struct vq_apply *apply, const struct vq_head_copy *copy); /* 0, -1 */
/* The domain's records, and what the indexes have of it. 0, -1. */
int vq_record_remove(struct vq_apply *apply, struct vq_head_copy *copy);
/* The definition. 0, -1. */
int vq_record_write_text(struct vq_apply *apply, const uint8_t uuid[16], const struct vq_text_head *head,
                         const ProtobufCBinaryData *xml);
int vq_record_read_text(struct vq_apply *apply, const uint8_t uuid[16], struct vq_text_head *ret);
int vq_record_find_by_name(struct vq_apply *apply, uint8_t driver, const char *name, struct vq_head_copy *ret);
/* The UUID that an id belongs to now. */
int vq_record_find_by_id(struct vq_apply *apply, int32_t id, uint8_t ret_uuid[16]);
/* The indexes follow the head, which is not written. 0, -1. */
int vq_record_set_id(struct vq_apply *apply, struct vq_domain_head *head, int32_t id);
int vq_record_add_name(struct vq_apply *apply, const struct vq_domain_head *head);
int vq_record_rename(struct vq_apply *apply, struct vq_head_copy *copy, const char *new_name);

/* Running as far as the cluster knows, or about to: its definition must stay, and its name with it. */
bool vq_head_may_run(const struct vq_domain_head *head);
/* Not defined any more: what only a defined domain has goes with it. */
void vq_head_make_transient(struct vq_domain_head *head);
void vq_head_end_move(struct vq_domain_head *head);

/* Filled from the head as it is now. Valid until the next one is added. */
struct vq_change *vq_apply_domain_change(struct vq_apply *apply, enum vq_change_kind kind,
                                         const struct vq_domain_head *head);
void vq_apply_succeed(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t number, int32_t id);

/* The domain a command names. */
int vq_apply_require_domain(struct vq_apply *apply, const ProtobufCBinaryData *uuid, struct vq_head_copy *ret);
/* A new name for it. */
int vq_apply_require_free_name(struct vq_apply *apply, const struct vq_domain_head *head, const char *new_name);
/* The owner and its generation as the command knows them. */
int vq_apply_require_owner(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t node,
                           uint64_t generation);
int vq_apply_refuse_owner(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t node); /* 0 */
int vq_apply_require_node(struct vq_apply *apply, uint64_t id);
enum vq_driver_type vq_apply_driver_by_name(const char *name); /* VQ_DRIVER_NONE: there is none */
bool vq_apply_name_is_usable(const char *name);
bool vq_apply_xml_is_usable(const ProtobufCBinaryData *xml, uint32_t xml_size, bool is_sealed);
