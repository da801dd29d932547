/* The domain as a whole: its table, and parse, format, copy, free. */
#define VQ_FROM VIR_FROM_DOMAIN
#include "conf/domain_fields.h"

#include <assert.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/device_fields.h"

#define REQUIRED .flags = VQ_FIELD_REQUIRED

static const char *const virt_type_names[VQ_VIRT_N] = {
    [VQ_VIRT_QEMU] = "qemu", [VQ_VIRT_KVM] = "kvm",   [VQ_VIRT_XEN] = "xen",
    [VQ_VIRT_LXC] = "lxc",   [VQ_VIRT_TEST] = "test", [VQ_VIRT_HVF] = "hvf",
};

static const char *const lifecycle_names[VQ_LIFECYCLE_N] = {
    [VQ_LIFECYCLE_DESTROY] = "destroy",
    [VQ_LIFECYCLE_RESTART] = "restart",
    [VQ_LIFECYCLE_RENAME_RESTART] = "rename-restart",
    [VQ_LIFECYCLE_PRESERVE] = "preserve",
    [VQ_LIFECYCLE_COREDUMP_DESTROY] = "coredump-destroy",
    [VQ_LIFECYCLE_COREDUMP_RESTART] = "coredump-restart",
};
/* Dumping core is for crashes only. */
static const char *const ending_names[VQ_LIFECYCLE_COREDUMP_DESTROY] = {
    [VQ_LIFECYCLE_DESTROY] = "destroy",
    [VQ_LIFECYCLE_RESTART] = "restart",
    [VQ_LIFECYCLE_RENAME_RESTART] = "rename-restart",
    [VQ_LIFECYCLE_PRESERVE] = "preserve",
};

static const struct vq_field vcpu_entry_rows[] = {
    VQ_UINT("@id", vq_vcpu_entry, id, .flags = VQ_FIELD_ALWAYS),
    VQ_YES_NO("@enabled", vq_vcpu_entry, enabled),
    VQ_YES_NO("@hotpluggable", vq_vcpu_entry, hotpluggable),
    VQ_UINT("@order", vq_vcpu_entry, order),
};
VQ_FIELDS(vcpu_entry_fields, "vcpu", vq_vcpu_entry, vcpu_entry_rows);

static const struct vq_field iothread_rows[] = {
    VQ_UINT("@id", vq_iothread, id, REQUIRED, .min = 1),
    VQ_UINT("@thread_pool_min", vq_iothread, pool_min, VQ_HAS(vq_iothread, has_pool_min)),
    VQ_UINT("@thread_pool_max", vq_iothread, pool_max, VQ_HAS(vq_iothread, has_pool_max)),
};
VQ_FIELDS(iothread_fields, "iothread", vq_iothread, iothread_rows);

static const struct vq_field cipher_rows[] = {
    VQ_STRING("@name", vq_keywrap_cipher, name, REQUIRED, VQ_WORDS("aes", "dea")),
    VQ_ON_OFF("@state", vq_keywrap_cipher, state, REQUIRED),
};
VQ_FIELDS(cipher_fields, "cipher", vq_keywrap_cipher, cipher_rows);

static const struct vq_field launch_security_rows[] = {
    VQ_STRING("@type", vq_launch_security, type, REQUIRED, VQ_WORDS("sev", "s390-pv")),
    VQ_YES_NO("@kernelHashes", vq_launch_security, kernel_hashes),
    VQ_STRING("cbitpos", vq_launch_security, cbitpos),
    VQ_STRING("reducedPhysBits", vq_launch_security, reduced_phys_bits),
    VQ_STRING("policy", vq_launch_security, policy),
    VQ_STRING("dhCert", vq_launch_security, dh_cert, .flags = VQ_FIELD_LINE_BREAKS),
    VQ_STRING("session", vq_launch_security, session, .flags = VQ_FIELD_LINE_BREAKS),
};
VQ_FIELDS(launch_security_fields, "launchSecurity", vq_launch_security, launch_security_rows);

static const struct vq_field qemu_arg_rows[] = {
    VQ_STRING("@value", vq_qemu_arg, value, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_KEEP_EMPTY | VQ_FIELD_LINE_BREAKS),
};
VQ_FIELDS(qemu_arg_fields, "qemu:arg", vq_qemu_arg, qemu_arg_rows);

