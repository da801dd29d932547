/* <cpu>: reading, comparing, finding what several have in common. Reference: libvirt "Domain XML format", CPU model. */
#define VQ_FROM VIR_FROM_CPU
#include "drivers/qemu/cpu_xml.h"

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/macros.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "conf/xml.h"

/* ---- Reading ---- */

static const char *attr_of(const struct vq_xml_node *node, const char *name)
{
    const struct vq_xml_attr *attr = vq_xml_attr_find(node, name);

    return attr == NULL ? NULL : attr->value;
}

/* The text of a child, without blanks around; false: there is none, or it is too long for its place. */
static bool read_child(const struct vq_xml_node *cpu, const char *name, char *place, size_t size)
{
    VQ_AUTOBUFFER scratch = VQ_BUFFER_INIT;
    const struct vq_xml_node *child = vq_xml_child(cpu, name);
    const char *text = child == NULL ? NULL : vq_xml_text(child, &scratch);

    place[0] = '\0';
    if (text == NULL)
        return false;
    text += strspn(text, " \t\n");
    size_t length = strcspn(text, " \t\n");
    if (length == 0 || length >= size)
        return false;
    (void)snprintf(place, size, "%.*s", (int)length, text);
    return true;
}

/* What each policy does with the feature. A host lists what it has, without policies. */
static int apply_feature(const struct vq_xml_node *node, struct vq_cpu_description *cpu, struct vq_cpu_set *named,
                         struct vq_error *err)
{
    static const struct {
        const char *policy;
        bool is_in, is_out, is_forbidden;
    } policies[] = {{"force", true, false, false},
                    {"require", true, false, false},
                    {"optional", false, false, false},
                    {"disable", false, true, false},
                    {"forbid", false, true, true}};
    const char *name = attr_of(node, "name"), *policy = attr_of(node, "policy");
    size_t i = 0;

    if (name == NULL || name[0] == '\0')
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid CPU feature name");
    int feature = vq_cpu_feature_find(name);
    if (feature < 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Unknown CPU feature %.64s", name);
    if (vq_cpu_set_has(named, (size_t)feature))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "CPU feature '%.64s' specified more than once", name);
    vq_cpu_set_put(named, (size_t)feature, true);
    while (policy != NULL && i < VQ_N_ELEMENTS(policies) && strcmp(policies[i].policy, policy) != 0)
        i++;
    if (i == VQ_N_ELEMENTS(policies))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Invalid CPU feature policy");
    if (policy == NULL)
        i = 1;
    if (policies[i].is_in || policies[i].is_out)
        vq_cpu_set_put(&cpu->facts.features, (size_t)feature, policies[i].is_in);
    if (policies[i].is_forbidden)
        vq_cpu_set_put(&cpu->forbidden, (size_t)feature, true);
    return 0;
}

static bool is_x86(const char *arch)
{
    return arch[0] == '\0' || strcmp(arch, "x86_64") == 0 || strcmp(arch, "i686") == 0;
}

static int read_model(const struct vq_xml_node *root, struct vq_cpu_description *cpu, struct vq_error *err)
{
    if (!read_child(root, "model", cpu->model, sizeof(cpu->model))) {
        if (vq_xml_child(root, "model") != NULL || cpu->arch[0] != '\0')
            return vq_error_set(err, VIR_ERR_XML_ERROR, "Missing CPU model name");
        return 0; /* any CPU will do */
    }
    const struct vq_cpu_model_fact *model = vq_cpu_model_find(cpu->model);
    if (!is_x86(cpu->arch))
        return 0; /* it is compared by its architecture alone */
    if (model == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Unknown CPU model %s", cpu->model);
    cpu->facts.features = *vq_cpu_model_features(model);
    return 0;
}

static int read_kind(const struct vq_xml_node *root, struct vq_cpu_description *cpu, struct vq_error *err)
{
    static const char *const matches[] = {"minimum", "exact", "strict"};
    const char *match = attr_of(root, "match");
    bool is_known = match == NULL;

    for (size_t i = 0; match != NULL && i < VQ_N_ELEMENTS(matches); i++)
        is_known = is_known || strcmp(matches[i], match) == 0;
    if (!is_known)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute 'match' in element 'cpu': '%.64s'.",
                            match);
    cpu->is_guest = match != NULL || attr_of(root, "mode") != NULL;
    cpu->is_strict = match != NULL && strcmp(match, "strict") == 0;
    if (match != NULL && vq_xml_child(root, "arch") != NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "'arch' element cannot be used inside 'cpu' element with 'match' attribute'");
    return 0;
}

