/* The daemon's settings: one table for the command line and the configuration file. */
#define VQ_FROM VIR_FROM_CONF
#include "node/config.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"

enum kind { TEXT, NUMBER, FLAG, MODE, LIST };

/* One setting. option: on the command line ("--" in front, with an argument unless it is a FLAG); key: in the file. */
struct setting {
    const char *option, *key;
    enum kind kind;
    size_t offset;
    uint64_t max;
    const char *argument, *help;
};

#define AT(field) offsetof(struct vq_config, field)
static const struct setting settings[] = {
    {"config", NULL, TEXT, AT(config_file), 0, "FILE", "read this configuration file"},
    {"state-dir", NULL, TEXT, AT(state_dir), 0, "DIR", "store, log and identity of this node"},
    {"run-dir", NULL, TEXT, AT(run_dir), 0, "DIR", "control socket and sockets of the node view"},
    {"libvirt-run-dir", NULL, TEXT, AT(libvirt_run_dir), 0, "DIR", "the sockets that clients know"},
    {"libvirt-state-dir", NULL, TEXT, AT(libvirt_state_dir), 0, "DIR", "files of this host's guests"},
    {"libvirt-log-dir", NULL, TEXT, AT(libvirt_log_dir), 0, "DIR", "logs of this host's guests"},
    {"libvirt-config-dir", NULL, TEXT, AT(libvirt_config_dir), 0, "DIR", "qemu.conf and the like"},
    {"pki-dir", NULL, TEXT, AT(pki_dir), 0, "DIR", "certificates of the TLS listener"},
    {"node-name", NULL, TEXT, AT(node_name), 0, "NAME", "name of this node until it joins a cluster"},
    {"listen", NULL, FLAG, AT(listen_tcp), 0, NULL, "accept plain TCP connections (on loopback)"},
    {"tcp-without-auth", NULL, FLAG, AT(tcp_without_auth), 0, NULL, "... also from other hosts, whoever they are"},
    {NULL, "listen_tcp", FLAG, AT(listen_tcp), 0, NULL, NULL},
    {NULL, "listen_tls", FLAG, AT(listen_tls), 0, NULL, NULL},
    {"listen-addr", "listen_addr", TEXT, AT(listen_addr), 0, "ADDRESS", "numeric address for TCP and TLS"},
    {"tcp-port", "tcp_port", TEXT, AT(tcp_port), 0, "PORT", "port for plain TCP"},
    {"tls-port", "tls_port", TEXT, AT(tls_port), 0, "PORT", "port for TLS"},
    {"cluster-addr", NULL, TEXT, AT(cluster_addr), 0, "ADDRESS", "numeric address of the cluster port"},
    {"cluster-port", NULL, TEXT, AT(cluster_port), 0, "PORT", "port for the other nodes"},
    {"election-ms", NULL, NUMBER, AT(election_ms), 60000, "MS", "election time-out of the cluster"},
    {NULL, "key_file", TEXT, AT(key_file), 0, NULL, NULL},
    {NULL, "cert_file", TEXT, AT(cert_file), 0, NULL, NULL},
    {NULL, "ca_file", TEXT, AT(ca_file), 0, NULL, NULL},
    {NULL, "crl_file", TEXT, AT(crl_file), 0, NULL, NULL},
    {NULL, "tls_allowed_dn_list", LIST, AT(tls_allowed_dn), 0, NULL, NULL},
    {NULL, "unix_sock_group", TEXT, AT(unix_group), 0, NULL, NULL},
    {NULL, "unix_sock_rw_perms", MODE, AT(unix_rw_mode), 0, NULL, NULL},
    {NULL, "unix_sock_ro_perms", MODE, AT(unix_ro_mode), 0, NULL, NULL},
    {NULL, "unix_sock_admin_perms", MODE, AT(unix_admin_mode), 0, NULL, NULL},
    {NULL, "max_clients", NUMBER, AT(max_clients), 100000, NULL, NULL},
    {NULL, "max_anonymous_clients", NUMBER, AT(max_anonymous_clients), 100000, NULL, NULL},
    {NULL, "max_queued_clients", NUMBER, AT(max_queued_clients), 100000, NULL, NULL},
    {NULL, "max_client_requests", NUMBER, AT(max_client_requests), 1000, NULL, NULL},
    {NULL, "keepalive_interval", NUMBER, AT(keepalive_interval_s), 86400, NULL, NULL},
    {NULL, "keepalive_count", NUMBER, AT(keepalive_count), 1000, NULL, NULL},
};
#undef AT

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
        .tls_verify = true,
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
    for (size_t i = 0; i < VQ_N_ELEMENTS(settings); i++) {
        char **field = (char **)((char *)config + settings[i].offset);
        if (settings[i].kind == TEXT) {
            free(*field);
            *field = NULL; /* some stand in the table twice */
        }
    }
    for (char **dn = config->tls_allowed_dn; dn != NULL && *dn != NULL; dn++)
        free(*dn);
    free(config->tls_allowed_dn);
    *config = (struct vq_config){0};
}

