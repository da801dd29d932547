/* The daemon's settings: one table for the command line and the configuration file. */
#define VQ_FROM VIR_FROM_CONF
#include "node/config.h"

#include <getopt.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/file.h"

/* ---- Tables ---- */

enum kind { TEXT, NUMBER, FLAG };

/* An option of the command line: "--" in front, with an argument unless it is a FLAG. */
struct choice {
    const char *option;
    enum kind kind;
    size_t offset;
    const char *argument, *help;
};

#define AT(field) offsetof(struct vq_config, field)
static const struct choice choices[] = {
    {"config", TEXT, AT(config_file), "FILE", "read this configuration file"},
    {"state-dir", TEXT, AT(state_dir), "DIR", "store, log and identity of this node"},
    {"run-dir", TEXT, AT(run_dir), "DIR", "control socket and sockets of the node view"},
    {"libvirt-run-dir", TEXT, AT(libvirt_run_dir), "DIR", "the sockets that clients know"},
    {"libvirt-state-dir", TEXT, AT(libvirt_state_dir), "DIR", "files of this host's guests"},
    {"libvirt-log-dir", TEXT, AT(libvirt_log_dir), "DIR", "logs of this host's guests"},
    {"libvirt-config-dir", TEXT, AT(libvirt_config_dir), "DIR", "qemu.conf and the like"},
    {"pki-dir", TEXT, AT(pki_dir), "DIR", "certificates of the TLS listener"},
    {"node-name", TEXT, AT(node_name), "NAME", "name of this node until it joins a cluster"},
    {"listen", FLAG, AT(listen_tcp), NULL, "accept plain TCP connections (on loopback)"},
    {"tcp-without-auth", FLAG, AT(tcp_without_auth), NULL, "... also from other hosts, whoever they are"},
    {"listen-addr", TEXT, AT(listen_addr), "ADDRESS", "numeric address for TCP and TLS"},
    {"tcp-port", TEXT, AT(tcp_port), "PORT", "port for plain TCP"},
    {"tls-port", TEXT, AT(tls_port), "PORT", "port for TLS"},
    {"cluster-addr", TEXT, AT(cluster_addr), "ADDRESS", "numeric address of the cluster port"},
    {"cluster-port", TEXT, AT(cluster_port), "PORT", "port for the other nodes"},
    {"election-ms", NUMBER, AT(election_ms), "MS", "election time-out of the cluster"},
};
#undef AT

/* Keys of libvirtd.conf that mean something here, and our own default_view. */
static const struct vq_key keys[] = {
    VQ_KEY("listen_tcp", BOOL, vq_config, listen_tcp),
    VQ_KEY("listen_tls", BOOL, vq_config, listen_tls),
    VQ_KEY("listen_addr", STRING, vq_config, listen_addr),
    VQ_KEY("tcp_port", STRING, vq_config, tcp_port),
    VQ_KEY("tls_port", STRING, vq_config, tls_port),
    VQ_KEY("key_file", STRING, vq_config, key_file),
    VQ_KEY("cert_file", STRING, vq_config, cert_file),
    VQ_KEY("ca_file", STRING, vq_config, ca_file),
    VQ_KEY("crl_file", STRING, vq_config, crl_file),
    VQ_KEY("tls_no_verify_certificate", BOOL, vq_config, tls_no_verify),
    VQ_KEY("tls_allowed_dn_list", STRINGS, vq_config, tls_allowed_dn),
    VQ_KEY("unix_sock_dir", STRING, vq_config, libvirt_run_dir),
    VQ_KEY("unix_sock_group", STRING, vq_config, unix_group),
    VQ_KEY("unix_sock_rw_perms", STRING, vq_config, unix_rw_perms),
    VQ_KEY("unix_sock_ro_perms", STRING, vq_config, unix_ro_perms),
    VQ_KEY("unix_sock_admin_perms", STRING, vq_config, unix_admin_perms),
    VQ_KEY("auth_unix_rw", STRING, vq_config, auth_unix_rw),
    VQ_KEY("auth_unix_ro", STRING, vq_config, auth_unix_ro),
    VQ_KEY("auth_tcp", STRING, vq_config, auth_tcp),
    VQ_KEY("auth_tls", STRING, vq_config, auth_tls),
    VQ_KEY("max_clients", UINT, vq_config, max_clients, .min = 1, .max = 100000),
    VQ_KEY("max_anonymous_clients", UINT, vq_config, max_anonymous_clients, .min = 1, .max = 100000),
    VQ_KEY("max_queued_clients", UINT, vq_config, max_queued_clients, .min = 1, .max = 100000),
    VQ_KEY("max_client_requests", UINT, vq_config, max_client_requests, .min = 1, .max = 1000),
    VQ_KEY("keepalive_interval", INT, vq_config, keepalive_interval_s, .min = -1, .max = 86400),
    VQ_KEY("keepalive_count", UINT, vq_config, keepalive_count, .min = 0, .max = 1000),
    VQ_KEY("host_uuid", STRING, vq_config, host_uuid),
    VQ_KEY("host_uuid_source", STRING, vq_config, host_uuid_source),
    VQ_KEY("default_view", STRING, vq_config, default_view),
    VQ_KEY("default_view_users", STRINGS, vq_config, default_view_users),
};

