/* CPUs: the tables, the choice of a model, comparing, what several have in common; and what is kept of probes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/cpu_run.h"
#include "drivers/qemu/cpu_xml.h"
#include "drivers/qemu/probe_cache.h"

static struct vq_cpu_description read_cpu(const char *xml)
{
    struct vq_cpu_description cpu;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_cpu_description_read(xml, false, &cpu, &err) < 0)
        fail_msg("%s: %s", xml, err.message);
    return cpu;
}

static struct vq_cpu_facts facts_of(const char *model, const char *more, const char *less)
{
    VQ_AUTOFREE char *xml = NULL;
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    vq_buffer_addf(&text, "<cpu mode='custom' match='exact'><model>%s</model>", model);
    if (more != NULL)
        vq_buffer_addf(&text, "<feature policy='require' name='%s'/>", more);
    if (less != NULL)
        vq_buffer_addf(&text, "<feature policy='disable' name='%s'/>", less);
    vq_buffer_add(&text, "</cpu>");
    xml = vq_strdup(text.data);
    return read_cpu(xml).facts;
}

static void every_model_is_made_of_known_features_and_is_its_own_best_description(void **state)
{
    (void)state;
    for (size_t i = 0; i < vq_n_cpu_models; i++) {
        struct vq_cpu_facts cpu = {.features = *vq_cpu_model_features(&vq_cpu_models[i])};
        struct vq_cpu_choice choice;

        assert_true(vq_cpu_choose(&cpu, true, NULL, NULL, &choice));
        assert_int_equal(vq_cpu_set_count(&choice.extra) + vq_cpu_set_count(&choice.lacking), 0);
    }
}

static void features_are_known_by_both_spellings(void **state)
{
    (void)state;
    assert_true(vq_cpu_feature_find("pclmuldq") >= 0);
    assert_int_equal(vq_cpu_feature_find("pclmuldq"), vq_cpu_feature_find("pclmulqdq"));
    assert_string_equal(vq_cpu_feature_for_qemu("lahf_lm"), "lahf-lm");
    assert_string_equal(vq_cpu_feature_for_qemu("something-new"), "something-new");
    assert_int_equal(vq_cpu_feature_find("sse9"), -1);
}

static void the_model_of_the_same_signature_wins_where_features_may_be_taken_away(void **state)
{
    struct vq_cpu_facts cpu = facts_of("EPYC-Milan", "erms", "pcid");
    struct vq_cpu_choice choice;

    (void)state;
    (void)snprintf(cpu.vendor, sizeof(cpu.vendor), "AMD");
    cpu.family = 25;
    cpu.model = 1;
    vq_cpu_set_put(&cpu.features, (size_t)vq_cpu_feature_find("svm"), false);
    assert_true(vq_cpu_choose(&cpu, false, NULL, NULL, &choice));
    assert_string_equal(choice.model->name, "EPYC-Milan");
    assert_true(vq_cpu_set_has(&choice.lacking, (size_t)vq_cpu_feature_find("svm")));
    assert_true(vq_cpu_choose(&cpu, true, NULL, NULL, &choice)); /* what a host can be without taking away */
    assert_string_not_equal(choice.model->name, "EPYC-Milan");
    assert_int_equal(vq_cpu_set_count(&choice.lacking), 0);
}

static bool only_old(const char *model, void *data)
{
    (void)data;
    return strcmp(model, "Conroe") == 0;
}

static void only_allowed_models_of_the_right_vendor_are_chosen(void **state)
{
    struct vq_cpu_facts cpu = facts_of("Haswell", NULL, NULL);
    struct vq_cpu_choice choice;

    (void)state;
    assert_true(vq_cpu_choose(&cpu, false, only_old, NULL, &choice));
    assert_string_equal(choice.model->name, "Conroe");
    (void)snprintf(cpu.vendor, sizeof(cpu.vendor), "AMD");
    assert_false(vq_cpu_choose(&cpu, false, only_old, NULL, &choice));
}