static int set_number(unsigned *field, const struct setting *setting, const char *name, const char *value,
                      struct vq_error *err)
{
    uint64_t number;

    if (!vq_parse_u64(value, 10, setting->max, &number))
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: '%s' is not a number from 0 to %llu", name, value,
                            (unsigned long long)setting->max);
    *field = (unsigned)number;
    return 0;
}

static int set_mode(mode_t *field, const char *name, const char *value, struct vq_error *err)
{
    uint64_t mode;

    if (!vq_parse_u64(value, 8, 0777, &mode))
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: '%s' is not a file mode like 0770", name, value);
    *field = (mode_t)mode;
    return 0;
}

static int set_value(struct vq_config *config, const struct setting *setting, const char *name, const char *value,
                     struct vq_error *err)
{
    char *field = (char *)config + setting->offset;

    switch (setting->kind) {
    case TEXT:
        if (*value == '\0')
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s must not be empty", name);
        free(*(char **)field);
        *(char **)field = vq_strdup(value);
        return 0;
    case NUMBER:
        return set_number((unsigned *)field, setting, name, value, err);
    case FLAG:
        *(bool *)field = strcmp(value, "0") != 0;
        return 0;
    case MODE:
        return set_mode((mode_t *)field, name, value, err);
    case LIST:
        break; /* files only */
    }
    return 0;
}

/* ---- The command line ---- */

static void print_help(void)
{
    char left[64];

    printf("Usage: virtquorumd [OPTION]...\n\n"
           "Serve this host's guests, and those of its cluster, to libvirt clients.\n\n");
    for (size_t i = 0; i < VQ_N_ELEMENTS(settings); i++) {
        const struct setting *setting = &settings[i];
        if (setting->option == NULL)
            continue;
        (void)snprintf(left, sizeof(left), "--%s%s%s", setting->option, setting->argument == NULL ? "" : "=",
                       setting->argument == NULL ? "" : setting->argument);
        printf("  %-28s %s\n", left, setting->help);
    }
    printf("  %-28s %s\n  %-28s %s\n  %-28s %s\n\n", "-v, --verbose", "log more; twice: everything", "-V, --version",
           "print the version", "-h, --help", "print this text");
    printf("Without options it takes the places and ports of libvirtd. SIGTERM stops it; guests go on.\n");
}

enum { OPTION_HELP = 'h', OPTION_VERSION = 'V', OPTION_VERBOSE = 'v', OPTION_FIRST = 256 };

static void make_options(struct option options[VQ_N_ELEMENTS(settings) + 4])
{
    size_t n = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(settings); i++)
        if (settings[i].option != NULL)
            options[n++] = (struct option){settings[i].option, settings[i].argument == NULL ? no_argument
                                                                                            : required_argument,
                                           NULL, OPTION_FIRST + (int)i};
    options[n++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    options[n++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    options[n++] = (struct option){"verbose", no_argument, NULL, OPTION_VERBOSE};
    options[n] = (struct option){0};
}

static int apply_option(struct vq_config *config, int option, struct vq_error *err)
{
    if (option < OPTION_FIRST)
        return 0;
    const struct setting *setting = &settings[option - OPTION_FIRST];
    return set_value(config, setting, setting->option, setting->kind == FLAG ? "1" : optarg, err);
}

int vq_config_read(struct vq_config *config, int argc, char **argv, struct vq_error *err)
{
    struct option options[VQ_N_ELEMENTS(settings) + 4];
    int option;

    make_options(options);
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "hVv", options, NULL)) != -1) {
        if (option == OPTION_HELP) {
            print_help();
            return 1;
        }
        if (option == OPTION_VERSION) {
            printf("virtquorumd %s\n", VQ_VERSION);
            return 1;
        }
        if (option == '?')
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "unknown option or missing argument: %s (try --help)",
                                argv[optind - 1]);
        if (option == OPTION_VERBOSE && vq_log_level > VQ_LOG_DEBUG)
            vq_log_level--;
        if (apply_option(config, option, err) < 0)
            return -1;
    }
    if (optind < argc)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an option (try --help)", argv[optind]);
    return 0;
}
