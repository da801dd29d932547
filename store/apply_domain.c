/* Commands about domains. Each looks first and refuses before it writes. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/text.h"
#include "store/ids.h"
#include "store/record.h"

/* ---- DomainDefine ---- */

static int refuse_taken_name(struct vq_apply *apply, const struct vq_domain_head *other, int code)
{
    char uuid[VQ_UUID_TEXT];

    vq_uuid_format(other->uuid, uuid);
    memcpy(apply->result->uuid, other->uuid, 16);
    return vq_apply_refuse(apply, VQ_FROM, code, "domain '%s' already exists with uuid %s", other->name, uuid);
}

/* 1: may go on, *ret_old is the domain to redefine when *ret_is_new is false; 0 refused; -1 the store failed. */
static int check_define(struct vq_apply *apply, const Vq__DomainDefine *define, enum vq_driver_type driver,
                        struct vq_head_copy *ret_old, bool *ret_is_new)
{
    struct vq_head_copy named;
    char uuid[VQ_UUID_TEXT];
    int old = vq_record_read(apply, define->uuid.data, ret_old);
    int by_name = old < 0 ? -1 : vq_record_find_by_name(apply, (uint8_t)driver, define->name, &named);

    if (by_name < 0)
        return -1;
    *ret_is_new = old == 0;
    vq_uuid_format(define->uuid.data, uuid);
    if (by_name > 0 && memcmp(named.head.uuid, define->uuid.data, 16) != 0)
        return refuse_taken_name(apply, &named.head, VIR_ERR_OPERATION_FAILED);
    if (old > 0 && (ret_old->head.driver != driver || strcmp(ret_old->head.name, define->name) != 0))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED, "domain '%s' is already defined with uuid %s",
                               ret_old->head.name, uuid);
    if (old > 0 && define->must_be_new && vq_head_may_run(&ret_old->head))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain is already active as '%s'",
                               ret_old->head.name);
    if (old > 0 && (define->must_be_new || (!define->persistent && ret_old->head.flags & VQ_DOMAIN_PERSISTENT)))
        return refuse_taken_name(apply, &ret_old->head, VIR_ERR_OPERATION_FAILED);
    if (old == 0 && define->if_version != 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s'", uuid);
    if (old > 0 && define->if_version != 0 && define->if_version != ret_old->head.version) {
        apply->result->version = ret_old->head.version;
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED,
                               "the definition of domain '%s' was changed by somebody else at the same time",
                               define->name);
    }
    if (old > 0)
        return 1;
    if (vq_table_count(apply->store, apply->store->txn, VQ_TABLE_HEAD) >= VQ_STORE_DOMAINS_MAX)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED,
                               "the cluster has %d domains, the most that clients can list", VQ_STORE_DOMAINS_MAX);
    return vq_apply_require_node(apply, define->owner);
}

static void set_defined_values(struct vq_domain_head *head, const struct vq_text_head *text)
{
    head->max_memory_kib = text->max_memory_kib;
    head->memory_kib = text->memory_kib;
    head->vcpus = text->vcpus;
    head->max_vcpus = text->max_vcpus;
}

/* The run number starts at one that no earlier domain of this UUID had. */
static void make_head(struct vq_apply *apply, const Vq__DomainDefine *define, enum vq_driver_type driver,
                      struct vq_head_copy *ret)
{
    *ret = (struct vq_head_copy){0};
    memcpy(ret->head.uuid, define->uuid.data, 16);
    ret->head.owner = define->owner;
    ret->head.generation = 1;
    ret->head.run = vq_ids_cluster_run(++apply->store->meta.run_counter);
    ret->head.changed_ms = apply->command->time_ms;
    ret->head.id = -1;
    ret->head.driver = (uint8_t)driver;
    ret->head.state = VIR_DOMAIN_SHUTOFF;
    ret->head.format = VQ_DOMAIN_HEAD_FORMAT;
    ret->head.name_length = (uint32_t)strlen(define->name);
    memcpy(ret->head.name, define->name, ret->head.name_length);
}

