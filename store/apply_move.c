/* Commands that change the owner of a domain: docs/migration.md tells how the two sides use them.
 *
 * A move is the pair moving_to, moving_run of the head; only an active domain has one. Whatever ends it takes both out, so of all
 * who want to end the same move, one succeeds. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <libvirt/libvirt.h>
#include <string.h>

#include "store/ids.h"
#include "store/record.h"

/* ---- DomainOwner ---- */

int vq_apply_domain_owner(struct vq_apply *apply)
{
    const Vq__DomainOwner *owner = apply->command->domain_owner;
    struct vq_head_copy copy;
    int may = vq_apply_require_domain(apply, &owner->uuid, &copy);

    if (may <= 0 || (may = vq_apply_require_owner(apply, &copy.head, owner->from, owner->if_generation)) <= 0)
        return may;
    if (vq_head_may_run(&copy.head))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                               "domain '%s' is active: only a migration changes its owner", copy.head.name);
    if ((may = vq_apply_require_node(apply, owner->to)) <= 0)
        return may;
    copy.head.owner = owner->to;
    copy.head.generation++;
    if (vq_record_write(apply, &copy) < 0)
        return -1;
    vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_OWNER, &copy.head)->old_owner = owner->from;
    vq_apply_succeed(apply, &copy.head, copy.head.generation, copy.head.id);
    return 0;
}

/* ---- DomainMove ---- */

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_move(struct vq_apply *apply, const Vq__DomainMove *move, const struct vq_domain_head *head)
{
    int may = vq_apply_require_owner(apply, head, move->from, move->if_generation);

    if (may <= 0)
        return may;
    if (head->id < 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain is not running");
    if ((head->flags & VQ_DOMAIN_CLAIMED) != 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain '%s' is being started", head->name);
    if (head->moving_to != 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                               "domain '%s' is being migrated to node %llu already", head->name,
                               (unsigned long long)head->moving_to);
    if (move->to == head->owner)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "domain '%s' is on node %llu already", head->name,
                               (unsigned long long)move->to);
    return vq_apply_require_node(apply, move->to);
}

int vq_apply_domain_move(struct vq_apply *apply)
{
    const Vq__DomainMove *move = apply->command->domain_move;
    struct vq_head_copy copy;
    int may = vq_apply_require_domain(apply, &move->uuid, &copy);

    if (may <= 0 || (may = check_move(apply, move, &copy.head)) <= 0)
        return may;
    copy.head.moving_to = move->to;
    copy.head.moving_run = vq_ids_cluster_run(++apply->store->meta.run_counter);
    copy.head.last_move = copy.head.moving_run;
    if (vq_record_write(apply, &copy) < 0)
        return -1;
    vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_MOVE, &copy.head);
    vq_apply_succeed(apply, &copy.head, copy.head.moving_run, copy.head.id);
    return 0;
}

/* ---- DomainMoveEnd ---- */

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_kept(struct vq_apply *apply, const Vq__DomainDefine *define, const struct vq_domain_head *head)
{
    if (define->uuid.len != 16 || memcmp(define->uuid.data, head->uuid, 16) != 0 ||
        vq_apply_driver_by_name(define->driver) != head->driver)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG,
                               "the definition to be kept is not one of domain '%s'", head->name);
    if (!vq_apply_xml_is_usable(&define->xml, define->xml_size, define->xml_sealed != 0))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG,
                               "the definition of '%s' is empty, too long or damaged", head->name);
    return strcmp(define->name, head->name) == 0 ? 1 : vq_apply_require_free_name(apply, head, define->name);
}

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_end(struct vq_apply *apply, const Vq__DomainMoveEnd *end, const struct vq_domain_head *head)
{
    if (head->moving_to == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain '%s' is not being migrated",
                               head->name);
    if (head->moving_to != end->to || head->moving_run != end->run)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                               "that migration of domain '%s' is over, another one is under way", head->name);
    if (end->keep > VQ__DOMAIN_MOVE_END__KEEP__KEEP_TRANSIENT ||
        (!end->commit && (end->keep != VQ__DOMAIN_MOVE_END__KEEP__KEEP_AS_IS || end->define != NULL)))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "the end of the migration of '%s' makes no sense",
                               head->name);
    if (!end->commit)
        return 1; /* also when the destination is no member any more */
    int may = vq_apply_require_node(apply, end->to);
    return may > 0 && end->define != NULL ? check_kept(apply, end->define, head) : may;
}