static const struct vq_field qemu_env_rows[] = {
    VQ_STRING("@name", vq_qemu_env, name, REQUIRED),
    VQ_STRING("@value", vq_qemu_env, value, .flags = VQ_FIELD_LINE_BREAKS),
};
VQ_FIELDS(qemu_env_fields, "qemu:env", vq_qemu_env, qemu_env_rows);

static const struct vq_field qemu_capability_rows[] = {
    VQ_STRING("@capability", vq_qemu_capability, capability, REQUIRED),
};
VQ_FIELDS(qemu_capability_fields, "capability", vq_qemu_capability, qemu_capability_rows);

static const struct vq_field qemu_rows[] = {
    VQ_LIST("qemu:arg", vq_qemu_namespace, args, qemu_arg_fields),
    VQ_LIST("qemu:env", vq_qemu_namespace, envs, qemu_env_fields),
};
VQ_FIELDS(qemu_fields, "qemu:commandline", vq_qemu_namespace, qemu_rows);

static const struct vq_field qemu_overrides_rows[] = {
    VQ_LIST("qemu:add", vq_qemu_overrides, add, qemu_capability_fields),
    VQ_LIST("qemu:del", vq_qemu_overrides, del, qemu_capability_fields),
};
VQ_FIELDS(qemu_overrides_fields, "qemu:capabilities", vq_qemu_overrides, qemu_overrides_rows);

static const struct vq_field property_rows[] = {
    VQ_STRING("@name", vq_qemu_property, name, REQUIRED),
    VQ_STRING("@type", vq_qemu_property, type, REQUIRED, VQ_WORDS("string", "unsigned", "signed", "bool", "remove")),
    VQ_STRING("@value", vq_qemu_property, value),
};
VQ_FIELDS(property_fields, "qemu:property", vq_qemu_property, property_rows);

static const struct vq_field override_rows[] = {
    VQ_STRING("@alias", vq_qemu_override, alias, REQUIRED),
    VQ_LIST("qemu:frontend/qemu:property", vq_qemu_override, properties, property_fields),
};
VQ_FIELDS(override_fields, "qemu:device", vq_qemu_override, override_rows);

static const struct vq_field id_range_rows[] = {
    VQ_UINT("@start", vq_id_range, start, .flags = VQ_FIELD_ALWAYS),
    VQ_UINT("@target", vq_id_range, target, .flags = VQ_FIELD_ALWAYS),
    VQ_UINT("@count", vq_id_range, count, .flags = VQ_FIELD_ALWAYS),
};
VQ_FIELDS(id_range_fields, "idmap", vq_id_range, id_range_rows);

static const struct vq_field perf_event_rows[] = {
    VQ_STRING("@name", vq_perf_event, name, REQUIRED,
              VQ_WORDS("cmt", "mbmt", "mbml", "cpu_cycles", "instructions", "cache_references", "cache_misses",
                       "branch_instructions", "branch_misses", "bus_cycles", "stalled_cycles_frontend",
                       "stalled_cycles_backend", "ref_cpu_cycles", "cpu_clock", "task_clock", "page_faults",
                       "context_switches", "cpu_migrations", "page_faults_min", "page_faults_maj", "alignment_faults",
                       "emulation_faults")),
    VQ_YES_NO("@enabled", vq_perf_event, enabled, REQUIRED),
};
VQ_FIELDS(perf_event_fields, "event", vq_perf_event, perf_event_rows);

static bool uses_qemu_namespace(const void *object)
{
    const struct vq_domain *domain = object;

    return domain->qemu != NULL || domain->qemu_overrides != NULL || domain->n_qemu_devices > 0 ||
           domain->qemu_deprecation != NULL;
}

/* ---- what any daemon adds by itself ---- */

static bool is_implied_input(const void *element, const void *object)
{
    const struct vq_input *input = element;

    (void)object;
    return input->type == VQ_INPUT_KEYBOARD && input->bus == VQ_INPUT_BUS_PS2 &&
           input->model == VQ_VIRTIO_MODEL_UNSET && input->info.alias == NULL;
}

/* A lone one of the type that goes with the graphics. */
static bool is_implied_audio(const void *element, const void *object)
{
    const struct vq_audio *audio = element;
    const struct vq_devices *devices = object;
    const char *type = "none";

    for (size_t i = 0; i < devices->n_graphics; i++) {
        if (devices->graphics[i]->type == VQ_GRAPHICS_SPICE)
            type = "spice";
    }
    return devices->n_audios == 1 && audio->id == 1 && strcmp(audio->type, type) == 0 && audio->timer_period == 0;
}

