/* vCPUs that the guest has on or off: see guest_vcpus.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/cpuset.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/guest_vcpus.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/params.h"
#include "proto/gen/remote.h"

enum { VCPUS_MAX = 4096, PARAMS_MAX = 64 };

struct vcpu {
    uint32_t id;
    bool is_online, can_offline, is_changed;
};

/* One request about vCPUs. The goal fails the request, answers it, or leaves it when changes are to be told to the guest. */
struct work {
    struct vq_request *request;
    struct vcpu *list;
    size_t n;
    void (*goal)(struct work *work);
    bool is_maximum;
    int32_t *ret_n;          /* of a count */
    uint32_t wanted;         /* of a new count */
    size_t told;             /* vCPUs of the list that the guest was told of */
};

/* ---- What the guest says ---- */

static int malformed(struct vq_error *err, const char *member)
{
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'%s' missing in reply of guest-get-vcpus", member);
}

/* {"logical-id": 0, "online": true, "can-offline": false} */
static int read_vcpu(json_t *entry, struct vcpu *vcpu, struct vq_error *err)
{
    json_t *id = json_object_get(entry, "logical-id"), *online = json_object_get(entry, "online");

    if (!json_is_integer(id))
        return malformed(err, "logical-id");
    if (json_integer_value(id) < 0 || json_integer_value(id) >= VCPUS_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "vcpu id '%lld' reported by guest agent is out of range",
                            (long long)json_integer_value(id));
    if (!json_is_boolean(online))
        return malformed(err, "online");
    *vcpu = (struct vcpu){ .id = (uint32_t)json_integer_value(id), .is_online = json_is_true(online),
                           .can_offline = json_is_true(json_object_get(entry, "can-offline")) };
    return 0;
}

static int read_vcpus(struct work *work, json_t *list, struct vq_error *err)
{
    size_t i;
    json_t *entry;

    if (!json_is_array(list) || json_array_size(list) > VCPUS_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "guest-get-vcpus reply was missing return data");
    work->n = json_array_size(list);
    work->list = vq_arena_alloc(work->request->arena, work->n + 1, sizeof(*work->list));
    if (work->list == NULL)
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
    json_array_foreach(list, i, entry)
        if (read_vcpu(entry, &work->list[i], err) < 0)
            return -1;
    return 0;
}

static void vcpus_known(const struct vq_agent_answer *answer, void *data)
{
    struct work *work = data;
    struct vq_error err = VQ_ERROR_INIT;

    if (answer->err != NULL)
        vq_request_fail(work->request, answer->err);
    else if (read_vcpus(work, answer->value, &err) < 0)
        vq_request_fail(work->request, &err);
    else
        work->goal(work);
}

static void ask(struct vq_request *request, struct vq_qemu_guest *guest, const struct work *template)
{
    struct work *work = vq_qemu_request_alloc(request, sizeof(*work));

    if (work == NULL)
        return;
    *work = *template;
    work->request = request;
    vq_agent_call(guest, "guest-get-vcpus", NULL, guest->agent_timeout, vcpus_known, work);
}

/* ---- What the guest is told ---- */

static void tell(struct work *work);

/* The agent does them in order, and says how many; the first that it could not do is told again and gives the error. */
static void told(const struct vq_agent_answer *answer, void *data)
{
    struct work *work = data;
    json_int_t n = json_integer_value(answer->value);

    if (answer->err != NULL) {
        vq_request_fail(work->request, answer->err);
        return;
    }
    if (!json_is_integer(answer->value) || n <= 0 || n > VCPUS_MAX) {
        vq_qemu_refuse(work->request, VQ_FROM, VIR_ERR_INTERNAL_ERROR, "guest agent returned malformed or invalid return value");
        return;
    }
    for (; n > 0 && work->told < work->n; work->told++)
        n -= work->list[work->told].is_changed;
    tell(work);
}

static void tell(struct work *work)
{
    struct vq_qemu_guest *guest;
    json_t *list = json_array();

    for (size_t i = work->told; i < work->n; i++)
        if (work->list[i].is_changed)
            (void)json_array_append_new(list, json_pack("{s:I,s:b}", "logical-id", (json_int_t)work->list[i].id, "online",
                                                        work->list[i].is_online));
    if (json_array_size(list) == 0) {
        json_decref(list);
        vq_request_reply(work->request);
        return;
    }
    guest = vq_agent_guest_of(work->request);
    if (guest == NULL)
        json_decref(list);
    else
        vq_agent_call(guest, "guest-set-vcpus", json_pack("{s:o}", "vcpus", list), guest->agent_timeout, told, work);
}

/* ---- Counts ---- */

static void count(struct work *work)
{
    size_t n = 0;

    for (size_t i = 0; i < work->n; i++)
        n += work->list[i].is_online || work->is_maximum;
    *work->ret_n = (int32_t)n;
    vq_request_reply(work->request);
}

void vq_guest_vcpus_count(struct vq_request *request, struct vq_qemu_guest *guest, bool is_maximum, int32_t *ret_n)
{
    ask(request, guest, &(struct work){ .goal = count, .is_maximum = is_maximum, .ret_n = ret_n });
}