static void refused(const char *xml, int code, const char *message)
{
    struct vq_cpu_description cpu;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_cpu_description_read(xml, true, &cpu, &err) == 0)
        fail_msg("taken: %s", xml);
    if (err.code != code || strstr(err.message, message) == NULL)
        fail_msg("%s: %d %s", xml, err.code, err.message);
    assert_int_equal(err.from, VIR_FROM_CPU);
}

static void what_makes_no_sense_is_refused_as_the_field_knows_it(void **state)
{
    (void)state;
    refused("<cpu><arch>x86_64</arch><model>nope</model></cpu>", VIR_ERR_INTERNAL_ERROR, "Unknown CPU model nope");
    refused("<cpu><arch>x86_64</arch></cpu>", VIR_ERR_XML_ERROR, "Missing CPU model name");
    refused("<cpu match='exact'><arch>x86_64</arch><model>486</model></cpu>", VIR_ERR_XML_ERROR,
            "'arch' element cannot be used");
    refused("<cpu match='what'><model>486</model></cpu>", VIR_ERR_XML_ERROR, "Invalid value for attribute 'match'");
    refused("<cpu><model>486</model><feature policy='require' name='nofeat'/></cpu>", VIR_ERR_INTERNAL_ERROR,
            "Unknown CPU feature nofeat");
    refused("<cpu><model>486</model><feature policy='what' name='aes'/></cpu>", VIR_ERR_CONFIG_UNSUPPORTED,
            "Invalid CPU feature policy");
    refused("<cpu><model>486</model><feature policy='require'/></cpu>", VIR_ERR_XML_ERROR, "Invalid CPU feature name");
    refused("<cpu><model>486</model><feature name='aes'/><feature name='aes'/></cpu>", VIR_ERR_XML_ERROR,
            "specified more than once");
    refused("<cpu match='exact'><model>486</model><bogus/></cpu>", VIR_ERR_XML_INVALID_SCHEMA, "bogus");
    refused("<domain/>", VIR_ERR_XML_ERROR, "expected 'cpu' element");
}

static void comparing_says_what_is_missing(void **state)
{
    static const struct {
        const char *xml;
        int result;
        const char *why;
    } cases[] = {
        {"<cpu><arch>x86_64</arch><model>Nehalem</model></cpu>", VIR_CPU_COMPARE_IDENTICAL, ""},
        {"<cpu><arch>x86_64</arch><model>Conroe</model></cpu>", VIR_CPU_COMPARE_SUPERSET, ""},
        {"<cpu/>", VIR_CPU_COMPARE_SUPERSET, ""},
        {"<cpu match='strict'><model>Nehalem</model></cpu>", VIR_CPU_COMPARE_IDENTICAL, ""},
        {"<cpu match='strict'><model>Penryn</model></cpu>", VIR_CPU_COMPARE_INCOMPATIBLE,
         "does not strictly match guest CPU: Extra features: "},
        {"<cpu match='exact'><model>Nehalem</model><feature policy='require' name='aes'/></cpu>",
         VIR_CPU_COMPARE_INCOMPATIBLE, "Host CPU does not provide required features: aes"},
        {"<cpu match='exact'><model>Nehalem</model><feature policy='optional' name='aes'/></cpu>",
         VIR_CPU_COMPARE_IDENTICAL, ""},
        {"<cpu match='exact'><model>Conroe</model><feature policy='forbid' name='popcnt'/></cpu>",
         VIR_CPU_COMPARE_INCOMPATIBLE, "Host CPU provides forbidden features: popcnt"},
        {"<cpu match='exact'><model>Conroe</model><vendor>AMD</vendor></cpu>", VIR_CPU_COMPARE_INCOMPATIBLE,
         "host CPU vendor does not match required CPU vendor AMD"},
        {"<cpu><arch>aarch64</arch><model>Conroe</model></cpu>", VIR_CPU_COMPARE_INCOMPATIBLE,
         "CPU arch aarch64 does not match host arch"},
    };
    struct vq_cpu_facts host = facts_of("Nehalem", NULL, NULL);

    (void)state;
    (void)snprintf(host.vendor, sizeof(host.vendor), "Intel");
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_cpu_description wanted = read_cpu(cases[i].xml);
        VQ_AUTOBUFFER why = VQ_BUFFER_INIT;
        int result = vq_cpu_compare(&host, "x86_64", &wanted, &why);

        if (result != cases[i].result || strstr(why.data == NULL ? "" : why.data, cases[i].why) == NULL)
            fail_msg("%s: %d %s", cases[i].xml, result, why.data == NULL ? "" : why.data);
    }
}

