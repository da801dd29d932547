/* Sets of features, and the choice of a model. */
#include "drivers/qemu/cpu_model.h"

#include <assert.h>
#include <string.h>

#include "conf/base/macros.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"

/* ---- Sets ---- */

bool vq_cpu_set_has(const struct vq_cpu_set *set, size_t feature)
{
    return (set->words[feature / 64] >> (feature % 64) & 1) != 0;
}

void vq_cpu_set_put(struct vq_cpu_set *set, size_t feature, bool is_in)
{
    uint64_t bit = (uint64_t)1 << (feature % 64);

    assert(feature < (size_t)VQ_CPU_SET_WORDS * 64);
    if (is_in)
        set->words[feature / 64] |= bit;
    else
        set->words[feature / 64] &= ~bit;
}

void vq_cpu_set_join(struct vq_cpu_set *set, const struct vq_cpu_set *other)
{
    for (size_t i = 0; i < VQ_CPU_SET_WORDS; i++)
        set->words[i] |= other->words[i];
}

void vq_cpu_set_keep(struct vq_cpu_set *set, const struct vq_cpu_set *other)
{
    for (size_t i = 0; i < VQ_CPU_SET_WORDS; i++)
        set->words[i] &= other->words[i];
}

void vq_cpu_set_remove(struct vq_cpu_set *set, const struct vq_cpu_set *other)
{
    for (size_t i = 0; i < VQ_CPU_SET_WORDS; i++)
        set->words[i] &= ~other->words[i];
}

size_t vq_cpu_set_count(const struct vq_cpu_set *set)
{
    size_t n = 0;

    for (size_t i = 0; i < VQ_CPU_SET_WORDS; i++)
        n += (size_t)__builtin_popcountll(set->words[i]);
    return n;
}

bool vq_cpu_set_is_within(const struct vq_cpu_set *set, const struct vq_cpu_set *other)
{
    for (size_t i = 0; i < VQ_CPU_SET_WORDS; i++)
        if ((set->words[i] & ~other->words[i]) != 0)
            return false;
    return true;
}

/* ---- Features ---- */

int vq_cpu_feature_find(const char *name)
{
    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (strcmp(vq_cpu_features[i].name, name) == 0 || vq_streq(vq_cpu_features[i].qemu_name, name))
            return (int)i;
    return -1;
}

const char *vq_cpu_feature_for_qemu(const char *name)
{
    int feature = vq_cpu_feature_find(name);

    return feature < 0 || vq_cpu_features[feature].qemu_name == NULL ? name : vq_cpu_features[feature].qemu_name;
}

/* A clock that never changes its pace is another one on the next host; the others are states of the running system, not
 * abilities, or kept by the kernel alone. */
bool vq_cpu_feature_is_migratable(size_t feature)
{
    static const char *const staying[] = {"invtsc", "osxsave", "ospke", "xsaves"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(staying); i++)
        if (strcmp(vq_cpu_features[feature].name, staying[i]) == 0)
            return false;
    return true;
}

/* ---- Models ---- */

const struct vq_cpu_model_fact *vq_cpu_model_find(const char *name)
{
    for (size_t i = 0; i < vq_n_cpu_models; i++)
        if (strcmp(vq_cpu_models[i].name, name) == 0)
            return &vq_cpu_models[i];
    return NULL;
}

static void read_words(const char *words, struct vq_cpu_set *set)
{
    VQ_AUTOFREE char *copy = vq_strdup(words);
    char *rest = NULL;

    for (const char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        int feature = vq_cpu_feature_find(word);
        assert(feature >= 0); /* of our own table */
        vq_cpu_set_put(set, (size_t)feature, true);
    }
}

/* Read from the table of names at the first question. */
const struct vq_cpu_set *vq_cpu_model_features(const struct vq_cpu_model_fact *model)
{
    enum { MODELS_MAX = 256 };
    static struct vq_cpu_set sets[MODELS_MAX];
    static bool is_read;

    assert(vq_n_cpu_models <= MODELS_MAX);
    assert(vq_n_cpu_features <= (size_t)VQ_CPU_SET_WORDS * 64);
    for (size_t i = 0; !is_read && i < vq_n_cpu_models; i++)
        read_words(vq_cpu_models[i].features, &sets[i]);
    is_read = true;
    return &sets[model - vq_cpu_models];
}

/* ---- The choice ---- */

void vq_cpu_describe(const struct vq_cpu_facts *cpu, const struct vq_cpu_model_fact *model, struct vq_cpu_choice *ret)
{
    const struct vq_cpu_set *features = vq_cpu_model_features(model);

    *ret = (struct vq_cpu_choice){model, cpu->features, *features};
    vq_cpu_set_remove(&ret->extra, features);
    vq_cpu_set_remove(&ret->lacking, &cpu->features);
}

static bool has_signature(const struct vq_cpu_facts *cpu, const struct vq_cpu_model_fact *model)
{
    return model->vendor != NULL && cpu->family != 0 && model->family == cpu->family && model->model == cpu->model;
}

/* The words that describe the CPU by this model: the fewer the better. */
static size_t cost_of(const struct vq_cpu_choice *choice)
{
    return vq_cpu_set_count(&choice->extra) + vq_cpu_set_count(&choice->lacking);
}

bool vq_cpu_choose(const struct vq_cpu_facts *cpu, bool is_whole, vq_cpu_allowed_fn allowed, void *data,
                   struct vq_cpu_choice *ret)
{
    bool is_found = false, is_signed = false;
    size_t best = 0;

    for (size_t i = 0; i < vq_n_cpu_models; i++) {
        const struct vq_cpu_model_fact *model = &vq_cpu_models[i];
        struct vq_cpu_choice choice;

        if ((model->vendor != NULL && cpu->vendor[0] != '\0' && strcmp(model->vendor, cpu->vendor) != 0) ||
            (allowed != NULL && !allowed(model->name, data)))
            continue;
        vq_cpu_describe(cpu, model, &choice);
        if (is_whole && vq_cpu_set_count(&choice.lacking) > 0)
            continue;
        bool matches = has_signature(cpu, model);
        size_t cost = cost_of(&choice);
        if (is_found && (matches == is_signed ? cost >= best : is_signed))
            continue;
        *ret = choice;
        is_found = true;
        is_signed = matches;
        best = cost;
    }
    return is_found;
}