int vq_apply_domain_define(struct vq_apply *apply)
{
    const Vq__DomainDefine *define = apply->command->domain_define;
    enum vq_driver_type driver = vq_apply_driver_by_name(define->driver);
    struct vq_head_copy copy;
    bool is_new = false;

    if (driver == VQ_DRIVER_NONE || define->uuid.len != 16 || !vq_uuid_is_usable(define->uuid.data))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "a definition needs a driver and a UUID");
    if (!vq_apply_name_is_usable(define->name))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_XML_ERROR, "'%s' cannot be the name of a domain", define->name);
    if (!vq_apply_xml_is_usable(&define->xml, define->xml_size, define->xml_sealed != 0))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG,
                               "the definition of '%s' is empty, too long or damaged", define->name);
    int may = check_define(apply, define, driver, &copy, &is_new);
    if (may <= 0)
        return may;

    struct vq_text_head text = {define->max_memory_kib, define->memory_kib, define->vcpus,
                                define->max_vcpus,      define->xml_size,   define->xml_sealed != 0};
    if (is_new)
        make_head(apply, define, driver, &copy);
    if (copy.head.id < 0)
        set_defined_values(&copy.head, &text);
    copy.head.version++;
    copy.head.flags |= define->persistent ? VQ_DOMAIN_PERSISTENT : 0;
    if (vq_record_write(apply, &copy) < 0 || vq_record_write_text(apply, copy.head.uuid, &text, &define->xml) < 0)
        return -1;
    if (is_new && vq_record_add_name(apply, &copy.head) < 0)
        return -1;
    vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_DEFINED, &copy.head)->is_new = is_new;
    vq_apply_succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}

/* ---- The others ---- */

int vq_apply_domain_undefine(struct vq_apply *apply)
{
    const Vq__DomainUndefine *undefine = apply->command->domain_undefine;
    struct vq_head_copy copy;
    int found = vq_apply_require_domain(apply, &undefine->uuid, &copy);

    if (found <= 0)
        return found;
    if ((copy.head.flags & VQ_DOMAIN_PERSISTENT) == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot undefine transient domain");
    if ((copy.head.flags & VQ_DOMAIN_MANAGED_SAVE) != 0 && (undefine->flags & VIR_DOMAIN_UNDEFINE_MANAGED_SAVE) == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                               "Refusing to undefine while domain managed save image exists");
    if (undefine->make_transient || vq_head_may_run(&copy.head)) {
        vq_head_make_transient(&copy.head); /* also one that is on its way to another node: it is so there, too */
        if (vq_record_write(apply, &copy) < 0)
            return -1;
    } else if (vq_record_remove(apply, &copy) < 0) {
        return -1;
    }
    vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_UNDEFINED, &copy.head);
    vq_apply_succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}

static void set_flag(struct vq_domain_head *head, bool is_given, bool value, uint32_t flag)
{
    if (is_given)
        head->flags = value ? head->flags | flag : head->flags & ~flag;
}

int vq_apply_domain_settings(struct vq_apply *apply)
{
    const Vq__DomainSettings *settings = apply->command->domain_settings;
    struct vq_head_copy copy;
    int found = vq_apply_require_domain(apply, &settings->uuid, &copy);

    if (found <= 0)
        return found;
    if ((copy.head.flags & VQ_DOMAIN_PERSISTENT) == 0 && (settings->has_autostart || settings->has_autostart_once))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot set autostart for transient domain");
    set_flag(&copy.head, settings->has_autostart, settings->autostart, VQ_DOMAIN_AUTOSTART);
    set_flag(&copy.head, settings->has_managed_save, settings->managed_save, VQ_DOMAIN_MANAGED_SAVE);
    set_flag(&copy.head, settings->has_autostart_once, settings->autostart_once, VQ_DOMAIN_AUTOSTART_ONCE);
    if (vq_record_write(apply, &copy) < 0)
        return -1;
    vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_SETTINGS, &copy.head);
    vq_apply_succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}