static char *baseline_of(const char *first, const char *second, struct vq_cpu_baseline how, struct vq_error *err)
{
    struct vq_cpu_description cpus[2] = {read_cpu(first)};
    struct vq_buffer xml = VQ_BUFFER_INIT;

    if (second != NULL)
        cpus[1] = read_cpu(second);
    if (how.fallback == NULL)
        how.fallback = "allow";
    if (vq_cpu_baseline_format(cpus, second == NULL ? 1 : 2, &how, &xml, err) < 0) {
        vq_buffer_done(&xml);
        return NULL;
    }
    return vq_buffer_steal(&xml);
}

static void what_two_have_in_common_runs_on_both(void **state)
{
    const char *a = "<cpu><arch>x86_64</arch><model>EPYC</model></cpu>",
               *b = "<cpu><arch>x86_64</arch><model>Haswell</model></cpu>";
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *xml = baseline_of(a, b, (struct vq_cpu_baseline){0}, &err);
    VQ_AUTOBUFFER why = VQ_BUFFER_INIT;

    (void)state;
    assert_non_null(xml);
    struct vq_cpu_description common = read_cpu(xml), first = read_cpu(a), second = read_cpu(b);
    assert_int_equal(vq_cpu_compare(&first.facts, "x86_64", &common, &why), VIR_CPU_COMPARE_SUPERSET);
    assert_int_equal(vq_cpu_compare(&second.facts, "x86_64", &common, &why), VIR_CPU_COMPARE_SUPERSET);
}

static void a_model_that_all_name_is_kept(void **state)
{
    const char *epyc = "<cpu><arch>x86_64</arch><model>EPYC</model><feature policy='require' name='invtsc'/></cpu>";
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *plain = baseline_of(epyc, epyc, (struct vq_cpu_baseline){0}, &err);
    VQ_AUTOFREE char *moving =
        baseline_of(epyc, NULL, (struct vq_cpu_baseline){.is_migratable = true, .fallback = "forbid"}, &err);

    (void)state;
    assert_string_equal(plain, "<cpu mode='custom' match='exact'>\n  <model fallback='allow'>EPYC</model>\n"
                               "  <feature policy='require' name='invtsc'/>\n</cpu>\n");
    assert_string_equal(moving, "<cpu mode='custom' match='exact'>\n  <model fallback='forbid'>EPYC</model>\n</cpu>\n");
}

static void an_expanded_baseline_lists_the_features_of_the_model(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *xml = baseline_of("<cpu><arch>x86_64</arch><model>486</model></cpu>", NULL,
                                        (struct vq_cpu_baseline){.is_expanded = true}, &err);

    (void)state;
    assert_string_equal(xml, "<cpu mode='custom' match='exact'>\n  <model fallback='allow'>486</model>\n"
                             "  <feature policy='require' name='fpu'/>\n  <feature policy='require' name='pse'/>\n</cpu>\n");
}

static void different_vendors_have_nothing_in_common(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_null(baseline_of("<cpu><arch>x86_64</arch><model>EPYC</model><vendor>AMD</vendor></cpu>",
                            "<cpu><arch>x86_64</arch><model>Haswell</model><vendor>Intel</vendor></cpu>",
                            (struct vq_cpu_baseline){0}, &err));
    assert_int_equal(err.code, VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(err.message, "CPU vendors do not match"));
}

