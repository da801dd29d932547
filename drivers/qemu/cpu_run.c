/* A model is a wish: QEMU leaves out what the accelerator cannot do, and every guest has the sign that it is one. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/cpu_run.h"

#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/cpu_xml.h"

struct supply {
    const struct vq_qemu_capabilities *caps;
    bool is_kvm;
    const struct vq_cpu_facts *cpu; /* all that the accelerator gives; NULL: not known */
};

static struct supply supply_of(const struct vq_domain *def, const struct vq_qemu_capabilities *caps)
{
    struct supply supply = {caps, def->type == VQ_VIRT_KVM, NULL};
    const struct vq_cpu_facts *cpu = supply.is_kvm ? &caps->kvm.cpu : &caps->cpu;
    bool is_x86 = vq_streq(def->os.arch, "x86_64") || vq_streq(def->os.arch, "i686");

    if (is_x86 && def->cpu != NULL && vq_cpu_set_count(&cpu->features) > 0)
        supply.cpu = cpu;
    return supply;
}

static bool is_allowed(const char *model, void *data)
{
    const struct supply *supply = data;

    return vq_qemu_capabilities_knows_model(supply->caps, supply->is_kvm, model);
}

static bool is_wanted(const struct vq_cpu_feature *feature)
{
    return feature->policy == VQ_CPU_POLICY_UNSET || feature->policy == VQ_CPU_POLICY_FORCE ||
           feature->policy == VQ_CPU_POLICY_REQUIRE;
}

static void settle_optional(struct vq_cpu *cpu, const struct supply *supply)
{
    for (size_t i = 0; i < cpu->n_features; i++) {
        int feature = vq_cpu_feature_find(cpu->features[i]->name);
        if (cpu->features[i]->policy != VQ_CPU_POLICY_OPTIONAL || feature < 0)
            continue;
        bool is_there = vq_cpu_set_has(&supply->cpu->features, (size_t)feature);
        cpu->features[i]->policy = is_there ? VQ_CPU_POLICY_REQUIRE : VQ_CPU_POLICY_DISABLE;
    }
}

void vq_qemu_cpu_update(struct vq_domain *def, const struct vq_qemu_capabilities *caps)
{
    struct supply supply = supply_of(def, caps);

    if (supply.cpu == NULL)
        return;
    if (def->cpu->mode == VQ_CPU_MODE_HOST_MODEL ||
        (def->cpu->mode == VQ_CPU_MODE_CUSTOM && def->cpu->match == VQ_CPU_MATCH_MINIMUM))
        (void)vq_cpu_expand_host_model(def->cpu, supply.cpu, is_allowed, &supply); /* else it stays what it was */
    if (def->cpu->mode == VQ_CPU_MODE_CUSTOM)
        settle_optional(def->cpu, &supply);
}

/* ---- What is demanded ---- */

/* The model with the features beside it; false: the model is not one of ours. */
static bool wanted_of(const struct vq_cpu *cpu, struct vq_cpu_set *ret)
{
    const struct vq_cpu_model_fact *model = cpu->model == NULL ? NULL : vq_cpu_model_find(cpu->model);

    if (cpu->mode != VQ_CPU_MODE_CUSTOM || model == NULL)
        return false;
    *ret = *vq_cpu_model_features(model);
    for (size_t i = 0; i < cpu->n_features; i++) {
        int feature = vq_cpu_feature_find(cpu->features[i]->name);
        if (feature >= 0)
            vq_cpu_set_put(ret, (size_t)feature, is_wanted(cpu->features[i]));
    }
    return true;
}