/* The next id that no domain has now; there are more ids than domains. */
static int next_id(struct vq_apply *apply, int32_t *ret_id)
{
    struct vq_store_meta *meta = &apply->store->meta;
    uint8_t uuid[16];
    int found;

    do {
        meta->last_id = meta->last_id % VQ_ID_CLUSTER_MAX + 1;
        found = vq_record_find_by_id(apply, (int32_t)meta->last_id, uuid);
    } while (found > 0);
    *ret_id = (int32_t)meta->last_id;
    return found;
}

int vq_apply_domain_run(struct vq_apply *apply)
{
    const Vq__DomainRun *run = apply->command->domain_run;
    struct vq_store_meta *meta = &apply->store->meta;
    struct vq_head_copy copy;
    uint8_t holder[16];
    int32_t id = run->local_id;
    int found = vq_apply_require_domain(apply, &run->uuid, &copy);

    if (found <= 0 || (found = vq_apply_require_owner(apply, &copy.head, run->node, run->if_generation)) <= 0)
        return found;
    if (run->local_run != 0 && run->local_run <= copy.head.run)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain '%s' has had a later run",
                               copy.head.name);
    if (run->local_run == 0) {
        copy.head.run = vq_ids_cluster_run(++meta->run_counter);
    } else {
        copy.head.run = run->local_run;
        if (meta->run_counter < run->local_run >> VQ_RUN_LOCAL_BITS)
            meta->run_counter = run->local_run >> VQ_RUN_LOCAL_BITS;
    }
    /* The report that it runs comes after QEMU does: until then nobody may take the domain away under it. */
    copy.head.flags |= VQ_DOMAIN_CLAIMED;
    /* The run that was on its way to another node is over for its owner, even if the report of its end comes later. */
    uint64_t moving_to = copy.head.moving_to;
    vq_head_end_move(&copy.head);
    found = run->local_run == 0 || id <= 0 ? 1 : vq_record_find_by_id(apply, id, holder);
    if (found < 0 || (found > 0 && next_id(apply, &id) < 0) || vq_record_write(apply, &copy) < 0)
        return -1;
    if (moving_to != 0)
        vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_MOVE, &copy.head)->moving_to = moving_to;
    vq_apply_succeed(apply, &copy.head, copy.head.run, id);
    return 0;
}

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_state(struct vq_apply *apply, const Vq__DomainState *state, const struct vq_domain_head *head)
{
    uint8_t holder[16];

    if (state->node != head->owner)
        return vq_apply_refuse_owner(apply, head, state->node);
    if (state->run < head->run)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "the report is about an earlier run of '%s'",
                               head->name);
    if (state->state > VIR_DOMAIN_PMSUSPENDED || state->reason > UINT8_MAX || state->id < -1 ||
        state->n_events > VQ_CHANGE_EVENTS_MAX)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG, "the report about '%s' makes no sense", head->name);
    int found = state->id < 0 ? 0 : vq_record_find_by_id(apply, state->id, holder);
    if (found > 0 && memcmp(holder, head->uuid, 16) != 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_FAILED, "id %d of '%s' is another domain's", state->id,
                               head->name);
    return found < 0 ? -1 : 1;
}

static int put_state(struct vq_apply *apply, const Vq__DomainState *state, struct vq_head_copy *copy)
{
    struct vq_domain_head *head = &copy->head;
    struct vq_text_head text;

    if (vq_record_read_text(apply, head->uuid, &text) < 0 || vq_record_set_id(apply, head, state->id) < 0)
        return -1;
    set_defined_values(head, &text);
    if (state->id >= 0) {
        head->max_memory_kib = state->max_memory_kib != 0 ? state->max_memory_kib : head->max_memory_kib;
        head->memory_kib = state->memory_kib != 0 ? state->memory_kib : head->memory_kib;
        head->vcpus = state->vcpus != 0 ? state->vcpus : head->vcpus;
    }
    if (state->id < 0 || state->run != head->run)
        vq_head_end_move(head); /* what was on its way is no more */
    head->run = state->run;
    head->state = (uint8_t)state->state;
    head->reason = (uint8_t)state->reason;
    head->changed_ms = apply->command->time_ms;
    set_flag(head, true, state->was_updated && state->id >= 0, VQ_DOMAIN_UPDATED);
    set_flag(head, true, false, VQ_DOMAIN_CLAIMED);
    return vq_record_write(apply, copy);
}