static void host_model_becomes_a_model_and_the_users_own_words_stay(void **state)
{
    struct vq_domain *def;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_cpu_facts emulator = facts_of("EPYC", "clwb", "sha-ni");

    (void)state;
    assert_int_equal(vq_domain_parse("<domain type='qemu'><name>a</name><memory>1</memory><os><type>hvm</type></os>"
                                     "<cpu mode='host-model'><feature policy='disable' name='clwb'/></cpu></domain>",
                                     VQ_PARSE_INACTIVE, &def, &err),
                     0);
    (void)snprintf(emulator.vendor, sizeof(emulator.vendor), "AMD");
    assert_true(vq_cpu_expand_host_model(def->cpu, &emulator, NULL, NULL));
    assert_int_equal(def->cpu->mode, VQ_CPU_MODE_CUSTOM);
    assert_string_equal(def->cpu->model, "EPYC");
    assert_string_equal(def->cpu->vendor, "AMD");
    assert_int_equal(def->cpu->n_features, 2);
    assert_string_equal(def->cpu->features[0]->name, "clwb");
    assert_int_equal(def->cpu->features[0]->policy, VQ_CPU_POLICY_DISABLE);
    assert_string_equal(def->cpu->features[1]->name, "sha-ni");
    assert_int_equal(def->cpu->features[1]->policy, VQ_CPU_POLICY_DISABLE);
    vq_domain_free(def);
}

/* ---- A guest that starts ---- */

/* An emulator that gives a Nehalem with AES and the sign of a guest, and knows three models. */
static struct vq_qemu_capabilities emulator(void)
{
    static struct vq_qemu_cpu_model models[] = {{.name = "Nehalem"}, {.name = "Haswell"}, {.name = "Conroe"}};
    struct vq_qemu_capabilities caps = {.arch = "x86_64", .cpu_models = models, .n_cpu_models = VQ_N_ELEMENTS(models)};

    caps.cpu = facts_of("Nehalem", "aes", NULL);
    vq_cpu_set_put(&caps.cpu.features, (size_t)vq_cpu_feature_find("hypervisor"), true);
    return caps;
}

static struct vq_domain *guest_with(const char *cpu)
{
    VQ_AUTOFREE char *xml = vq_asprintf("<domain type='qemu'><name>a</name><memory>1</memory><os><type arch='x86_64'>hvm</type></os>%s"
                                        "</domain>", cpu);
    struct vq_domain *def = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse(xml, VQ_PARSE_INACTIVE, &def, &err) < 0)
        fail_msg("%s", err.message);
    return def;
}

static const char *policy_of(const struct vq_cpu *cpu, const char *name)
{
    for (size_t i = 0; i < cpu->n_features; i++)
        if (strcmp(cpu->features[i]->name, name) == 0)
            return cpu->features[i]->policy == VQ_CPU_POLICY_REQUIRE   ? "require"
                   : cpu->features[i]->policy == VQ_CPU_POLICY_DISABLE ? "disable"
                                                                       : "other";
    return "none";
}

static void a_running_guest_shows_what_it_has_and_what_it_lacks(void **state)
{
    struct vq_qemu_capabilities caps = emulator();
    struct vq_domain *def = guest_with("<cpu mode='custom' match='exact' check='none'><model>Haswell</model>"
                                       "<feature policy='optional' name='aes'/><feature policy='optional' name='avx512f'/></cpu>");
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_qemu_cpu_begin_run(def, &caps, &err), 0);
    assert_int_equal(def->cpu->n_features, 2); /* the command line has no more than was asked for */
    vq_qemu_cpu_settle(def, &caps);
    assert_int_equal(def->cpu->check, VQ_CPU_CHECK_FULL);
    assert_string_equal(policy_of(def->cpu, "aes"), "require");
    assert_string_equal(policy_of(def->cpu, "avx512f"), "disable");
    assert_string_equal(policy_of(def->cpu, "avx2"), "disable"); /* of the model */
    assert_string_equal(policy_of(def->cpu, "hypervisor"), "require");
    assert_string_equal(policy_of(def->cpu, "popcnt"), "none");
    vq_domain_free(def);
}

