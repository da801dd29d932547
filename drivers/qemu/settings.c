/* qemu.conf: the table of its keys, and what must hold between them. */
#define VQ_FROM VIR_FROM_CONF
#include "drivers/qemu/settings.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/file.h"

enum { DISPLAY_PORT_MIN = 5900, WEBSOCKET_PORT_MIN = 5700, MIGRATION_PORT_MIN = 49152, MIGRATION_PORT_MAX = 49215 };

#define KEY(name, kind, ...) VQ_KEY(#name, kind, vq_qemu_settings, name, __VA_ARGS__)
#define KEY_AT(name, kind, member, ...) VQ_KEY(#name, kind, vq_qemu_settings, member, __VA_ARGS__)
#define TLS(use)                                                                                                       \
    KEY_AT(use##_tls_x509_cert_dir, STRING, use##_tls.dir), KEY_AT(use##_tls_x509_secret_uuid, STRING, use##_tls.secret), \
    KEY_AT(use##_tls_x509_verify, INT, use##_tls.verifies, .min = 0, .max = 1)
#define DISPLAY(kind)                                                                                                  \
    KEY_AT(kind##_listen, STRING, kind.listen), KEY_AT(kind##_password, STRING, kind.password),                        \
    KEY_AT(kind##_sasl, BOOL, kind.sasl), KEY_AT(kind##_tls, BOOL, kind##_tls.is_wanted),                              \
    VQ_KEY_WITHOUT_EFFECT(#kind "_auto_unix_socket", "give the display <listen type='socket'/>"),                      \
    VQ_KEY_WITHOUT_EFFECT(#kind "_sasl_dir", "displays have no SASL")
#define PORTS .min = 1, .max = UINT16_MAX

static const struct vq_key keys[] = {
    KEY(user, STRING),
    KEY(group, STRING),
    KEY(dynamic_ownership, BOOL),
    VQ_KEY_WITHOUT_EFFECT("remember_owner", "an image goes back to the owner that it had before the run"),
    KEY(clear_emulator_capabilities, BOOL),
    KEY(seccomp_sandbox, INT, .min = -1, .max = 1),
    KEY(security_driver, STRINGS),
    VQ_KEY_WITHOUT_EFFECT("namespaces", "QEMU sees the host's /dev"),
    VQ_KEY_WITHOUT_EFFECT("cgroup_controllers", "guests are in no cgroup of their own"),
    VQ_KEY_WITHOUT_EFFECT("cgroup_device_acl", "guests are in no cgroup of their own"),
    VQ_KEY_WITHOUT_EFFECT("capability_filters", "'qemu:capabilities' of a domain does this"),
    KEY(max_files, UINT),
    KEY(max_processes, UINT),
    VQ_KEY_WITHOUT_EFFECT("max_core", "the daemon's own limit counts"),
    VQ_KEY_WITHOUT_EFFECT("dump_guest_core", "'dumpCore' of a domain's memory says it"),
    VQ_KEY_WITHOUT_EFFECT("set_process_name", "QEMU's name is in its arguments"),
    DISPLAY(vnc),
    DISPLAY(spice),
    VQ_KEY_WITHOUT_EFFECT("vnc_allow_host_audio", "'<audio>' of a domain says where sound goes"),
    VQ_KEY_WITHOUT_EFFECT("nographics_allow_host_audio", "'<audio>' of a domain says where sound goes"),
    KEY(remote_display_port_min, UINT, .min = DISPLAY_PORT_MIN, .max = UINT16_MAX),
    KEY(remote_display_port_max, UINT, .min = DISPLAY_PORT_MIN, .max = UINT16_MAX),
    KEY(remote_websocket_port_min, UINT, .min = WEBSOCKET_PORT_MIN, .max = UINT16_MAX),
    KEY(remote_websocket_port_max, UINT, .min = WEBSOCKET_PORT_MIN, .max = UINT16_MAX),
    TLS(default),
    TLS(vnc),
    TLS(spice),
    TLS(chardev),
    KEY_AT(chardev_tls, BOOL, chardev_tls.is_wanted),
    TLS(nbd),
    KEY_AT(nbd_tls, BOOL, nbd_tls.is_wanted),
    VQ_KEY_WITHOUT_EFFECT("backup_tls_x509_cert_dir", "there are no backups yet"),
    VQ_KEY_WITHOUT_EFFECT("backup_tls_x509_verify", "there are no backups yet"),
    VQ_KEY_WITHOUT_EFFECT("backup_tls_x509_secret_uuid", "there are no backups yet"),
    TLS(migrate),
    KEY(migrate_tls_force, BOOL),
    KEY(migration_port_min, UINT, PORTS),
    KEY(migration_port_max, UINT, PORTS),
    KEY(migration_address, STRING),
    KEY(migration_host, STRING),
    VQ_KEY_WITHOUT_EFFECT("keepalive_interval", "a connection to another daemon has deadlines of its own"),
    VQ_KEY_WITHOUT_EFFECT("keepalive_count", "a connection to another daemon has deadlines of its own"),
    KEY(save_image_format, STRING),
    KEY(dump_image_format, STRING),
    VQ_KEY_WITHOUT_EFFECT("snapshot_image_format", "there are no snapshots yet"),
    KEY(auto_dump_path, STRING),
    KEY(auto_dump_bypass_cache, BOOL),
    KEY(auto_start_bypass_cache, BOOL),
    VQ_KEY_WITHOUT_EFFECT("hugetlbfs_mount", "the kernel's list of mounts is looked at"),
    VQ_KEY_WITHOUT_EFFECT("nvram", "the firmware descriptors of /usr/share/qemu/firmware and /etc/qemu/firmware say it"),
    VQ_KEY_WITHOUT_EFFECT("memory_backing_dir", "memory in files lies in the guest's directory"),
    VQ_KEY_WITHOUT_EFFECT("bridge_helper", "no helper is needed: the daemon makes the taps"),
    VQ_KEY_WITHOUT_EFFECT("pr_helper", "managed reservations are refused"),
    VQ_KEY_WITHOUT_EFFECT("slirp_helper", "QEMU's own user network is used"),
    VQ_KEY_WITHOUT_EFFECT("dbus_daemon", "the daemon starts no D-Bus of its own"),
    KEY(swtpm_user, STRING),
    KEY(swtpm_group, STRING),
    VQ_KEY_WITHOUT_EFFECT("virtiofsd_debug", "not passed on"),
    VQ_KEY_WITHOUT_EFFECT("relaxed_acs_check", "the ACS of PCI devices is not looked at"),
    VQ_KEY_WITHOUT_EFFECT("gluster_debug_level", "not passed on"),
    VQ_KEY_WITHOUT_EFFECT("stdio_handler", "QEMU writes its log itself, the daemon bounds it"),
    VQ_KEY_WITHOUT_EFFECT("deprecation_behavior", "'qemu:deprecation' of a domain says it"),
    VQ_KEY_WITHOUT_EFFECT("sched_core", "core scheduling is not set"),
    VQ_KEY_WITHOUT_EFFECT("lock_manager", "the cluster lets a domain run on one host only, and QEMU locks its images"),
    VQ_KEY_WITHOUT_EFFECT("max_queued", "a call never waits for another one's job"),
    VQ_KEY_WITHOUT_EFFECT("max_threads_per_process", "there is no systemd scope whose tasks it would bound"),
    VQ_KEY_WITHOUT_EFFECT("log_timestamp", "QEMU's messages always have the time"),
    VQ_KEY_WITHOUT_EFFECT("mac_filter", "frames are filtered by network filters only"),
    VQ_KEY_WITHOUT_EFFECT("security_default_confined", "there is no security driver that confines beside users and groups"),
    VQ_KEY_WITHOUT_EFFECT("security_require_confined", "there is no security driver that confines beside users and groups"),
    VQ_KEY_WITHOUT_EFFECT("vxhs_tls", "QEMU has no VxHS disks any more"),
    VQ_KEY_WITHOUT_EFFECT("vxhs_tls_x509_cert_dir", "QEMU has no VxHS disks any more"),
    VQ_KEY_WITHOUT_EFFECT("vxhs_tls_x509_secret_uuid", "QEMU has no VxHS disks any more"),
};

/* Words that are the only ones for a key, and directories, which must be absolute. */
static const struct {
    const char *name;
    size_t offset;
    const char *const *words;
} texts[] = {
#define WORDS(name, ...) { #name, offsetof(struct vq_qemu_settings, name), (const char *const[]){ __VA_ARGS__, NULL } }
#define PATH(name, member) { #name, offsetof(struct vq_qemu_settings, member), NULL }
    WORDS(save_image_format, "raw", "gzip", "bzip2", "xz", "lzop", "zstd"),
    WORDS(dump_image_format, "raw", "gzip", "bzip2", "xz", "lzop", "zstd"),
    PATH(auto_dump_path, auto_dump_path),
    PATH(default_tls_x509_cert_dir, default_tls.dir),
    PATH(vnc_tls_x509_cert_dir, vnc_tls.dir),
    PATH(spice_tls_x509_cert_dir, spice_tls.dir),
    PATH(chardev_tls_x509_cert_dir, chardev_tls.dir),
    PATH(nbd_tls_x509_cert_dir, nbd_tls.dir),
    PATH(migrate_tls_x509_cert_dir, migrate_tls.dir),
#undef WORDS
#undef PATH
};

static int check_text(const char *name, const char *const *words, const char *value, struct vq_error *err)
{
    VQ_AUTOBUFFER list = VQ_BUFFER_INIT;

    if (words == NULL)
        return value[0] == '/' ? 0 : vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: '%s' is no absolute path", name, value);
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0)
            return 0;
        vq_buffer_addf(&list, "%s'%s'", i > 0 ? ", " : "", words[i]);
    }
    return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: '%s' is none of %s", name, value, list.data);
}

static int check_texts(const struct vq_qemu_settings *settings, struct vq_error *err)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(texts); i++) {
        const char *value = *(char *const *)((const char *)settings + texts[i].offset);

        if (value != NULL && check_text(texts[i].name, texts[i].words, value, err) < 0)
            return -1;
    }
    return 0;
}

/* A name that leads a host to itself would send the guest nowhere. */
static int check_migration_host(const char *host, struct vq_error *err)
{
    static const char *const own[] = { "", "localhost", "127.0.0.1", "::1", "[::1]" };

    for (size_t i = 0; host != NULL && i < VQ_N_ELEMENTS(own); i++)
        if (strcmp(host, own[i]) == 0 || strncmp(host, "localhost.", 10) == 0)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "migration_host: '%s' is no address that other hosts can send to", host);
    return 0;
}

/* A protection that was asked for must not be missing without a word. */
static int check_protections(const struct vq_qemu_settings *settings, struct vq_error *err)
{
    const struct {
        const char *name;
        bool is_wanted;
        const char *instead;
    } rows[] = {
        { "vnc_password", settings->vnc.password != NULL, "give each display a 'passwd'" },
        { "spice_password", settings->spice.password != NULL, "give each display a 'passwd'" },
        { "vnc_sasl", settings->vnc.sasl, "give each display a 'passwd', or use vnc_tls with vnc_tls_x509_verify" },
        { "spice_sasl", settings->spice.sasl, "give each display a 'passwd'" },
        { "chardev_tls", settings->chardev_tls.is_wanted, "give each TCP device <source ... tls='yes'/>" },
        { "security_driver", settings->security_driver != NULL && settings->security_driver[0] != NULL &&
          !vq_streq(settings->security_driver[0], "none"), "\"none\" is the only one; user and group keep guests apart" },
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (rows[i].is_wanted)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: it cannot be honoured here, so it has to be taken out: %s", rows[i].name,
                                rows[i].instead);
    return 0;
}

static int check_ranges(const struct vq_qemu_settings *settings, struct vq_error *err)
{
    const struct {
        const char *what;
        uint32_t min, max;
    } ranges[] = {
        { "remote_display_port", settings->remote_display_port_min, settings->remote_display_port_max },
        { "remote_websocket_port", settings->remote_websocket_port_min, settings->remote_websocket_port_max },
        { "migration_port", settings->migration_port_min, settings->migration_port_max },
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(ranges); i++)
        if (ranges[i].min > ranges[i].max)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s_min is above %s_max", ranges[i].what, ranges[i].what);
    return 0;
}

/* "+1000" is a number; what is a name on the host is one, also when it looks like a number. */
static bool number_of(const char *value, uint64_t *ret)
{
    return vq_parse_u64(value[0] == '+' ? value + 1 : value, 10, UINT32_MAX - 1, ret);
}

/* Read once, at start: nothing later looks names up. */
static int find_user(struct vq_qemu_settings *settings, struct vq_error *err)
{
    const struct passwd *entry = NULL;
    uint64_t number;

    if (settings->user == NULL)
        return 0;
    if (number_of(settings->user, &number))
        entry = getpwuid((uid_t)number);
    else if ((entry = getpwnam(settings->user)) == NULL)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "user: this host has no user '%s'", settings->user);
    else
        number = entry->pw_uid;
    settings->uid = (uid_t)number;
    settings->gid = entry != NULL ? entry->pw_gid : (gid_t)number;
    settings->has_user = settings->uid != 0; /* "root": as ourselves */
    return 0;
}

