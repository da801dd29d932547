/* qemu.conf, as far as the driver uses it: lines of "name = value", value a number, a string in double quotes, or a list,
 * which is skipped. A name that is not used here is left to the file's other readers. */
#define VQ_FROM VIR_FROM_CONF

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/driver.h"

enum { LINE_MAX_BYTES = 4096, LINES_MAX = 10000, PORT_MIN = 5900, MIGRATION_PORT_MIN = 49152, MIGRATION_PORT_MAX = 49215 };

typedef int (*setting_fn)(struct vq_qemu_settings *settings, const char *value, struct vq_error *err);

static int number_of(const char *value, uint64_t max, uint64_t *ret, struct vq_error *err)
{
    return vq_parse_u64(value, 10, max, ret) ? 0 : vq_error_set(err, VIR_ERR_CONF_SYNTAX, "'%s' is no number up to %llu",
                                                                value, (unsigned long long)max);
}

/* "+1000" is a number, else a name of the host. Read once at start: nothing later looks names up. */
static int set_user(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    const struct passwd *entry;
    uint64_t number;

    if (vq_parse_u64(value[0] == '+' ? value + 1 : value, 10, UINT32_MAX - 1, &number)) {
        settings->uid = (uid_t)number;
        settings->has_user = true;
        return 0;
    }
    entry = getpwnam(value);
    if (entry == NULL)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "this host has no user '%s'", value);
    settings->uid = entry->pw_uid;
    settings->has_user = true;
    return 0;
}

static int set_group(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    const struct group *entry;
    uint64_t number;

    settings->has_group = true;
    if (vq_parse_u64(value[0] == '+' ? value + 1 : value, 10, UINT32_MAX - 1, &number)) {
        settings->gid = (gid_t)number;
        return 0;
    }
    entry = getgrnam(value);
    if (entry == NULL)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "this host has no group '%s'", value);
    settings->gid = entry->gr_gid;
    return 0;
}

static int set_sandbox(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    int64_t number;

    if (!vq_parse_i64(value, -1, 1, &number))
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "'%s' is not -1, 0 or 1", value);
    settings->sandbox = number != 0;
    return 0;
}

static int set_vnc_listen(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    (void)err;
    free(settings->vnc_listen);
    settings->vnc_listen = vq_strdup(value);
    return 0;
}

static int set_spice_listen(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    (void)err;
    free(settings->spice_listen);
    settings->spice_listen = vq_strdup(value);
    return 0;
}

static int set_migration_address(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    (void)err;
    vq_set_text(&settings->migration_address, value);
    return 0;
}

/* A name that leads a host to itself would send the guest nowhere. */
static int set_migration_host(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    if (value[0] == '\0' || strncmp(value, "localhost", 9) == 0 || strcmp(value, "127.0.0.1") == 0 ||
        strcmp(value, "::1") == 0 || strcmp(value, "[::1]") == 0)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "'%s' is no address that other hosts can send to", value);
    vq_set_text(&settings->migration_host, value);
    return 0;
}

static int migration_port_of(const char *value, uint16_t *ret, struct vq_error *err)
{
    uint64_t number;

    if (number_of(value, UINT16_MAX, &number, err) < 0)
        return -1;
    if (number == 0)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "0 is no port");
    *ret = (uint16_t)number;
    return 0;
}

static int set_migration_port_min(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return migration_port_of(value, &settings->migration_port_min, err);
}

static int set_migration_port_max(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return migration_port_of(value, &settings->migration_port_max, err);
}

static int port_of(const char *value, uint16_t *ret, struct vq_error *err)
{
    uint64_t number;

    if (number_of(value, UINT16_MAX, &number, err) < 0)
        return -1;
    if (number < PORT_MIN)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s is below %d", value, PORT_MIN);
    *ret = (uint16_t)number;
    return 0;
}

static int set_port_min(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return port_of(value, &settings->vnc_port_min, err);
}

static int set_port_max(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return port_of(value, &settings->vnc_port_max, err);
}