static void a_guest_that_is_checked_does_not_start_with_less(void **state)
{
    static const struct {
        const char *cpu;
        int code;
        const char *message;
    } cases[] = {
        {"<cpu mode='custom' match='exact' check='partial'><model>Conroe</model><feature policy='require' name='avx2'/></cpu>",
         VIR_ERR_CPU_INCOMPATIBLE, "Host CPU does not provide required features: avx2"},
        {"<cpu mode='custom' match='exact' check='full'><model>Conroe</model><feature policy='require' name='avx2'/>"
         "<feature policy='require' name='bmi1'/></cpu>",
         VIR_ERR_OPERATION_FAILED, "missing features: bmi1,avx2"},
        {"<cpu mode='custom' match='exact' check='partial'><model>Conroe</model><feature policy='forbid' name='aes'/></cpu>",
         VIR_ERR_CPU_INCOMPATIBLE, "Host CPU provides forbidden features: aes"},
        {"<cpu mode='custom' match='exact' check='none'><model>Conroe</model><feature policy='require' name='nofeat'/></cpu>",
         VIR_ERR_CONFIG_UNSUPPORTED, "unknown CPU feature: nofeat"},
        {"<cpu mode='custom' match='exact' check='none'><model>Conroe</model><feature policy='require' name='avx2'/></cpu>",
         VIR_ERR_OK, ""},
        {"<cpu mode='custom' match='exact' check='full'><model>Nehalem</model></cpu>", VIR_ERR_OK, ""},
    };
    struct vq_qemu_capabilities caps = emulator();

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_domain *def = guest_with(cases[i].cpu);
        struct vq_error err = VQ_ERROR_INIT;
        int rc = vq_qemu_cpu_begin_run(def, &caps, &err);

        if (err.code != cases[i].code || (rc == 0) != (cases[i].code == VIR_ERR_OK) ||
            strstr(err.message, cases[i].message) == NULL)
            fail_msg("%s: %d %s", cases[i].cpu, err.code, err.message);
        vq_domain_free(def);
    }
}

static void host_model_starts_as_the_emulators_cpu_and_runs_elsewhere_as_the_same(void **state)
{
    struct vq_qemu_capabilities caps = emulator(), poorer = emulator();
    struct vq_domain *def = guest_with("<cpu mode='host-model' check='partial'/>");
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_qemu_cpu_begin_run(def, &caps, &err), 0);
    vq_qemu_cpu_settle(def, &caps);
    assert_int_equal(def->cpu->mode, VQ_CPU_MODE_CUSTOM);
    assert_string_equal(def->cpu->model, "Nehalem");
    assert_string_equal(policy_of(def->cpu, "aes"), "require");
    assert_int_equal(vq_qemu_cpu_begin_run(def, &caps, &err), 0); /* as after a migration */
    vq_cpu_set_put(&poorer.cpu.features, (size_t)vq_cpu_feature_find("aes"), false);
    assert_int_equal(vq_qemu_cpu_begin_run(def, &poorer, &err), -1);
    assert_non_null(strstr(err.message, "missing features: aes"));
    vq_domain_free(def);
}

/* ---- What is kept ---- */

static json_t *answers(void)
{
    return json_loads(
        "{\"query-version\": {\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 1}, \"package\": \"p\"},"
        "\"query-target\": {\"arch\": \"i386\"},"
        "\"query-machines\": [{\"name\": \"pc-1\", \"cpu-max\": 8, \"is-default\": true}],"
        "\"query-cpu-model-expansion\": {\"model\": {\"name\": \"base\", \"props\": {\"vendor\": \"AuthenticAMD\","
        "\"family\": 25, \"aes\": true, \"avx\": false, \"bad name\": true}}}}",
        0, NULL);
}