static int check_elements(const struct vq_xml_node *root, struct vq_error *err)
{
    static const char *const known[] = {"arch",    "model", "vendor",    "topology",  "cache",   "maxphysaddr",
                                        "feature", "numa",  "microcode", "signature", "counter", "pages"};

    for (const struct vq_xml_node *node = vq_xml_first_element(root); node != NULL; node = vq_xml_element_after(node)) {
        bool is_known = false;
        for (size_t i = 0; i < VQ_N_ELEMENTS(known); i++)
            is_known = is_known || strcmp(known[i], node->name) == 0;
        if (!is_known)
            return vq_error_set(err, VIR_ERR_XML_INVALID_SCHEMA, "line %u: unknown element <%.64s> in <cpu>",
                                node->line, node->name);
    }
    return 0;
}

static int read_root(const struct vq_xml_node *root, struct vq_cpu_description *cpu, struct vq_error *err)
{
    struct vq_cpu_set named = {{0}};

    (void)read_child(root, "arch", cpu->arch, sizeof(cpu->arch));
    if (read_kind(root, cpu, err) < 0 || read_model(root, cpu, err) < 0)
        return -1;
    (void)read_child(root, "vendor", cpu->facts.vendor, sizeof(cpu->facts.vendor));
    for (const struct vq_xml_node *node = vq_xml_first_element(root); node != NULL; node = vq_xml_element_after(node))
        if (strcmp(node->name, "feature") == 0 && apply_feature(node, cpu, &named, err) < 0)
            return -1;
    return 0;
}

int vq_cpu_description_read(const char *xml, bool is_checked, struct vq_cpu_description *ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;
    struct vq_cpu_description cpu = {0};

    if (vq_xml_read(xml, "CPU_definition", NULL, &doc, err) < 0)
        return -1;
    const struct vq_xml_node *root = vq_xml_root(doc);
    if (strcmp(root->name, "cpu") != 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "XML does not contain expected 'cpu' element");
    if ((is_checked && check_elements(root, err) < 0) || read_root(root, &cpu, err) < 0)
        return -1;
    *ret = cpu;
    return 0;
}

static const struct vq_xml_node *find_host_model(const struct vq_xml_node *root)
{
    const struct vq_xml_node *cpu = vq_xml_child(root, "cpu");
    const struct vq_xml_node *mode = cpu == NULL ? NULL : vq_xml_first_element(cpu);

    while (mode != NULL && !(strcmp(mode->name, "mode") == 0 && vq_streq(attr_of(mode, "name"), "host-model")))
        mode = vq_xml_element_after(mode);
    return mode == NULL || vq_xml_child(mode, "model") == NULL ? NULL : mode;
}

int vq_cpu_description_of_capabilities(const char *xml, struct vq_cpu_description *ret, bool *ret_is_kvm, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;
    struct vq_cpu_description cpu = {.is_guest = true};
    char type[16];

    if (vq_xml_read(xml, "domain_capabilities", "domainCapabilities", &doc, err) < 0)
        return -1;
    const struct vq_xml_node *mode = find_host_model(vq_xml_root(doc));
    if (mode == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "its emulator has no host-model");
    if (read_root(mode, &cpu, err) < 0)
        return -1;
    cpu.is_guest = true;
    *ret_is_kvm = read_child(vq_xml_root(doc), "domain", type, sizeof(type)) && strcmp(type, "kvm") == 0;
    *ret = cpu;
    return 0;
}

/* ---- Comparing ---- */

static void add_names(struct vq_buffer *text, const struct vq_cpu_set *set)
{
    const char *between = "";

    for (size_t i = 0; i < vq_n_cpu_features; i++) {
        if (!vq_cpu_set_has(set, i))
            continue;
        vq_buffer_addf(text, "%s%s", between, vq_cpu_features[i].name);
        between = ", ";
    }
}

static bool is_same_arch(const char *host, const char *wanted)
{
    bool is_x86 = strcmp(host, "x86_64") == 0 && strcmp(wanted, "i686") == 0;

    return wanted[0] == '\0' || strcmp(host, wanted) == 0 || is_x86;
}

int vq_cpu_compare(const struct vq_cpu_facts *host, const char *host_arch, const struct vq_cpu_description *wanted,
                   struct vq_buffer *ret_why)
{
    struct vq_cpu_set lacking = wanted->facts.features, extra = host->features, forbidden = wanted->forbidden;