static int find_group(struct vq_qemu_settings *settings, struct vq_error *err)
{
    const struct group *entry;
    uint64_t number;

    if (settings->group == NULL)
        return 0;
    if (!number_of(settings->group, &number)) {
        entry = getgrnam(settings->group);
        if (entry == NULL)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "group: this host has no group '%s'", settings->group);
        number = entry->gr_gid;
    }
    settings->gid = (gid_t)number;
    return 0;
}

static int find_tpm_user(struct vq_qemu_settings *settings, struct vq_error *err)
{
    const struct passwd *user = getpwnam(settings->swtpm_user != NULL ? settings->swtpm_user : "tss");
    const struct group *group = settings->swtpm_group == NULL ? NULL : getgrnam(settings->swtpm_group);

    if (user == NULL && settings->swtpm_user != NULL)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "swtpm_user: this host has no user '%s'", settings->swtpm_user);
    if (group == NULL && settings->swtpm_group != NULL)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "swtpm_group: this host has no group '%s'", settings->swtpm_group);
    if (user == NULL || user->pw_uid == 0)
        return 0;
    settings->has_tpm_user = true;
    settings->tpm_uid = user->pw_uid;
    settings->tpm_gid = group != NULL ? group->gr_gid : user->pw_gid;
    return 0;
}