static void what_an_emulator_said_is_kept_until_its_file_changes(void **state)
{
    char dir[] = "/tmp/probe.XXXXXX";
    struct stat file;
    json_t *said = answers();

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(stat("/proc/self/exe", &file), 0);
    assert_null(vq_qemu_probe_cache_read(dir, "/bin/emu", &file));
    vq_qemu_probe_cache_write(dir, "/bin/emu", &file, said);
    VQ_AUTOPTR(vq_qemu_capabilities) caps = vq_qemu_probe_cache_read(dir, "/bin/emu", &file);
    assert_non_null(caps);
    assert_int_equal(caps->version, 7002001);
    assert_string_equal(caps->arch, "i686");
    assert_string_equal(caps->cpu.vendor, "AMD");
    assert_int_equal(vq_cpu_set_count(&caps->cpu.features), 1);
    assert_null(vq_qemu_probe_cache_read(dir, "/bin/other", &file));
    file.st_mtim.tv_nsec++;
    assert_null(vq_qemu_probe_cache_read(dir, "/bin/emu", &file));
    file.st_mtim.tv_nsec--;
    VQ_AUTOFREE char *damage =
        vq_asprintf("f=$(ls %s/qemu/capabilities/*.json); head -c 200 $f > $f.x; mv $f.x $f; chmod 600 $f", dir);
    assert_int_equal(system(damage), 0);
    assert_null(vq_qemu_probe_cache_read(dir, "/bin/emu", &file));
    VQ_AUTOFREE char *end = vq_asprintf("rm -rf %s", dir);
    assert_int_equal(system(end), 0);
    json_decref(said);
}

static void a_file_that_others_may_write_is_not_believed(void **state)
{
    char dir[] = "/tmp/probe.XXXXXX";
    struct stat file;
    json_t *said = answers();

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(stat("/proc/self/exe", &file), 0);
    vq_qemu_probe_cache_write(dir, "/bin/emu", &file, said);
    VQ_AUTOFREE char *open_it = vq_asprintf("chmod 666 %s/qemu/capabilities/*.json", dir);
    assert_int_equal(system(open_it), 0);
    assert_null(vq_qemu_probe_cache_read(dir, "/bin/emu", &file));
    VQ_AUTOFREE char *end = vq_asprintf("rm -rf %s", dir);
    assert_int_equal(system(end), 0);
    json_decref(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_is_made_of_known_features_and_is_its_own_best_description),
        cmocka_unit_test(features_are_known_by_both_spellings),
        cmocka_unit_test(the_model_of_the_same_signature_wins_where_features_may_be_taken_away),
        cmocka_unit_test(only_allowed_models_of_the_right_vendor_are_chosen),
        cmocka_unit_test(what_makes_no_sense_is_refused_as_the_field_knows_it),
        cmocka_unit_test(comparing_says_what_is_missing),
        cmocka_unit_test(what_two_have_in_common_runs_on_both),
        cmocka_unit_test(a_model_that_all_name_is_kept),
        cmocka_unit_test(an_expanded_baseline_lists_the_features_of_the_model),
        cmocka_unit_test(different_vendors_have_nothing_in_common),
        cmocka_unit_test(host_model_becomes_a_model_and_the_users_own_words_stay),
        cmocka_unit_test(a_running_guest_shows_what_it_has_and_what_it_lacks),
        cmocka_unit_test(a_guest_that_is_checked_does_not_start_with_less),
        cmocka_unit_test(host_model_starts_as_the_emulators_cpu_and_runs_elsewhere_as_the_same),
        cmocka_unit_test(what_an_emulator_said_is_kept_until_its_file_changes),
        cmocka_unit_test(a_file_that_others_may_write_is_not_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