    if (!is_same_arch(host_arch, wanted->arch)) {
        vq_buffer_addf(ret_why, "CPU arch %s does not match host arch", wanted->arch);
        return VIR_CPU_COMPARE_INCOMPATIBLE;
    }
    if (wanted->facts.vendor[0] != '\0' && strcmp(wanted->facts.vendor, host->vendor) != 0) {
        vq_buffer_addf(ret_why, "host CPU vendor does not match required CPU vendor %s", wanted->facts.vendor);
        return VIR_CPU_COMPARE_INCOMPATIBLE;
    }
    vq_cpu_set_keep(&forbidden, &host->features);
    if (vq_cpu_set_count(&forbidden) > 0) {
        vq_buffer_add(ret_why, "Host CPU provides forbidden features: ");
        add_names(ret_why, &forbidden);
        return VIR_CPU_COMPARE_INCOMPATIBLE;
    }
    vq_cpu_set_remove(&lacking, &host->features);
    if (vq_cpu_set_count(&lacking) > 0) {
        vq_buffer_add(ret_why, "Host CPU does not provide required features: ");
        add_names(ret_why, &lacking);
        return VIR_CPU_COMPARE_INCOMPATIBLE;
    }
    vq_cpu_set_remove(&extra, &wanted->facts.features);
    if (vq_cpu_set_count(&extra) == 0)
        return VIR_CPU_COMPARE_IDENTICAL;
    if (!wanted->is_strict)
        return VIR_CPU_COMPARE_SUPERSET;
    vq_buffer_add(ret_why, "Host CPU does not strictly match guest CPU: Extra features: ");
    add_names(ret_why, &extra);
    return VIR_CPU_COMPARE_INCOMPATIBLE;
}

/* ---- Writing ---- */

static void add_feature(struct vq_buffer *xml, size_t feature, bool is_in)
{
    vq_buffer_line(xml, "<feature policy='%s' name='%s'/>", is_in ? "require" : "disable",
                   vq_cpu_features[feature].name);
}

static int compare_features(const void *a, const void *b)
{
    return strcmp(vq_cpu_features[*(const size_t *)a].name, vq_cpu_features[*(const size_t *)b].name);
}

/* With those of the model, by name: a list to look things up in. */
static void add_all_features(const struct vq_cpu_choice *choice, struct vq_buffer *xml)
{
    struct vq_cpu_set told = *vq_cpu_model_features(choice->model);
    size_t list[VQ_CPU_SET_WORDS * 64], n = 0;

    vq_cpu_set_join(&told, &choice->extra);
    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (vq_cpu_set_has(&told, i))
            list[n++] = i;
    qsort(list, n, sizeof(*list), compare_features);
    for (size_t i = 0; i < n; i++)
        add_feature(xml, list[i], !vq_cpu_set_has(&choice->lacking, list[i]));
}

void vq_cpu_choice_format(const struct vq_cpu_choice *choice, const char *vendor, const char *fallback,
                          bool is_expanded, struct vq_buffer *xml)
{
    vq_buffer_line(xml, "<model fallback='%s'>%s</model>", fallback, choice->model->name);
    if (vendor != NULL && vendor[0] != '\0')
        vq_buffer_line(xml, "<vendor>%s</vendor>", vendor);
    if (is_expanded) {
        add_all_features(choice, xml);
        return;
    }
    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (vq_cpu_set_has(&choice->extra, i))
            add_feature(xml, i, true);
    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (vq_cpu_set_has(&choice->lacking, i))
            add_feature(xml, i, false);
}

/* ---- What several have in common ---- */

static int common_facts(const struct vq_cpu_description *cpus, size_t n_cpus, struct vq_cpu_facts *ret,
                        struct vq_error *err)
{
    static const char *const states[] = {"osxsave", "ospke"}; /* of the running kernel, no abilities */
    bool is_vendor_known = true;

    *ret = cpus[0].facts;
    for (size_t i = 0; i < n_cpus; i++) {
        if (cpus[i].arch[0] == '\0' && !cpus[i].is_guest)
            return vq_error_set(err, VIR_ERR_XML_ERROR, "Missing CPU architecture");
        if (cpus[i].model[0] == '\0')
            return vq_error_set(err, VIR_ERR_XML_ERROR, "Missing CPU model name");
        if (!is_x86(cpus[i].arch))
            return vq_error_set(err, VIR_ERR_NO_SUPPORT, "cannot compute baseline CPU of %s architecture",
                                cpus[i].arch);
        is_vendor_known = is_vendor_known && cpus[i].facts.vendor[0] != '\0';
        if (cpus[i].facts.vendor[0] != '\0' && ret->vendor[0] != '\0' && strcmp(cpus[i].facts.vendor, ret->vendor) != 0)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "CPU vendors do not match");
        if (ret->vendor[0] == '\0')
            memcpy(ret->vendor, cpus[i].facts.vendor, sizeof(ret->vendor));
        vq_cpu_set_keep(&ret->features, &cpus[i].facts.features);
    }
    if (!is_vendor_known)
        ret->vendor[0] = '\0';
    for (size_t i = 0; i < VQ_N_ELEMENTS(states); i++)
        vq_cpu_set_put(&ret->features, (size_t)vq_cpu_feature_find(states[i]), false);
    if (vq_cpu_set_count(&ret->features) == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "CPUs are incompatible");
    return 0;
}