static size_t count_controllers(const struct vq_devices *devices, enum vq_controller_type type)
{
    size_t n = 0;

    for (size_t i = 0; i < devices->n_controllers; i++)
        n += devices->controllers[i]->type == type;
    return n;
}

/* With a second one of its type, the first is no longer what would be added. */
static bool is_implied_controller(const void *element, const void *object)
{
    const struct vq_controller *controller = element;

    if (controller->index != 0 || controller->model == NULL || count_controllers(object, controller->type) != 1)
        return false;
    if (controller->type == VQ_CONTROLLER_PCI)
        return strcmp(controller->model, "pci-root") == 0 && !controller->has_pcihole64;
    return controller->type == VQ_CONTROLLER_USB && strcmp(controller->model, "piix3-uhci") == 0;
}

static const struct vq_field devices_rows[] = {
    VQ_STRING("emulator", vq_devices, emulator),
    VQ_LIST("disk", vq_devices, disks, vq_disk_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("controller", vq_devices, controllers, vq_controller_fields, .size = VQ_DEVICES_MAX,
            .implied = is_implied_controller),
    VQ_LIST("lease", vq_devices, leases, vq_lease_fields),
    VQ_LIST("filesystem", vq_devices, filesystems, vq_filesystem_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("interface", vq_devices, interfaces, vq_interface_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("smartcard", vq_devices, smartcards, vq_smartcard_fields),
    VQ_LIST("serial", vq_devices, serials, vq_serial_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("parallel", vq_devices, parallels, vq_parallel_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("console", vq_devices, consoles, vq_console_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("channel", vq_devices, channels, vq_channel_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("input", vq_devices, inputs, vq_input_fields, .implied = is_implied_input),
    VQ_LIST("tpm", vq_devices, tpms, vq_tpm_fields),
    VQ_LIST("graphics", vq_devices, graphics, vq_graphics_fields),
    VQ_LIST("sound", vq_devices, sounds, vq_sound_fields),
    VQ_LIST("audio", vq_devices, audios, vq_audio_fields, .implied = is_implied_audio),
    VQ_LIST("video", vq_devices, videos, vq_video_fields),
    VQ_LIST("hostdev", vq_devices, hostdevs, vq_hostdev_fields, .size = VQ_DEVICES_MAX),
    VQ_LIST("redirdev", vq_devices, redirdevs, vq_redirdev_fields, .size = VQ_DEVICES_MAX),
    VQ_OPTIONAL("redirfilter", vq_devices, redirfilter, vq_redir_filter_fields),
    VQ_LIST("hub", vq_devices, hubs, vq_hub_fields),
    VQ_LIST("watchdog", vq_devices, watchdogs, vq_watchdog_fields),
    VQ_OPTIONAL("memballoon", vq_devices, memballoon, vq_memballoon_fields),
    VQ_LIST("rng", vq_devices, rngs, vq_rng_fields),
    VQ_OPTIONAL("nvram", vq_devices, nvram, vq_nvram_fields, .flags = VQ_FIELD_ALWAYS),
    VQ_LIST("panic", vq_devices, panics, vq_panic_fields),
    VQ_LIST("shmem", vq_devices, shmems, vq_shmem_fields),
    VQ_LIST("memory", vq_devices, memories, vq_memory_device_fields),
    VQ_LIST("crypto", vq_devices, cryptos, vq_crypto_fields),
    VQ_OPTIONAL("iommu", vq_devices, iommu, vq_iommu_fields),
    VQ_OPTIONAL("vsock", vq_devices, vsock, vq_vsock_fields, .flags = VQ_FIELD_ALWAYS),
};
VQ_FIELDS(devices_fields, "devices", vq_devices, devices_rows);

static bool has_fewer_vcpus(const void *object)
{
    const struct vq_domain *domain = object;

    return domain->current_vcpus != domain->vcpus;
}

static const struct vq_field domain_rows[] = {
    VQ_ENUM("@type", vq_domain, type, virt_type_names, REQUIRED),
    VQ_UINT("@id", vq_domain, id, .flags = VQ_FIELD_LIVE),
    VQ_CONSTANT("@xmlns:qemu", "http://libvirt.org/schemas/domain/qemu/1.0", .shown = uses_qemu_namespace),
    VQ_STRING("name", vq_domain, name, .flags = VQ_FIELD_LINE_BREAKS),
    VQ_UUID("uuid", vq_domain, uuid, VQ_HAS(vq_domain, has_uuid)),
    VQ_PRESENT("genid", vq_domain, genid_given),
    VQ_UUID("genid", vq_domain, genid, VQ_HAS(vq_domain, has_genid)),
    VQ_STRING("title", vq_domain, title),
    VQ_STRING("description", vq_domain, description, .flags = VQ_FIELD_LINE_BREAKS),
    VQ_MARKUP("metadata", vq_domain, metadata),
    VQ_UINT("maxMemory/@slots", vq_domain, max_memory_slots),
    VQ_SIZE("maxMemory", vq_domain, max_memory_kib, 1024),
    VQ_ON_OFF("memory/@dumpCore", vq_domain, dump_core),
    VQ_SIZE("memory", vq_domain, memory_kib, 1024),
    VQ_SIZE("currentMemory", vq_domain, current_memory_kib, 1024),
    VQ_OPTIONAL("blkiotune", vq_domain, blkiotune, vq_blkiotune_fields),
    VQ_STRUCT("memtune", vq_domain, memtune, vq_memtune_fields),
    VQ_OPTIONAL("memoryBacking", vq_domain, memory_backing, vq_memory_backing_fields),
    VQ_STRING("vcpu/@placement", vq_domain, vcpu_placement, VQ_WORDS("static", "auto")),
    VQ_CPUSET("vcpu/@cpuset", vq_domain, vcpu_cpuset),
    VQ_UINT("vcpu/@current", vq_domain, current_vcpus, .shown = has_fewer_vcpus),
    VQ_UINT("vcpu", vq_domain, vcpus, .max = 16384),
    VQ_LIST("vcpus/vcpu", vq_domain, vcpu_entries, vcpu_entry_fields, .size = 16384),
    VQ_UINT("iothreads", vq_domain, iothreads, .max = VQ_FIELD_LIST_MAX),
    VQ_LIST("iothreadids/iothread", vq_domain, iothread_ids, iothread_fields),
    VQ_UINT("defaultiothread/@thread_pool_min", vq_domain, default_pool_min, VQ_HAS(vq_domain, has_default_pool_min)),
    VQ_UINT("defaultiothread/@thread_pool_max", vq_domain, default_pool_max, VQ_HAS(vq_domain, has_default_pool_max)),
    VQ_OPTIONAL("cputune", vq_domain, cputune, vq_cputune_fields),
    VQ_STRUCT("numatune", vq_domain, numatune, vq_numatune_fields),
    VQ_STRING("resource/partition", vq_domain, resource_partition),
    VQ_STRING("resource/fibrechannel/@appid", vq_domain, fibrechannel_appid),
    VQ_LIST("sysinfo", vq_domain, sysinfos, vq_sysinfo_fields, .size = 4),
    VQ_STRING("bootloader", vq_domain, bootloader),
    VQ_STRING("bootloader_args", vq_domain, bootloader_args),
    VQ_STRUCT("os", vq_domain, os, vq_os_fields),
    VQ_LIST("idmap/uid", vq_domain, id_map_uids, id_range_fields, .size = 64),
    VQ_LIST("idmap/gid", vq_domain, id_map_gids, id_range_fields, .size = 64),
    VQ_OPTIONAL("features", vq_domain, features, vq_features_fields),
    VQ_OPTIONAL("cpu", vq_domain, cpu, vq_cpu_fields),
    VQ_STRUCT("clock", vq_domain, clock, vq_clock_fields),
    VQ_ENUM("on_poweroff", vq_domain, on_poweroff, ending_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("on_reboot", vq_domain, on_reboot, ending_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("on_crash", vq_domain, on_crash, lifecycle_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRING("on_lockfailure", vq_domain, on_lockfailure, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("default", "poweroff", "restart", "pause", "ignore")),
    VQ_YES_NO("pm/suspend-to-mem/@enabled", vq_domain, pm_suspend_to_mem),
    VQ_YES_NO("pm/suspend-to-disk/@enabled", vq_domain, pm_suspend_to_disk),
    VQ_LIST("perf/event", vq_domain, perf_events, perf_event_fields, .size = 64),
    VQ_STRUCT("devices", vq_domain, devices, devices_fields),
    VQ_LIST("seclabel", vq_domain, seclabels, vq_seclabel_fields, .size = 16),
    VQ_LIST("keywrap/cipher", vq_domain, keywraps, cipher_fields, .size = 4),
    VQ_OPTIONAL("launchSecurity", vq_domain, launch_security, launch_security_fields),
    VQ_OPTIONAL("qemu:commandline", vq_domain, qemu, qemu_fields, .flags = VQ_FIELD_ALWAYS),
    VQ_OPTIONAL("qemu:capabilities", vq_domain, qemu_overrides, qemu_overrides_fields, .flags = VQ_FIELD_ALWAYS),
    VQ_LIST("qemu:override/qemu:device", vq_domain, qemu_devices, override_fields),
    VQ_STRING("qemu:deprecation/@behavior", vq_domain, qemu_deprecation),
};
VQ_FIELDS_EXPORT(vq_domain_fields, "domain", vq_domain, domain_rows);

static_assert((int)VQ_PARSE_INACTIVE == (int)VQ_FIELDS_PARSE_INACTIVE, "flags are handed on");
static_assert((int)VQ_FORMAT_INACTIVE == (int)VQ_FIELDS_INACTIVE && (int)VQ_FORMAT_SECURE == (int)VQ_FIELDS_SECURE &&
                  (int)VQ_FORMAT_MIGRATABLE == (int)VQ_FIELDS_MIGRATABLE,
              "flags are handed on");

/* A virtualization type that we do not know is nothing wrong with the XML. */
static int check_type(const struct vq_xml_node *root, struct vq_error *err)
{
    const struct vq_xml_attr *type = vq_xml_attr_find(root, "type");

    if (type == NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "missing domain type attribute (line %u)", root->line);
    for (size_t i = 1; i < VQ_VIRT_N; i++) {
        if (strcmp(virt_type_names[i], type->value) == 0)
            return 0;
    }
    return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "invalid domain type %.64s", type->value);
}

int vq_domain_parse_report(const char *xml, unsigned flags, struct vq_field_report *report,
                           struct vq_domain **ret_domain, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;
    VQ_AUTOPTR(vq_domain) domain = vq_new(struct vq_domain);

    if (vq_xml_read(xml, "domain_definition", "domain", &doc, err) < 0)
        return -1;
    if (check_type(vq_xml_root(doc), err) < 0)
        return -1;
    if (vq_fields_parse(&vq_domain_fields, vq_xml_root(doc), flags & VQ_PARSE_INACTIVE, domain, report, err) < 0)
        return -1;
    /* The document names the number that runs only where it differs from the maximum, in both directions. */
    if (domain->current_vcpus == 0)
        domain->current_vcpus = domain->vcpus;
    *ret_domain = vq_take(domain);
    return 0;
}

int vq_domain_parse(const char *xml, unsigned flags, struct vq_domain **ret_domain, struct vq_error *err)
{
    struct vq_field_report report = {.document = "domain.xml"};
    VQ_AUTOPTR(vq_domain) domain = NULL;
    int result;

    if (!(flags & VQ_PARSE_STRICT))
        return vq_domain_parse_report(xml, flags, NULL, ret_domain, err);
    result = vq_domain_parse_report(xml, flags, &report, &domain, err);
    if (result == 0 && report.n_unknown > 0) {
        for (char *c = report.text.data; *c != '\0'; c++) {
            if (*c == '\n')
                *c = c[1] == '\0' ? '\0' : ';';
        }
        result = vq_error_set(err, VIR_ERR_XML_INVALID_SCHEMA, "%s", report.text.data);
    }
    if (result == 0)
        *ret_domain = vq_take(domain);
    vq_buffer_done(&report.text);
    return result;
}

char *vq_domain_format_secure(const struct vq_domain *domain, unsigned flags, bool *ret_has_secrets)
{
    struct vq_buffer buffer = VQ_BUFFER_INIT;

    vq_buffer_reserve(&buffer, 8192);
    *ret_has_secrets = vq_fields_format(&vq_domain_fields, domain, "domain", flags | VQ_FORMAT_SECURE, &buffer);
    return vq_buffer_steal(&buffer);
}

char *vq_domain_format(const struct vq_domain *domain, unsigned flags)
{
    struct vq_buffer buffer = VQ_BUFFER_INIT;

    vq_buffer_reserve(&buffer, 8192);
    (void)vq_fields_format(&vq_domain_fields, domain, "domain", flags, &buffer);
    return vq_buffer_steal(&buffer);
}

struct vq_domain *vq_domain_copy(const struct vq_domain *domain)
{
    return vq_fields_copy(&vq_domain_fields, domain);
}

void vq_domain_free(struct vq_domain *domain)
{
    vq_fields_free(&vq_domain_fields, domain);
}