static int set_files(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return number_of(value, INT32_MAX, &settings->files_max, err);
}

static int set_processes(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return number_of(value, INT32_MAX, &settings->processes_max, err);
}

static int set_clear(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    uint64_t number;

    if (number_of(value, 1, &number, err) < 0)
        return -1;
    settings->clear_emulator_capabilities = number == 1;
    return 0;
}

static int set_ownership(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    uint64_t number;

    if (number_of(value, 1, &number, err) < 0)
        return -1;
    settings->dynamic_ownership = number == 1;
    return 0;
}

static int flag_of(const char *value, bool *ret, struct vq_error *err)
{
    uint64_t number;

    if (number_of(value, 1, &number, err) < 0)
        return -1;
    *ret = number == 1;
    return 0;
}

static int set_tls_force(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return flag_of(value, &settings->migrate_tls_force, err);
}

static int set_nbd_tls(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return flag_of(value, &settings->nbd_tls, err);
}

static int set_tls_dir(struct vq_qemu_tls *tls, const char *value, struct vq_error *err)
{
    if (value[0] != '/')
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "'%s' is no absolute path", value);
    vq_set_text(&tls->dir, value);
    return 0;
}

static int set_tls_verify(struct vq_qemu_tls *tls, const char *value, struct vq_error *err)
{
    bool verifies;

    if (flag_of(value, &verifies, err) < 0)
        return -1;
    tls->verifies = verifies;
    return 0;
}

static int set_tls_secret(struct vq_qemu_tls *tls, const char *value, struct vq_error *err)
{
    (void)err;
    vq_set_text(&tls->secret, value);
    return 0;
}

static int set_default_tls_dir(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return set_tls_dir(&settings->default_tls, value, err);
}

static int set_default_tls_verify(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return set_tls_verify(&settings->default_tls, value, err);
}

static int set_default_tls_secret(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return set_tls_secret(&settings->default_tls, value, err);
}

static int set_migrate_tls_dir(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return set_tls_dir(&settings->migrate_tls, value, err);
}

static int set_migrate_tls_verify(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return set_tls_verify(&settings->migrate_tls, value, err);
}

static int set_migrate_tls_secret(struct vq_qemu_settings *settings, const char *value, struct vq_error *err)
{
    return set_tls_secret(&settings->migrate_tls, value, err);
}

static const struct {
    const char *name;
    setting_fn fn;
} rows[] = {
    { "user", set_user },
    { "group", set_group },
    { "seccomp_sandbox", set_sandbox },
    { "vnc_listen", set_vnc_listen },
    { "spice_listen", set_spice_listen },
    { "remote_display_port_min", set_port_min },
    { "remote_display_port_max", set_port_max },
    { "max_files", set_files },
    { "max_processes", set_processes },
    { "clear_emulator_capabilities", set_clear },
    { "dynamic_ownership", set_ownership },
    { "migration_address", set_migration_address },
    { "migration_host", set_migration_host },
    { "migration_port_min", set_migration_port_min },
    { "migration_port_max", set_migration_port_max },
    { "default_tls_x509_cert_dir", set_default_tls_dir },
    { "default_tls_x509_verify", set_default_tls_verify },
    { "default_tls_x509_secret_uuid", set_default_tls_secret },
    { "migrate_tls_x509_cert_dir", set_migrate_tls_dir },
    { "migrate_tls_x509_verify", set_migrate_tls_verify },
    { "migrate_tls_x509_secret_uuid", set_migrate_tls_secret },
    { "migrate_tls_force", set_tls_force },
    { "nbd_tls", set_nbd_tls },
};

static char *trim(char *text)
{
    size_t length;

    while (isspace((unsigned char)*text))
        text++;
    length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        text[--length] = '\0';
    return text;
}