/* The model that all of them name, or NULL: who says "EPYC without this" is not told of another model. */
static const struct vq_cpu_model_fact *common_model(const struct vq_cpu_description *cpus, size_t n_cpus,
                                                    const struct vq_cpu_baseline *how)
{
    for (size_t i = 1; i < n_cpus; i++)
        if (strcmp(cpus[0].model, cpus[i].model) != 0)
            return NULL;
    return how->allowed != NULL && !how->allowed(cpus[0].model, how->data) ? NULL : vq_cpu_model_find(cpus[0].model);
}

int vq_cpu_baseline_format(const struct vq_cpu_description *cpus, size_t n_cpus, const struct vq_cpu_baseline *how,
                           struct vq_buffer *xml, struct vq_error *err)
{
    struct vq_cpu_facts common;
    struct vq_cpu_choice choice;

    if (common_facts(cpus, n_cpus, &common, err) < 0)
        return -1;
    if (how->limit != NULL)
        vq_cpu_set_keep(&common.features, &how->limit->features);
    for (size_t i = 0; how->is_migratable && i < vq_n_cpu_features; i++)
        if (!vq_cpu_feature_is_migratable(i))
            vq_cpu_set_put(&common.features, i, false);
    const struct vq_cpu_model_fact *model = common_model(cpus, n_cpus, how);
    if (model != NULL)
        vq_cpu_describe(&common, model, &choice);
    else if (!vq_cpu_choose(&common, false, how->allowed, how->data, &choice))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "no CPU model of this hypervisor fits");
    vq_buffer_line(xml, "<cpu mode='custom' match='exact'>");
    xml->indent++;
    vq_cpu_choice_format(&choice, common.vendor, how->fallback, how->is_expanded, xml);
    xml->indent--;
    vq_buffer_line(xml, "</cpu>");
    return 0;
}

/* ---- host-model ---- */

static struct vq_cpu_feature *new_feature(const char *name, bool is_in)
{
    struct vq_cpu_feature *feature = vq_new(struct vq_cpu_feature);

    feature->policy = is_in ? VQ_CPU_POLICY_REQUIRE : VQ_CPU_POLICY_DISABLE;
    feature->name = vq_strdup(name);
    return feature;
}

static bool is_named(const struct vq_cpu *cpu, const char *name)
{
    for (size_t i = 0; i < cpu->n_features; i++)
        if (strcmp(cpu->features[i]->name, name) == 0)
            return true;
    return false;
}

bool vq_cpu_expand_host_model(struct vq_cpu *cpu, const struct vq_cpu_facts *emulator, vq_cpu_allowed_fn allowed,
                              void *data)
{
    struct vq_cpu_facts facts = *emulator;
    struct vq_cpu_choice choice;

    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (!vq_cpu_feature_is_migratable(i))
            vq_cpu_set_put(&facts.features, i, false);
    if (!vq_cpu_choose(&facts, false, allowed, data, &choice))
        return false;
    size_t n = vq_cpu_set_count(&choice.extra) + vq_cpu_set_count(&choice.lacking);
    cpu->features = vq_realloc(cpu->features, cpu->n_features + n + 1, sizeof(struct vq_cpu_feature *));
    for (int is_in = 1; is_in >= 0; is_in--) {
        const struct vq_cpu_set *set = is_in != 0 ? &choice.extra : &choice.lacking;
        for (size_t i = 0; i < vq_n_cpu_features; i++)
            if (vq_cpu_set_has(set, i) && !is_named(cpu, vq_cpu_features[i].name)) /* the user's own word counts */
                cpu->features[cpu->n_features++] = new_feature(vq_cpu_features[i].name, is_in != 0);
    }
    cpu->mode = VQ_CPU_MODE_CUSTOM;
    cpu->match = VQ_CPU_MATCH_EXACT;
    if (cpu->fallback == VQ_CPU_FALLBACK_UNSET)
        cpu->fallback = VQ_CPU_FALLBACK_ALLOW;
    vq_set_text(&cpu->model, choice.model->name);
    vq_set_text(&cpu->vendor, facts.vendor[0] == '\0' ? NULL : facts.vendor);
    return true;
}