/* The guest has stopped for those who look at the old owner's node alone; everybody hears of it in this place of the log. */
static void tell_commit(struct vq_apply *apply, const struct vq_domain_head *head, uint64_t old_owner)
{
    struct vq_change *change = vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_OWNER, head);

    change->old_owner = old_owner;
    change->moving_to = head->owner;
    change->n_events = 1;
    change->events[0].event = VIR_DOMAIN_EVENT_STOPPED;
    change->events[0].detail = VIR_DOMAIN_EVENT_STOPPED_MIGRATED;
}

static int keep_definition(struct vq_apply *apply, struct vq_head_copy *copy, const Vq__DomainDefine *define)
{
    struct vq_text_head text = {define->max_memory_kib, define->memory_kib, define->vcpus,
                                define->max_vcpus,      define->xml_size,   define->xml_sealed != 0};

    copy->head.version++;
    if (strcmp(copy->head.name, define->name) != 0) {
        vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_RENAMED, &copy->head)->new_name = vq_strdup(define->name);
        if (vq_record_rename(apply, copy, define->name) < 0)
            return -1;
    }
    return vq_record_write_text(apply, copy->head.uuid, &text, &define->xml);
}

/* What stands in the end beside the owner: the definition, and whether there is one after the run. */
static int apply_kept(struct vq_apply *apply, struct vq_head_copy *copy, const Vq__DomainMoveEnd *end, bool was_defined)
{
    bool is_defined = (copy->head.flags & VQ_DOMAIN_PERSISTENT) != 0;

    if (end->define != NULL && keep_definition(apply, copy, end->define) < 0)
        return -1;
    if (is_defined && (!was_defined || end->define != NULL))
        vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_DEFINED, &copy->head)->is_new = !was_defined;
    else if (was_defined && !is_defined)
        vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_UNDEFINED, &copy->head);
    return 0;
}

static int commit_move(struct vq_apply *apply, const Vq__DomainMoveEnd *end, struct vq_head_copy *copy)
{
    uint64_t old_owner = copy->head.owner;
    bool was_defined = (copy->head.flags & VQ_DOMAIN_PERSISTENT) != 0;

    copy->head.owner = end->to;
    copy->head.generation++;
    copy->head.run = end->run;
    vq_head_end_move(&copy->head);
    if (end->keep == VQ__DOMAIN_MOVE_END__KEEP__KEEP_PERSISTENT)
        copy->head.flags |= VQ_DOMAIN_PERSISTENT;
    else if (end->keep == VQ__DOMAIN_MOVE_END__KEEP__KEEP_TRANSIENT)
        vq_head_make_transient(&copy->head);
    tell_commit(apply, &copy->head, old_owner);
    return apply_kept(apply, copy, end, was_defined);
}

int vq_apply_domain_move_end(struct vq_apply *apply)
{
    const Vq__DomainMoveEnd *end = apply->command->domain_move_end;
    struct vq_head_copy copy;
    int may = vq_apply_require_domain(apply, &end->uuid, &copy);

    if (may <= 0 || (may = check_end(apply, end, &copy.head)) <= 0)
        return may;
    if (end->commit) {
        if (commit_move(apply, end, &copy) < 0)
            return -1;
    } else {
        vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_MOVE, &copy.head);
        vq_head_end_move(&copy.head);
    }
    if (vq_record_write(apply, &copy) < 0)
        return -1;
    vq_apply_succeed(apply, &copy.head, end->run, copy.head.id);
    return 0;
}