int vq_apply_domain_state(struct vq_apply *apply)
{
    const Vq__DomainState *state = apply->command->domain_state;
    struct vq_head_copy copy;
    int found = vq_apply_require_domain(apply, &state->uuid, &copy);

    if (found <= 0 || (found = check_state(apply, state, &copy.head)) <= 0)
        return found;
    int32_t old_id = copy.head.id;
    uint64_t moving_to = copy.head.moving_to;
    /* The owner may not have known yet that the domain was undefined when it reported the end of the guest: what is off
     * and not defined is no more, whatever the report says of it. */
    bool is_over = state->gone || (vq_head_may_run(&copy.head) && state->id < 0);
    bool is_gone = is_over && (copy.head.flags & VQ_DOMAIN_PERSISTENT) == 0;
    if ((is_gone ? vq_record_remove(apply, &copy) : put_state(apply, state, &copy)) < 0)
        return -1;
    uint64_t counter = copy.head.run >> VQ_RUN_LOCAL_BITS;
    if (apply->store->meta.run_counter < counter)
        apply->store->meta.run_counter = counter; /* a start without a quorum that was only reported */
    struct vq_change *change = vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_STATE, &copy.head);
    change->id = state->id >= 0 ? state->id : old_id;
    change->run = state->run;
    change->moving_to = moving_to;
    change->is_gone = is_gone;
    change->mesh_sequence = state->mesh_sequence;
    change->n_events = (uint8_t)state->n_events;
    for (size_t i = 0; i < state->n_events; i++) {
        change->events[i].event = (uint8_t)state->events[i]->event;
        change->events[i].detail = (uint8_t)state->events[i]->detail;
    }
    vq_apply_succeed(apply, &copy.head, state->run, copy.head.id);
    return 0;
}

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_rename(struct vq_apply *apply, const Vq__DomainRename *rename, const struct vq_domain_head *head)
{
    if (!vq_apply_xml_is_usable(&rename->xml, rename->xml_size, rename->xml_sealed != 0))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_INVALID_ARG,
                               "the definition of '%s' is empty, too long or damaged", rename->new_name);
    if ((head->flags & VQ_DOMAIN_PERSISTENT) == 0)
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot rename a transient domain");
    if (vq_head_may_run(head))
        return vq_apply_refuse(apply, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cannot rename active domain");
    return vq_apply_require_free_name(apply, head, rename->new_name);
}

int vq_apply_domain_rename(struct vq_apply *apply)
{
    const Vq__DomainRename *rename = apply->command->domain_rename;
    struct vq_head_copy copy;
    struct vq_text_head text;
    int found = vq_apply_require_domain(apply, &rename->uuid, &copy);

    if (found <= 0 || (found = check_rename(apply, rename, &copy.head)) <= 0)
        return found;
    if (vq_record_read_text(apply, copy.head.uuid, &text) < 0)
        return -1;
    struct vq_change *change = vq_apply_domain_change(apply, VQ_CHANGE_DOMAIN_RENAMED, &copy.head);
    change->new_name = vq_strdup(rename->new_name);
    text.xml_size = rename->xml_size;
    text.is_sealed = rename->xml_sealed != 0;
    copy.head.version++;
    if (vq_record_rename(apply, &copy, rename->new_name) < 0 || vq_record_write(apply, &copy) < 0 ||
        vq_record_write_text(apply, copy.head.uuid, &text, &rename->xml) < 0)
        return -1;
    vq_apply_succeed(apply, &copy.head, copy.head.owner, copy.head.id);
    return 0;
}