int vq_qemu_settings_read(struct vq_qemu_settings *settings, const char *config_dir, struct vq_buffer *remarks, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/qemu.conf", config_dir);
    const struct vq_qemu_tls not_said = { .verifies = -1 };
    bool is_there;

    *settings = (struct vq_qemu_settings){
        .dynamic_ownership = true, .clear_emulator_capabilities = true, .seccomp_sandbox = -1,
        .vnc.listen = vq_strdup("127.0.0.1"), .spice.listen = vq_strdup("127.0.0.1"),
        .remote_display_port_min = DISPLAY_PORT_MIN, .remote_display_port_max = UINT16_MAX,
        .remote_websocket_port_min = WEBSOCKET_PORT_MIN, .remote_websocket_port_max = UINT16_MAX,
        .default_tls = not_said, .vnc_tls = not_said, .spice_tls = not_said, .chardev_tls = not_said, .nbd_tls = not_said,
        .migrate_tls = not_said, .migration_port_min = MIGRATION_PORT_MIN,
        .migration_port_max = MIGRATION_PORT_MAX, 
        .save_image_format = vq_strdup("raw"), .dump_image_format = vq_strdup("raw"),
    };

    if (vq_file_read(path, keys, VQ_N_ELEMENTS(keys), settings, remarks, &is_there, err) < 0)
        return -1;
    if (check_texts(settings, err) < 0 || check_migration_host(settings->migration_host, err) < 0 ||
        check_ranges(settings, err) < 0 || check_protections(settings, err) < 0 || find_user(settings, err) < 0 || find_group(settings, err) < 0 ||
        find_tpm_user(settings, err) < 0)
        return vq_error_wrap(err, "reading '%s'", path);
    return 0;
}

void vq_qemu_settings_done(struct vq_qemu_settings *settings)
{
    vq_file_clear(keys, VQ_N_ELEMENTS(keys), settings);
}