void vq_config_init(struct vq_config *config)
{
    *config = (struct vq_config){
        .config_file = vq_strdup("/etc/libvirt/libvirtd.conf"),
        .state_dir = vq_strdup("/var/lib/virtquorum"),
        .run_dir = vq_strdup("/run/virtquorum"),
        .libvirt_run_dir = vq_strdup("/run/libvirt"),
        .libvirt_state_dir = vq_strdup("/var/lib/libvirt"),
        .libvirt_log_dir = vq_strdup("/var/log/libvirt"),
        .libvirt_config_dir = vq_strdup("/etc/libvirt"),
        .pki_dir = vq_strdup("/etc/pki"),
        .listen_tls = true,
        .tls_port = vq_strdup("16514"),
        .tcp_port = vq_strdup("16509"),
        .cluster_port = vq_strdup("16520"),
        .unix_rw_mode = 0700,
        .unix_ro_mode = 0777,
        .unix_admin_mode = 0700,
        .max_clients = 5000,
        .max_anonymous_clients = 20,
        .max_queued_clients = 1000,
        .max_client_requests = 5,
        .keepalive_interval_s = 5,
        .keepalive_count = 5,
    };
}

void vq_config_done(struct vq_config *config)
{
    vq_file_clear(keys, VQ_N_ELEMENTS(keys), config);
    for (size_t i = 0; i < VQ_N_ELEMENTS(choices); i++) {
        char **field = (char **)((char *)config + choices[i].offset);
        if (choices[i].kind == TEXT) {
            free(*field);
            *field = NULL; /* some stand in both tables */
        }
    }
    free(config->node_view_uids);
    *config = (struct vq_config){0};
}

/* ---- The file ---- */

static int read_mode(const char *key, const char *text, mode_t *mode, struct vq_error *err)
{
    uint64_t number;

    if (text == NULL)
        return 0;
    if (!vq_parse_u64(text, 8, 0777, &number))
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: '%s' is not a file mode like 0770", key, text);
    *mode = (mode_t)number;
    return 0;
}

static int check_auth(const char *key, const char *text, struct vq_error *err)
{
    if (text == NULL || strcmp(text, "none") == 0 || strcmp(text, "polkit") == 0 || strcmp(text, "sasl") == 0)
        return 0;
    return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: '%s' is not none, sasl or polkit", key, text);
}

static int look_up_users(struct vq_config *config, struct vq_error *err)
{
    for (char **name = config->default_view_users; name != NULL && *name != NULL; name++) {
        struct passwd *user = getpwnam(*name); /* at start, before anything waits for us */
        if (user == NULL)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "default_view_users: there is no user '%s'", *name);
        VQ_GROW(config->node_view_uids, config->n_node_view_uids);
        config->node_view_uids[config->n_node_view_uids++] = user->pw_uid;
    }
    return 0;
}

static int check_file(struct vq_config *config, struct vq_error *err)
{
    uint8_t uuid[VQ_UUID_BYTES];

    if (read_mode("unix_sock_rw_perms", config->unix_rw_perms, &config->unix_rw_mode, err) < 0 ||
        read_mode("unix_sock_ro_perms", config->unix_ro_perms, &config->unix_ro_mode, err) < 0 ||
        read_mode("unix_sock_admin_perms", config->unix_admin_perms, &config->unix_admin_mode, err) < 0 ||
        check_auth("auth_unix_rw", config->auth_unix_rw, err) < 0 ||
        check_auth("auth_unix_ro", config->auth_unix_ro, err) < 0 ||
        check_auth("auth_tcp", config->auth_tcp, err) < 0 || check_auth("auth_tls", config->auth_tls, err) < 0)
        return -1;
    if (config->default_view != NULL && strcmp(config->default_view, "node") != 0 &&
        strcmp(config->default_view, "cluster") != 0)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "default_view: '%s' is neither cluster nor node",
                            config->default_view);
    if (config->host_uuid != NULL && (!vq_uuid_parse(config->host_uuid, uuid) || !vq_uuid_is_usable(uuid)))
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "host_uuid: '%s' is not the UUID of a host", config->host_uuid);
    if (config->host_uuid_source != NULL && strcmp(config->host_uuid_source, "smbios") != 0 &&
        strcmp(config->host_uuid_source, "machine-id") != 0)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "host_uuid_source: '%s' is neither smbios nor machine-id",
                            config->host_uuid_source);
    if (vq_streq(config->auth_tcp, "none"))
        config->tcp_without_auth = true; /* somebody has written it down */
    return look_up_users(config, err);
}