/* Cuts "name = value" in two; false: nothing on the line that counts here. */
static bool split(char *line, char **ret_name, char **ret_value)
{
    char *equals, *end;

    line = trim(line);
    equals = strchr(line, '=');
    if (*line == '#' || *line == '\0' || equals == NULL)
        return false;
    *equals = '\0';
    *ret_name = trim(line);
    *ret_value = trim(equals + 1);
    if (**ret_value == '"') {
        end = strchr(++*ret_value, '"');
        if (end != NULL)
            *end = '\0';
    } else if ((end = strchr(*ret_value, '#')) != NULL) {
        *end = '\0';
        *ret_value = trim(*ret_value);
    }
    return true;
}

/* A line that cannot be read may be the one that names the user of QEMU: passing over it is not safe. A list may go over
 * several lines; none of those that have a meaning here is one. */
static int read_line(struct vq_qemu_settings *settings, char *line, bool *is_in_list, struct vq_error *err)
{
    char *name, *value, *text = trim(line);

    if (*text == '\0' || *text == '#')
        return 0;
    if (*is_in_list) {
        *is_in_list = strchr(text, ']') == NULL;
        return 0;
    }
    if (!split(text, &name, &value) || *name == '\0')
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "neither a setting nor a comment");
    *is_in_list = *value == '[' && strchr(value, ']') == NULL;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].fn(settings, value, err) < 0 ? vq_error_wrap(err, "%s", name) : 0;
    return 0;
}

static int read_file(struct vq_qemu_settings *settings, FILE *file, struct vq_error *err)
{
    char line[LINE_MAX_BYTES];
    bool is_in_list = false;

    for (int number = 1; fgets(line, sizeof(line), file) != NULL; number++) {
        if (number > LINES_MAX)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "more than %d lines", LINES_MAX);
        if (strlen(line) == sizeof(line) - 1 && line[sizeof(line) - 2] != '\n')
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "line %d is longer than %zu bytes", number, sizeof(line) - 2);
        if (read_line(settings, line, &is_in_list, err) < 0)
            return vq_error_wrap(err, "line %d", number);
    }
    return is_in_list ? vq_error_set(err, VIR_ERR_CONF_SYNTAX, "a list has no end") : 0;
}

int vq_qemu_settings_read(struct vq_qemu_settings *settings, const char *config_dir, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/qemu.conf", config_dir);
    FILE *file;
    int rc;

    *settings = (struct vq_qemu_settings){ .sandbox = true, .vnc_listen = vq_strdup("127.0.0.1"),
                                           .spice_listen = vq_strdup("127.0.0.1"), .vnc_port_min = PORT_MIN,
                                           .vnc_port_max = UINT16_MAX, .clear_emulator_capabilities = true,
                                           .dynamic_ownership = true, .migration_port_min = MIGRATION_PORT_MIN,
                                           .migration_port_max = MIGRATION_PORT_MAX, .default_tls.verifies = -1,
                                           .migrate_tls.verifies = -1 };
    file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? 0 : vq_error_system(err, errno, "cannot read '%s'", path);
    rc = read_file(settings, file, err);
    (void)fclose(file);
    if (rc < 0)
        return vq_error_wrap(err, "reading '%s'", path);
    if (settings->migration_port_min > settings->migration_port_max)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "reading '%s': migration_port_min is above migration_port_max", path);
    if (settings->has_user && !settings->has_group) {
        const struct passwd *entry = getpwuid(settings->uid);

        settings->gid = entry != NULL ? entry->pw_gid : (gid_t)settings->uid;
    }
    if (settings->has_user && settings->uid == 0) /* "root": as ourselves */
        settings->has_user = false;
    return 0;
}

static void tls_done(struct vq_qemu_tls *tls)
{
    free(vq_take(tls->dir));
    free(vq_take(tls->secret));
}

void vq_qemu_settings_done(struct vq_qemu_settings *settings)
{
    tls_done(&settings->default_tls);
    tls_done(&settings->migrate_tls);
    free(settings->vnc_listen);
    free(settings->spice_listen);
    free(settings->migration_address);
    free(settings->migration_host);
    settings->vnc_listen = settings->spice_listen = settings->migration_address = settings->migration_host = NULL;
}