static void switch_some(struct work *work, size_t online)
{
    for (size_t i = 0; i < work->n && work->wanted != online; i++) {
        struct vcpu *vcpu = &work->list[i];

        if (work->wanted > online ? vcpu->is_online : !vcpu->is_online || !vcpu->can_offline)
            continue;
        vcpu->is_online = !vcpu->is_online;
        vcpu->is_changed = true;
        vcpu->is_online ? online++ : online--;
    }
}

static void set_count(struct work *work)
{
    size_t online = 0, fixed = 0;
    const char *why = NULL;

    for (size_t i = 0; i < work->n; i++) {
        online += work->list[i].is_online;
        fixed += work->list[i].is_online && !work->list[i].can_offline;
        if (!work->list[i].is_online && !work->list[i].can_offline)
            why = "Invalid data provided by guest agent";
    }
    if (why == NULL && work->wanted > work->n)
        why = "guest agent reports less cpu than requested";
    else if (why == NULL && work->wanted < fixed)
        why = "Cannot offline enough CPUs";
    if (why != NULL) {
        vq_qemu_refuse(work->request, VQ_FROM, VIR_ERR_INTERNAL_ERROR, "%s", why);
        return;
    }
    switch_some(work, online);
    tell(work);
}

void vq_guest_vcpus_set_count(struct vq_request *request, struct vq_qemu_guest *guest, uint32_t n)
{
    ask(request, guest, &(struct work){ .goal = set_count, .wanted = n });
}

/* ---- Which ---- */

static void add_set(struct vq_params *params, const struct vq_cpuset *set, const char *name)
{
    char *text = vq_cpuset_format(set);

    vq_params_text(params, text, "%s", name);
    free(text);
}

static void show(struct work *work)
{
    struct vq_remote_domain_get_guest_vcpus_ret *ret = work->request->ret;
    struct vq_params params = { .arena = work->request->arena, .max = PARAMS_MAX };
    struct vq_cpuset all = { 0 }, online = { 0 }, offlinable = { 0 };
    struct vq_error err = VQ_ERROR_INIT;

    for (size_t i = 0; i < work->n; i++) {
        vq_cpuset_add(&all, work->list[i].id);
        if (work->list[i].is_online)
            vq_cpuset_add(&online, work->list[i].id);
        if (work->list[i].can_offline)
            vq_cpuset_add(&offlinable, work->list[i].id);
    }
    add_set(&params, &all, "vcpus");
    add_set(&params, &online, "online");
    add_set(&params, &offlinable, "offlinable");
    if (vq_params_check(&params, &err) < 0) {
        vq_request_fail(work->request, &err);
        return;
    }
    ret->params = params.list;
    ret->n_params = params.n;
    vq_request_reply(work->request);
}

static void domain_get_guest_vcpus(struct vq_request *request)
{
    const struct vq_remote_domain_get_guest_vcpus_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = vq_agent_guest_of(request)) != NULL)
        ask(request, guest, &(struct work){ .goal = show });
}

static void set_some(struct work *work)
{
    const struct vq_remote_domain_set_guest_vcpus_args *args = work->request->args;
    struct vq_cpuset left;
    VQ_AUTOFREE char *text = NULL;

    if (!vq_cpuset_parse(args->cpumap, VCPUS_MAX, &left))
        memset(&left, 0, sizeof(left)); /* it was read before the guest was asked */
    for (size_t i = 0; i < work->n; i++) {
        struct vcpu *vcpu = &work->list[i];

        if (!vq_cpuset_has(&left, vcpu->id))
            continue;
        vq_cpuset_remove(&left, vcpu->id);
        vcpu->is_changed = vcpu->is_online != (args->state == 1);
        vcpu->is_online = args->state == 1;
    }
    if (vq_cpuset_count(&left) == 0) {
        tell(work);
        return;
    }
    text = vq_cpuset_format(&left);
    vq_qemu_refuse(work->request, VQ_FROM, VIR_ERR_INVALID_ARG, "guest is missing vCPUs '%s'", text);
}

static void domain_set_guest_vcpus(struct vq_request *request)
{
    const struct vq_remote_domain_set_guest_vcpus_args *args = request->args;
    struct vq_qemu_guest *guest;
    struct vq_cpuset set;

    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if (args->state != 0 && args->state != 1)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "unsupported state value");
    else if (!vq_cpuset_parse(args->cpumap, VCPUS_MAX, &set))
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "Failed to parse bitmap '%s'", args->cpumap);
    else if ((guest = vq_agent_guest_of(request)) != NULL)
        ask(request, guest, &(struct work){ .goal = set_some });
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_GET_GUEST_VCPUS, domain_get_guest_vcpus),
    ROW(DOMAIN_SET_GUEST_VCPUS, domain_set_guest_vcpus),
};
const struct vq_qemu_rows vq_qemu_guest_vcpus_rows = { rows, VQ_N_ELEMENTS(rows) };