static int read_file(struct vq_config *config, bool must_exist, struct vq_error *err)
{
    bool is_there = false;

    if (vq_file_read(config->config_file, keys, VQ_N_ELEMENTS(keys), config, NULL, &is_there, err) < 0)
        return -1;
    if (!is_there && must_exist)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "there is no file %s", config->config_file);
    return check_file(config, err);
}

/* ---- The command line ---- */

static void print_help(void)
{
    char left[64];

    printf("Usage: virtquorumd [OPTION]...\n\n"
           "Serve this host's guests, and those of its cluster, to libvirt clients.\n\n");
    for (size_t i = 0; i < VQ_N_ELEMENTS(choices); i++) {
        const struct choice *choice = &choices[i];
        (void)snprintf(left, sizeof(left), "--%s%s%s", choice->option, choice->argument == NULL ? "" : "=",
                       choice->argument == NULL ? "" : choice->argument);
        printf("  %-28s %s\n", left, choice->help);
    }
    printf("  %-28s %s\n  %-28s %s\n  %-28s %s\n\n", "-v, --verbose", "log more; twice: everything", "-V, --version",
           "print the version", "-h, --help", "print this text");
    printf("Without options it takes the places and ports of libvirtd. SIGTERM stops it; guests go on.\n");
}

enum { OPTION_HELP = 'h', OPTION_VERSION = 'V', OPTION_VERBOSE = 'v', OPTION_FIRST = 256 };
enum { ELECTION_MS_MAX = 60000 };

static void make_options(struct option options[VQ_N_ELEMENTS(choices) + 4])
{
    size_t n = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(choices); i++)
        options[n++] = (struct option){choices[i].option, choices[i].kind == FLAG ? no_argument : required_argument,
                                       NULL, OPTION_FIRST + (int)i};
    options[n++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    options[n++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    options[n++] = (struct option){"verbose", no_argument, NULL, OPTION_VERBOSE};
    options[n] = (struct option){0};
}

static int take_option(struct vq_config *config, const struct choice *choice, const char *value, struct vq_error *err)
{
    char *field = (char *)config + choice->offset;
    uint64_t number;

    switch (choice->kind) {
    case TEXT:
        if (*value == '\0')
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "--%s must not be empty", choice->option);
        free(*(char **)field);
        *(char **)field = vq_strdup(value);
        return 0;
    case NUMBER:
        if (!vq_parse_u64(value, 10, ELECTION_MS_MAX, &number))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "--%s: '%s' is not a number from 0 to %d", choice->option,
                                value, ELECTION_MS_MAX);
        *(uint32_t *)field = (uint32_t)number;
        return 0;
    case FLAG:
        *(bool *)field = true;
        return 0;
    }
    return 0;
}

/* One walk over the command line; only_config: for the name of the file, and nothing else yet. Returns as
 * vq_config_read(). */
static int walk_options(struct vq_config *config, bool only_config, bool *ret_names_config, int argc, char **argv,
                        struct vq_error *err)
{
    struct option options[VQ_N_ELEMENTS(choices) + 4];
    int option;

    make_options(options);
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "hVv", options, NULL)) != -1) {
        if (option == OPTION_HELP || option == OPTION_VERSION) {
            if (option == OPTION_HELP)
                print_help();
            else
                printf("virtquorumd %s\n", VQ_VERSION);
            return 1;
        }
        if (option == '?')
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "unknown option or missing argument: %s (try --help)",
                                argv[optind - 1]);
        if (option == OPTION_VERBOSE && !only_config && vq_log_level > VQ_LOG_DEBUG)
            vq_log_level--;
        if (option < OPTION_FIRST)
            continue;
        const struct choice *choice = &choices[option - OPTION_FIRST];
        bool is_config = choice == &choices[0];
        *ret_names_config = *ret_names_config || is_config;
        if ((is_config || !only_config) && take_option(config, choice, optarg, err) < 0)
            return -1;
    }
    if (optind < argc)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an option (try --help)", argv[optind]);
    return 0;
}

int vq_config_read(struct vq_config *config, int argc, char **argv, struct vq_error *err)
{
    bool names_config = false;
    int result = walk_options(config, true, &names_config, argc, argv, err);

    if (result != 0)
        return result;
    if (read_file(config, names_config, err) < 0)
        return -1;
    return walk_options(config, false, &names_config, argc, argv, err);
}
