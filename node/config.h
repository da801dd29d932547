/* How this daemon was told to run: defaults, then the configuration file, then the command line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/base/error.h"

struct vq_config {
    char *config_file;        /* "/etc/libvirt/libvirtd.conf" */
    char *state_dir;          /* "/var/lib/virtquorum": store, log and identity of this node */
    char *run_dir;            /* "/run/virtquorum": control socket, node view sockets */
    char *libvirt_run_dir;    /* "/run/libvirt": the sockets that clients know */
    char *libvirt_state_dir;  /* "/var/lib/libvirt" */
    char *libvirt_log_dir;    /* "/var/log/libvirt" */
    char *libvirt_config_dir; /* "/etc/libvirt" */
    char *pki_dir;            /* "/etc/pki" */
    char *node_name;          /* NULL: the host's name */
    bool listen_tls;
    bool listen_tcp;
    bool tcp_without_auth;                                   /* plain TCP also on addresses other than loopback */
    char *auth_unix_rw, *auth_unix_ro, *auth_tcp, *auth_tls; /* NULL: none */
    char *default_view;        /* "cluster" or "node": what a client sees that does not choose */
    char **default_view_users; /* these local users see their node, whatever default_view says */
    uid_t *node_view_uids;     /* the same, looked up */
    size_t n_node_view_uids;
    char *listen_addr; /* NULL: all addresses (TLS), loopback (TCP without authentication) */
    char *tls_port, *tcp_port;
    char *ca_file, *cert_file, *key_file, *crl_file; /* of the TLS listener; NULL crl: none */
    char **tls_allowed_dn;                           /* NULL: any certificate of the authority; patterns with * and ? */
    bool tls_no_verify;                              /* clients may come without a certificate */
    char *unix_group;                                /* NULL: root's */
    mode_t unix_rw_mode, unix_ro_mode, unix_admin_mode;
    char *unix_rw_perms, *unix_ro_perms, *unix_admin_perms; /* the same as texts of the file; NULL: not said */
    char *host_uuid, *host_uuid_source;                     /* NULL: not said; see drivers/driver.h */
    uint32_t max_clients, max_anonymous_clients, max_queued_clients;
    uint32_t max_client_requests;
    int64_t keepalive_interval_s; /* 0 or less: the server does not ping */
    uint32_t keepalive_count;
    uint32_t election_ms; /* 0: the default of raft/ */
    char *cluster_addr;   /* address of the cluster port, NULL: what the identity says */
    char *cluster_port;   /* "16520" */
};

/* Defaults. */
void vq_config_init(struct vq_config *config);
void vq_config_done(struct vq_config *config);

/* Read the command line over the configuration file over the defaults. 0: run; 1: a text was printed and the process
 * should end with success (--help, --version); -1: refused, err says why. */
VQ_MUST_CHECK int vq_config_read(struct vq_config *config, int argc, char **argv, struct vq_error *err);