static int check_names(const struct vq_cpu *cpu, struct vq_error *err)
{
    for (size_t i = 0; i < cpu->n_features; i++) /* details of nested guests are QEMU's to know */
        if (vq_cpu_feature_find(cpu->features[i]->name) < 0 && strncmp(cpu->features[i]->name, "vmx-", 4) != 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown CPU feature: %s", cpu->features[i]->name);
    return 0;
}

static void add_names(struct vq_buffer *text, const struct vq_cpu_set *set, const char *between)
{
    const char *mark = "";

    for (size_t i = 0; i < vq_n_cpu_features; i++) {
        if (!vq_cpu_set_has(set, i))
            continue;
        vq_buffer_addf(text, "%s%s", mark, vq_cpu_features[i].name);
        mark = between;
    }
}

/* What the definition forbids and the host has. */
static struct vq_cpu_set forbidden_of(const struct vq_cpu *cpu, const struct supply *supply)
{
    struct vq_cpu_set set = {{0}};

    for (size_t i = 0; i < cpu->n_features; i++) {
        int feature = vq_cpu_feature_find(cpu->features[i]->name);
        if (feature >= 0 && cpu->features[i]->policy == VQ_CPU_POLICY_FORBID)
            vq_cpu_set_put(&set, (size_t)feature, true);
    }
    vq_cpu_set_keep(&set, &supply->cpu->features);
    return set;
}

static int check_supply(const struct vq_cpu *cpu, const struct supply *supply, struct vq_error *err)
{
    struct vq_cpu_set lacking, forbidden = forbidden_of(cpu, supply);
    VQ_AUTOBUFFER names = VQ_BUFFER_INIT;

    if (cpu->check != VQ_CPU_CHECK_PARTIAL && cpu->check != VQ_CPU_CHECK_FULL)
        return 0; /* QEMU leaves out what it cannot give */
    if (cpu->check == VQ_CPU_CHECK_PARTIAL && vq_cpu_set_count(&forbidden) > 0) {
        add_names(&names, &forbidden, ", ");
        return vq_error_set(err, VIR_ERR_CPU_INCOMPATIBLE, "Host CPU provides forbidden features: %s", names.data);
    }
    if (!wanted_of(cpu, &lacking))
        return 0;
    vq_cpu_set_remove(&lacking, &supply->cpu->features);
    if (vq_cpu_set_count(&lacking) == 0)
        return 0;
    if (cpu->check == VQ_CPU_CHECK_PARTIAL) {
        add_names(&names, &lacking, ", ");
        return vq_error_set(err, VIR_ERR_CPU_INCOMPATIBLE, "Host CPU does not provide required features: %s",
                            names.data);
    }
    add_names(&names, &lacking, ",");
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "guest CPU doesn't match specification: missing features: %s",
                        names.data);
}

int vq_qemu_cpu_begin_run(struct vq_domain *live, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    struct supply supply = supply_of(live, caps);

    if (supply.cpu == NULL)
        return 0;
    if (check_names(live->cpu, err) < 0)
        return -1;
    vq_qemu_cpu_update(live, caps);
    return check_supply(live->cpu, &supply, err);
}

/* ---- What it gets ---- */

static void put_feature(struct vq_cpu *cpu, size_t feature, bool is_in)
{
    enum vq_cpu_policy policy = is_in ? VQ_CPU_POLICY_REQUIRE : VQ_CPU_POLICY_DISABLE;

    for (size_t i = 0; i < cpu->n_features; i++)
        if (vq_cpu_feature_find(cpu->features[i]->name) == (int)feature) {
            cpu->features[i]->policy = policy;
            return;
        }
    cpu->features = vq_realloc(cpu->features, cpu->n_features + 1, sizeof(struct vq_cpu_feature *));
    cpu->features[cpu->n_features] = vq_new(struct vq_cpu_feature);
    cpu->features[cpu->n_features]->policy = policy;
    cpu->features[cpu->n_features++]->name = vq_strdup(vq_cpu_features[feature].name);
}

static bool is_named(const struct vq_cpu *cpu, size_t feature)
{
    for (size_t i = 0; i < cpu->n_features; i++)
        if (vq_cpu_feature_find(cpu->features[i]->name) == (int)feature)
            return true;
    return false;
}

void vq_qemu_cpu_settle(struct vq_domain *live, const struct vq_qemu_capabilities *caps)
{
    struct supply supply = supply_of(live, caps);
    int hypervisor = vq_cpu_feature_find("hypervisor");
    struct vq_cpu *cpu = live->cpu;
    struct vq_cpu_set has;

    if (supply.cpu == NULL || !wanted_of(cpu, &has))
        return;
    const struct vq_cpu_set *model = vq_cpu_model_features(vq_cpu_model_find(cpu->model));
    if (!is_named(cpu, (size_t)hypervisor))
        vq_cpu_set_put(&has, (size_t)hypervisor, true);
    vq_cpu_set_keep(&has, &supply.cpu->features);
    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (is_named(cpu, i) || vq_cpu_set_has(&has, i) != vq_cpu_set_has(model, i))
            put_feature(cpu, i, vq_cpu_set_has(&has, i));
    cpu->match = VQ_CPU_MATCH_EXACT;
    cpu->check = VQ_CPU_CHECK_FULL;
    cpu->fallback = VQ_CPU_FALLBACK_FORBID;
}

char *vq_qemu_cpu_migratable_xml(const struct vq_domain *live)
{
    VQ_AUTOPTR(vq_domain) copy = vq_domain_copy(live);

    if (copy->cpu != NULL && copy->cpu->check == VQ_CPU_CHECK_FULL)
        copy->cpu->check = VQ_CPU_CHECK_PARTIAL;
    return vq_domain_format(copy, VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE);
}
