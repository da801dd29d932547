/* What the devices of a domain are made of. Pure data: no handles, no I/O, nothing computed.
 *
 * Conventions, here and in domain.h, that the field tables (conf/field.h) rely on:
 *   - all zeroes is the empty value: a NULL string, an enum of 0 ("..._UNSET"), a count of 0 mean "not said";
 *   - where 0 is a value of its own, a `bool has_x` stands before x;
 *   - lists are arrays of pointers with their count in n_..., so that elements keep their address;
 *   - strings, lists and optional structs are owned by the struct that holds them;
 *   - "live" fields are known of a running guest only and left out of the inactive definition. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Yes/no and on/off settings that may be left to the hypervisor. */
enum vq_switch { VQ_SWITCH_UNSET, VQ_SWITCH_ON, VQ_SWITCH_OFF };

/* <address>: where a device sits. The type says which member of the union counts. */
enum vq_address_type {
    VQ_ADDRESS_UNSET,
    VQ_ADDRESS_PCI,
    VQ_ADDRESS_DRIVE,
    VQ_ADDRESS_VIRTIO_SERIAL,
    VQ_ADDRESS_CCID,
    VQ_ADDRESS_USB,
    VQ_ADDRESS_SPAPR_VIO,
    VQ_ADDRESS_VIRTIO_MMIO,
    VQ_ADDRESS_ISA,
    VQ_ADDRESS_DIMM,
    VQ_ADDRESS_CCW,
    VQ_ADDRESS_UNASSIGNED,
    VQ_ADDRESS_N,
};

struct vq_pci_address {
    uint32_t domain, bus, slot, function; /* all 0: not assigned yet (slot 0 of bus 0 is the host bridge's) */
    enum vq_switch multifunction;
    bool has_zpci_uid, has_zpci_fid;
    uint32_t zpci_uid, zpci_fid;
};

struct vq_address {
    enum vq_address_type type;
    union {
        struct vq_pci_address pci;
        struct { uint32_t controller, bus, target, unit; } drive;
        struct { uint32_t controller, bus, port; } virtio_serial; /* port 0: to be assigned */
        struct { uint32_t controller, slot; } ccid;
        struct { uint32_t bus; char port[16]; } usb;              /* port "1.2": hub path; "": to be assigned */
        struct { bool has_reg; uint64_t reg; } spapr_vio;
        struct { bool has_iobase, has_irq; uint32_t iobase, irq; } isa;
        struct { uint32_t slot; bool has_base; uint64_t base; } dimm;
        struct { bool is_assigned; uint32_t cssid, ssid, devno; } ccw;
    };
    bool has_acpi_index;
    uint32_t acpi_index;
};

/* What nearly every device has. Rows of the tables use it through the member `info`. */
struct vq_device_info {
    char *alias;              /* "ua-..." is the user's and kept; others are live */
    struct vq_address address;
    uint32_t boot_order;      /* 0: not in the boot order */
    char *boot_loadparm;
    enum vq_switch rom_enabled, rom_bar;
    char *rom_file;
};

/* The virtio tuning attributes of <driver>. */
struct vq_virtio_options {
    enum vq_switch iommu, ats, packed, page_per_vq;
};

/* A secret by reference. */
enum vq_secret_usage {
    VQ_SECRET_USAGE_UNSET,
    VQ_SECRET_USAGE_CEPH,
    VQ_SECRET_USAGE_ISCSI,
    VQ_SECRET_USAGE_TLS,
    VQ_SECRET_USAGE_VOLUME,
    VQ_SECRET_USAGE_PASSPHRASE,
    VQ_SECRET_USAGE_VTPM,
    VQ_SECRET_USAGE_N,
};

struct vq_secret_ref {
    enum vq_secret_usage type;
    char *usage;              /* by usage, or */
    bool has_uuid;
    uint8_t uuid[16];
};

struct vq_auth {
    char *username;
    struct vq_secret_ref secret;
};

struct vq_encryption {
    char *format;             /* "luks", "luks2", "qcow", "default" */
    char *engine;             /* "qemu", "librbd" */
    struct vq_secret_ref secret;
};

/* <seclabel> of the domain, and of a single source (model, relabel, label only). */
enum vq_seclabel_type {
    VQ_SECLABEL_UNSET,
    VQ_SECLABEL_NONE,
    VQ_SECLABEL_DYNAMIC,
    VQ_SECLABEL_STATIC,
    VQ_SECLABEL_N,
};

struct vq_seclabel {
    enum vq_seclabel_type type;
    char *model;
    enum vq_switch relabel;
    enum vq_switch labelskip; /* sources only */
    char *label, *imagelabel, *baselabel;
};

/* Where the bytes of a disk are. */
enum vq_source_type {
    VQ_SOURCE_UNSET,
    VQ_SOURCE_FILE,
    VQ_SOURCE_BLOCK,
    VQ_SOURCE_DIR,
    VQ_SOURCE_NETWORK,
    VQ_SOURCE_VOLUME,
    VQ_SOURCE_NVME,
    VQ_SOURCE_VHOST_USER,
    VQ_SOURCE_VHOST_VDPA,
    VQ_SOURCE_N,
};

enum vq_net_protocol {
    VQ_NET_PROTOCOL_UNSET,
    VQ_NET_PROTOCOL_NBD,
    VQ_NET_PROTOCOL_RBD,
    VQ_NET_PROTOCOL_SHEEPDOG,
    VQ_NET_PROTOCOL_GLUSTER,
    VQ_NET_PROTOCOL_ISCSI,
    VQ_NET_PROTOCOL_HTTP,
    VQ_NET_PROTOCOL_HTTPS,
    VQ_NET_PROTOCOL_FTP,
    VQ_NET_PROTOCOL_FTPS,
    VQ_NET_PROTOCOL_TFTP,
    VQ_NET_PROTOCOL_SSH,
    VQ_NET_PROTOCOL_VXHS,
    VQ_NET_PROTOCOL_NFS,
    VQ_NET_PROTOCOL_N,
};

struct vq_source_host {
    char *name;
    uint32_t port;            /* 0: the protocol's default */
    char *transport;          /* "tcp", "unix", "rdma" */
    char *socket;
};

enum vq_startup_policy {
    VQ_STARTUP_UNSET,
    VQ_STARTUP_MANDATORY,
    VQ_STARTUP_REQUISITE,
    VQ_STARTUP_OPTIONAL,
    VQ_STARTUP_N,
};

struct vq_cookie {
    char *name, *value;       /* secret */
};

/* Whether and after how many seconds a client connects again to a socket that was closed. */
struct vq_reconnect {
    enum vq_switch enabled;
    uint32_t timeout_s;
};

/* A part of an image file: <slice type='storage'>. */
struct vq_slice {
    char *type;
    uint64_t offset, size;    /* bytes */
};

struct vq_source {
    enum vq_source_type type; /* from the element around <source> */
    char *path;               /* file, block, dir, vhost-user socket */
    char *fd_group;           /* file: descriptors that a client handed over */
    struct vq_reconnect reconnect; /* vhost-user */
    enum vq_net_protocol protocol; /* network, from here: */
    char *name, *query;
    enum vq_switch tls;
    char *tls_hostname;
    char *config_file, *snapshot, *initiator;
    char *identity_user, *identity_group; /* nfs, ssh */
    enum vq_switch ssl_verify;
    struct vq_cookie **cookies;
    size_t n_cookies;
    uint64_t readahead;       /* bytes; 0: not said */
    uint32_t timeout_s;
    struct vq_slice **slices;
    size_t n_slices;
    struct vq_source_host **hosts;
    size_t n_hosts;
    char *pool, *volume;      /* volume */
    char *volume_mode;        /* "host", "direct" */
    char *nvme_type;          /* "pci" */
    uint32_t nvme_namespace;
    enum vq_switch nvme_managed;
    struct vq_pci_address nvme_address;
    enum vq_startup_policy startup_policy;
    uint32_t index;           /* live: number of the node in the chain */
    enum vq_switch reservations_managed;
    char *reservations_type, *reservations_path, *reservations_mode;
    struct vq_auth *auth;
    struct vq_encryption *encryption;
    struct vq_seclabel **seclabels;
    size_t n_seclabels;
};

/* Who named the image below: the definition, or the headers of the images when the run began (live). */
enum vq_chain_origin { VQ_CHAIN_CONFIGURED, VQ_CHAIN_DETECTED, VQ_CHAIN_ORIGIN_N };

/* One image of a backing chain. An image with is_terminator ends the chain: <backingStore/>. */
struct vq_backing {
    struct vq_source source;
    enum vq_chain_origin chain;   /* of backing */
    bool is_terminator;
    char *format;
    uint64_t metadata_cache_size; /* bytes, <metadata_cache><max_size> */
    struct vq_backing *backing;
};

/* Live: where a disk is being copied or committed to. */
enum vq_mirror_ready { VQ_MIRROR_READY_UNSET, VQ_MIRROR_READY, VQ_MIRROR_PIVOT, VQ_MIRROR_ABORT, VQ_MIRROR_READY_N };

struct vq_mirror {
    struct vq_source source;      /* its type is an attribute of the mirror */
    char *format;
    uint64_t metadata_cache_size;
    char *file, *file_format;     /* attributes: the same again, as old clients know it */
    char *job;                    /* "copy", "active-commit" */
    enum vq_mirror_ready ready;
    struct vq_backing *backing;
};

enum vq_disk_device {
    VQ_DISK_DEVICE_UNSET,
    VQ_DISK_DEVICE_DISK,
    VQ_DISK_DEVICE_CDROM,
    VQ_DISK_DEVICE_FLOPPY,
    VQ_DISK_DEVICE_LUN,
    VQ_DISK_DEVICE_N,
};

enum vq_disk_bus {
    VQ_DISK_BUS_UNSET,
    VQ_DISK_BUS_IDE,
    VQ_DISK_BUS_FDC,
    VQ_DISK_BUS_SCSI,
    VQ_DISK_BUS_VIRTIO,
    VQ_DISK_BUS_XEN,
    VQ_DISK_BUS_USB,
    VQ_DISK_BUS_UML,
    VQ_DISK_BUS_SATA,
    VQ_DISK_BUS_SD,
    VQ_DISK_BUS_N,
};

enum vq_disk_cache {
    VQ_DISK_CACHE_UNSET,
    VQ_DISK_CACHE_DEFAULT,
    VQ_DISK_CACHE_NONE,
    VQ_DISK_CACHE_WRITETHROUGH,
    VQ_DISK_CACHE_WRITEBACK,
    VQ_DISK_CACHE_DIRECTSYNC,
    VQ_DISK_CACHE_UNSAFE,
    VQ_DISK_CACHE_N,
};

enum vq_disk_error_policy {
    VQ_DISK_ERROR_UNSET,
    VQ_DISK_ERROR_STOP,
    VQ_DISK_ERROR_REPORT,
    VQ_DISK_ERROR_IGNORE,
    VQ_DISK_ERROR_ENOSPACE,
    VQ_DISK_ERROR_N,
};

enum vq_disk_io { VQ_DISK_IO_UNSET, VQ_DISK_IO_NATIVE, VQ_DISK_IO_THREADS, VQ_DISK_IO_URING, VQ_DISK_IO_N };
enum vq_disk_discard { VQ_DISK_DISCARD_UNSET, VQ_DISK_DISCARD_UNMAP, VQ_DISK_DISCARD_IGNORE, VQ_DISK_DISCARD_N };
enum vq_disk_zeroes {
    VQ_DISK_ZEROES_UNSET,
    VQ_DISK_ZEROES_OFF,
    VQ_DISK_ZEROES_ON,
    VQ_DISK_ZEROES_UNMAP,
    VQ_DISK_ZEROES_N,
};
enum vq_disk_tray { VQ_DISK_TRAY_UNSET, VQ_DISK_TRAY_CLOSED, VQ_DISK_TRAY_OPEN, VQ_DISK_TRAY_N };

/* The variant of a virtio device. */
enum vq_virtio_model {
    VQ_VIRTIO_MODEL_UNSET,
    VQ_VIRTIO_MODEL_VIRTIO,
    VQ_VIRTIO_MODEL_TRANSITIONAL,
    VQ_VIRTIO_MODEL_NON_TRANSITIONAL,
    VQ_VIRTIO_MODEL_N,
};

/* All in bytes or operations per second; 0: no limit. */
struct vq_iotune {
    uint64_t total_bytes, read_bytes, write_bytes;
    uint64_t total_iops, read_iops, write_iops;
    uint64_t total_bytes_max, read_bytes_max, write_bytes_max;
    uint64_t total_iops_max, read_iops_max, write_iops_max;
    uint64_t size_iops;
    char *group_name;
    uint64_t total_bytes_max_length, read_bytes_max_length, write_bytes_max_length;
    uint64_t total_iops_max_length, read_iops_max_length, write_iops_max_length;
};

struct vq_disk {
    enum vq_disk_device device;
    enum vq_virtio_model model;
    enum vq_switch rawio;
    char *sgio, *snapshot;
    struct vq_source source;      /* source.type also when there is no medium */
    char *driver_name;            /* "qemu" */
    char *format;                 /* driver type: "qcow2", "raw" */
    enum vq_disk_cache cache;
    enum vq_disk_error_policy error_policy, rerror_policy;
    enum vq_disk_io io;
    enum vq_switch ioeventfd, event_idx, copy_on_read;
    enum vq_disk_discard discard;
    uint32_t iothread;            /* 0: none */
    enum vq_disk_zeroes detect_zeroes;
    uint32_t queues, queue_size;
    enum vq_switch discard_no_unref;
    uint64_t metadata_cache_size; /* bytes, <metadata_cache><max_size> */
    struct vq_virtio_options virtio;
    struct vq_auth *auth;         /* <auth> beside <source>, the older place */
    struct vq_encryption *encryption;
    enum vq_chain_origin chain;   /* of backing */
    struct vq_backing *backing;
    struct vq_mirror *mirror;
    char *domain_name;            /* <backenddomain> */
    char *target;                 /* "vda" */
    enum vq_disk_bus bus;
    enum vq_disk_tray tray;
    enum vq_switch removable;
    uint32_t rotation_rate;
    uint32_t cylinders, heads, sectors;
    char *trans;                  /* geometry */
    uint32_t logical_block_size, physical_block_size;
    struct vq_iotune iotune;
    bool is_readonly, is_shareable, is_transient;
    enum vq_switch transient_share_backing;
    char *serial, *wwn, *vendor, *product;
    struct vq_device_info info;
};

enum vq_controller_type {
    VQ_CONTROLLER_UNSET,
    VQ_CONTROLLER_IDE,
    VQ_CONTROLLER_FDC,
    VQ_CONTROLLER_SCSI,
    VQ_CONTROLLER_SATA,
    VQ_CONTROLLER_VIRTIO_SERIAL,
    VQ_CONTROLLER_CCID,
    VQ_CONTROLLER_USB,
    VQ_CONTROLLER_PCI,
    VQ_CONTROLLER_XENBUS,
    VQ_CONTROLLER_ISA,
    VQ_CONTROLLER_N,
};

struct vq_controller {
    enum vq_controller_type type;
    bool has_index;               /* false until filled */
    uint32_t index;
    char *model;                  /* "pcie-root-port", "qemu-xhci", "virtio-scsi"; NULL or "default": to be chosen */
    uint32_t ports;               /* usb, virtio-serial */
    bool has_vectors;
    uint32_t vectors;             /* virtio-serial */
    uint32_t max_grant_frames, max_event_channels;
    char *pci_model_name;         /* pci: <model name='pcie-root-port'/> */
    bool has_busnr;
    uint32_t busnr;
    bool has_chassis_nr;
    uint32_t chassis_nr;
    bool has_chassis;
    uint32_t chassis;
    bool has_target_port;
    uint32_t target_port;         /* "0x10" */
    bool has_target_index;
    uint32_t target_index;
    enum vq_switch hotplug;
    bool has_numa_node;
    uint32_t numa_node;
    uint64_t pcihole64_kib;
    bool has_pcihole64;
    uint32_t queues, cmd_per_lun, max_sectors, iothread;
    enum vq_switch ioeventfd;
    struct vq_virtio_options virtio;
    bool has_usb_master;
    uint32_t usb_master_startport; /* <master startport='0'/>: a companion of the EHCI with the same index */
    struct vq_device_info info;
};

enum vq_interface_type {
    VQ_INTERFACE_UNSET,
    VQ_INTERFACE_NETWORK,
    VQ_INTERFACE_BRIDGE,
    VQ_INTERFACE_USER,
    VQ_INTERFACE_ETHERNET,
    VQ_INTERFACE_DIRECT,
    VQ_INTERFACE_VHOSTUSER,
    VQ_INTERFACE_SERVER,
    VQ_INTERFACE_CLIENT,
    VQ_INTERFACE_MCAST,
    VQ_INTERFACE_UDP,
    VQ_INTERFACE_INTERNAL,
    VQ_INTERFACE_HOSTDEV,
    VQ_INTERFACE_VDPA,
    VQ_INTERFACE_NULL,
    VQ_INTERFACE_N,
};

enum vq_link_state { VQ_LINK_UNSET, VQ_LINK_UP, VQ_LINK_DOWN, VQ_LINK_N };

/* <inbound> or <outbound>: KiB per second, KiB of burst. 0: not said. */
struct vq_bandwidth_rate {
    uint32_t average, peak, burst, floor;
};

struct vq_virtualport {
    char *type;                   /* "openvswitch", "802.1Qbh", "802.1Qbg", "midonet" */
    char *managerid, *typeid, *typeidversion, *instanceid, *interfaceid, *profileid;
};

struct vq_vlan_tag {
    uint32_t id;
    char *native_mode;
};

struct vq_vlan {
    enum vq_switch trunk;
    struct vq_vlan_tag **tags;
    size_t n_tags;
};

struct vq_filter_parameter {
    char *name, *value;
};

struct vq_ip {
    char *address, *family;
    bool has_prefix;
    uint32_t prefix;
    char *peer;
};

struct vq_ip_route {
    char *family, *address, *netmask, *gateway;
    bool has_prefix;
    uint32_t prefix;
    uint32_t metric;
};

/* <portForward>: ports of the host that lead into the guest; an excluded range does not. */
struct vq_port_range {
    uint32_t start, end, to;      /* end, to: 0: not said */
    enum vq_switch exclude;
};

struct vq_port_forward {
    char *proto;                  /* "tcp", "udp" */
    char *address, *dev;
    struct vq_port_range **ranges;
    size_t n_ranges;
};

/* A virtio interface and a host device that stand in for each other. */
struct vq_teaming {
    char *type;                   /* "persistent", "transient" */
    char *persistent;             /* transient: alias of the other */
};

/* Offload switches of <driver><host> and <guest>. */
struct vq_offloads {
    enum vq_switch csum, gso, tso4, tso6, ecn, ufo, mrg_rxbuf;
};

struct vq_interface {
    enum vq_interface_type type;
    enum vq_switch managed, trust_guest_rx_filters;
    bool has_mac;
    uint8_t mac[6];
    char *mac_type;               /* "static", "generated" */
    enum vq_switch mac_check;
    char *network;                /* network */
    char *portgroup;
    char *bridge;                 /* bridge; live for network */
    char *source_dev;             /* direct, ethernet, vdpa */
    char *source_mode;            /* direct: "vepa", "bridge", "private", "passthrough"; vhostuser: "server" ... */
    char *source_path;            /* vhostuser */
    char *source_type;            /* vhostuser: "unix" */
    char *source_address;         /* server, client, mcast, udp */
    uint32_t source_port;
    char *source_local_address;
    uint32_t source_local_port;
    char *internal_name;
    struct vq_pci_address hostdev_address;
    struct vq_reconnect reconnect; /* vhostuser */
    struct vq_ip **source_ips;    /* the host's end: ethernet, and others on their own links */
    size_t n_source_ips;
    struct vq_ip_route **source_routes;
    size_t n_source_routes;
    char *portid;                 /* live: of the network's port */
    struct vq_virtualport *virtualport;
    struct vq_vlan *vlan;
    char *target;                 /* tap name; a "vnet..." one is live */
    enum vq_switch target_managed;
    char *guest_dev, *guest_actual;
    char *model;                  /* "virtio", "e1000e", "rtl8139" ... */
    char *driver_name;            /* "vhost", "qemu" */
    char *txmode;
    enum vq_switch ioeventfd, event_idx;
    uint32_t queues, rx_queue_size, tx_queue_size;
    enum vq_switch rss, rss_hash_report;
    struct vq_virtio_options virtio;
    struct vq_offloads host_offloads, guest_offloads;
    char *backend_type;           /* "passt" */
    char *backend_tap, *backend_vhost, *backend_logfile;
    char *filter;                 /* filterref */
    struct vq_filter_parameter **filter_parameters;
    size_t n_filter_parameters;
    char *script, *downscript, *domain_name;
    enum vq_link_state link;
    struct vq_bandwidth_rate inbound, outbound;
    bool has_sndbuf;
    uint64_t sndbuf;              /* bytes */
    uint32_t mtu;
    struct vq_ip **ips;
    size_t n_ips;
    struct vq_ip_route **routes;
    size_t n_routes;
    enum vq_switch port_isolated;
    struct vq_port_forward **port_forwards;
    size_t n_port_forwards;
    struct vq_teaming teaming;
    uint32_t coalesce_rx_frames;
    struct vq_device_info info;
};

/* The host side of serial, parallel, console, channel, rng, redirdev, smartcard, monitor ... */
enum vq_chardev_type {
    VQ_CHARDEV_UNSET,
    VQ_CHARDEV_NULL,
    VQ_CHARDEV_VC,
    VQ_CHARDEV_PTY,
    VQ_CHARDEV_DEV,
    VQ_CHARDEV_FILE,
    VQ_CHARDEV_PIPE,
    VQ_CHARDEV_STDIO,
    VQ_CHARDEV_UDP,
    VQ_CHARDEV_TCP,
    VQ_CHARDEV_UNIX,
    VQ_CHARDEV_SPICEVMC,
    VQ_CHARDEV_SPICEPORT,
    VQ_CHARDEV_NMDM,
    VQ_CHARDEV_QEMU_VDAGENT,
    VQ_CHARDEV_DBUS,
    VQ_CHARDEV_N,
};

enum vq_chardev_mode { VQ_CHARDEV_MODE_UNSET, VQ_CHARDEV_CONNECT, VQ_CHARDEV_BIND, VQ_CHARDEV_MODE_N };

/* One end of a UDP character device: connect is where to send, bind where to listen. */
struct vq_chardev_end {
    enum vq_chardev_mode mode;
    char *host, *service;
};

struct vq_chardev {
    enum vq_chardev_type type;
    char *path;                   /* dev, file, pipe, unix; live for pty */
    enum vq_switch append;        /* file */
    enum vq_chardev_mode mode;    /* tcp, unix */
    char *host, *service;         /* tcp */
    char *protocol;               /* tcp: "raw", "telnet", "telnets", "tls" */
    enum vq_switch tls;
    struct vq_reconnect reconnect; /* tcp, unix */
    struct vq_chardev_end **ends; /* udp: one or two */
    size_t n_ends;
    char *channel;                /* spiceport, dbus */
    char *master, *slave;         /* nmdm */
    enum vq_switch clipboard;     /* qemu-vdagent */
    char *mouse;
    char *log_file;
    enum vq_switch log_append;
    struct vq_seclabel **seclabels;
    size_t n_seclabels;
};

/* <serial>, <parallel>, <console> and <channel>: which list it is in says which. */
enum vq_port_target {
    VQ_PORT_TARGET_UNSET,
    VQ_PORT_TARGET_ISA_SERIAL,    /* serial */
    VQ_PORT_TARGET_USB_SERIAL,
    VQ_PORT_TARGET_PCI_SERIAL,
    VQ_PORT_TARGET_SPAPR_VIO_SERIAL,
    VQ_PORT_TARGET_SYSTEM_SERIAL,
    VQ_PORT_TARGET_SCLP_SERIAL,
    VQ_PORT_TARGET_ISA_DEBUG,
    VQ_PORT_TARGET_SERIAL,        /* console */
    VQ_PORT_TARGET_XEN,
    VQ_PORT_TARGET_UML,
    VQ_PORT_TARGET_VIRTIO,        /* console, channel */
    VQ_PORT_TARGET_LXC,
    VQ_PORT_TARGET_SCLP,
    VQ_PORT_TARGET_SCLPLM,
    VQ_PORT_TARGET_GUESTFWD,      /* channel */
    VQ_PORT_TARGET_N,
};

struct vq_port {
    struct vq_chardev source;
    char *tty;                    /* live, consoles: the pty again, as an attribute */
    enum vq_port_target target;
    bool has_number;
    uint32_t number;              /* target port */
    char *target_model;           /* "isa-serial", "pl011" ... */
    char *name;                   /* virtio channels: "org.qemu.guest_agent.0" */
    char *state;                  /* live: "connected" */
    char *address, *port;         /* guestfwd */
    struct vq_device_info info;
};

enum vq_input_type {
    VQ_INPUT_UNSET,
    VQ_INPUT_MOUSE,
    VQ_INPUT_TABLET,
    VQ_INPUT_KEYBOARD,
    VQ_INPUT_PASSTHROUGH,
    VQ_INPUT_EVDEV,
    VQ_INPUT_N,
};

enum vq_input_bus {
    VQ_INPUT_BUS_UNSET,
    VQ_INPUT_BUS_PS2,
    VQ_INPUT_BUS_USB,
    VQ_INPUT_BUS_XEN,
    VQ_INPUT_BUS_PARALLELS,
    VQ_INPUT_BUS_VIRTIO,
    VQ_INPUT_BUS_NONE,
    VQ_INPUT_BUS_N,
};

struct vq_input {
    enum vq_input_type type;
    enum vq_input_bus bus;
    enum vq_virtio_model model;
    char *evdev, *source_dev, *grab, *grab_toggle;
    enum vq_switch repeat;
    struct vq_virtio_options virtio;
    struct vq_device_info info;
};

enum vq_graphics_type {
    VQ_GRAPHICS_UNSET,
    VQ_GRAPHICS_SDL,
    VQ_GRAPHICS_VNC,
    VQ_GRAPHICS_RDP,
    VQ_GRAPHICS_DESKTOP,
    VQ_GRAPHICS_SPICE,
    VQ_GRAPHICS_EGL_HEADLESS,
    VQ_GRAPHICS_DBUS,
    VQ_GRAPHICS_N,
};

enum vq_listen_type {
    VQ_LISTEN_UNSET,
    VQ_LISTEN_NONE,
    VQ_LISTEN_ADDRESS,
    VQ_LISTEN_NETWORK,
    VQ_LISTEN_SOCKET,
    VQ_LISTEN_N,
};

struct vq_listen {
    enum vq_listen_type type;
    char *address, *network, *socket;
};

struct vq_spice_channel {
    char *name, *mode;
};

struct vq_graphics {
    enum vq_graphics_type type;
    bool has_port, has_tls_port;
    int32_t port, tls_port;       /* -1: chosen at start */
    enum vq_switch autoport;
    bool has_websocket;
    int32_t websocket;            /* vnc; -1: chosen at start */
    bool websocket_generated;
    char *listen;                 /* attribute; the first listen address when formatted */
    char *socket;                 /* vnc attribute */
    char *keymap, *default_mode;
    char *share_policy;           /* "allow-exclusive", "force-shared", "ignore" */
    enum vq_switch power_control;
    char *password;               /* secret */
    char *password_valid_to;      /* "2040-01-01T00:00:00" */
    char *connected;              /* "keep", "disconnect", "fail" */
    char *display, *xauth;        /* sdl, desktop */
    enum vq_switch fullscreen;
    enum vq_switch replace_user, multi_user; /* rdp */
    char *dbus_address;
    enum vq_switch dbus_p2p;
    struct vq_listen **listens;
    size_t n_listens;
    struct vq_spice_channel **channels;
    size_t n_channels;
    char *image_compression, *jpeg_compression, *zlib_compression, *streaming_mode, *mouse_mode;
    enum vq_switch playback_compression, clipboard_copypaste, filetransfer;
    enum vq_switch gl;
    char *gl_rendernode;
    uint32_t audio_id;
};

struct vq_video {
    char *model;                  /* "virtio", "qxl", "vga", "cirrus", "bochs", "vmvga", "ramfb", "none" */
    uint32_t vram_kib, ram_kib, vram64_kib, vgamem_kib; /* 0: not said */
    uint32_t heads;
    enum vq_switch primary, blob;
    enum vq_switch accel3d, accel2d;
    char *rendernode;
    uint32_t resolution_x, resolution_y;
    char *driver_name, *vgaconf;
    struct vq_virtio_options virtio;
    struct vq_device_info info;
};

struct vq_codec {
    char *type;
};

struct vq_sound {
    char *model;                  /* "ich9", "ac97" ... */
    enum vq_switch multichannel;
    struct vq_codec **codecs;
    size_t n_codecs;
    uint32_t audio_id;
    struct vq_device_info info;
};

/* <audio>: the settings of back ends are kept as strings. */
struct vq_audio_direction {
    enum vq_switch mixing_engine, fixed_settings;
    uint32_t frequency, channels, voices, buffer_length;
    char *format, *dev, *name, *connect_ports, *client_name;
    enum vq_switch try_poll, exact_name;
    char *server_name, *stream_name;
    uint32_t latency, buffer_count; /* latency in microseconds */
};

struct vq_audio {
    uint32_t id;
    char *type;                   /* "none", "spice", "pulseaudio", "alsa", "file" ... */
    char *driver, *server_name, *path;
    uint32_t timer_period;
    enum vq_switch try_mmap, exclusive; /* oss */
    bool has_dsp_policy;
    int32_t dsp_policy;
    struct vq_audio_direction input, output;
};

struct vq_hub {
    char *type;                   /* "usb" */
    struct vq_device_info info;
};

enum vq_balloon_model {
    VQ_BALLOON_UNSET,
    VQ_BALLOON_VIRTIO,
    VQ_BALLOON_XEN,
    VQ_BALLOON_NONE,
    VQ_BALLOON_VIRTIO_TRANSITIONAL,
    VQ_BALLOON_VIRTIO_NON_TRANSITIONAL,
    VQ_BALLOON_N,
};

struct vq_memballoon {
    enum vq_balloon_model model;
    enum vq_switch autodeflate, free_page_reporting;
    uint32_t stats_period;        /* seconds; 0: none */
    struct vq_virtio_options virtio;
    struct vq_device_info info;
};

enum vq_rng_backend { VQ_RNG_UNSET, VQ_RNG_RANDOM, VQ_RNG_EGD, VQ_RNG_BUILTIN, VQ_RNG_N };

struct vq_rng {
    enum vq_virtio_model model;
    uint32_t rate_bytes, rate_period_ms; /* 0: not said */
    enum vq_rng_backend backend;
    char *device;                 /* random: path, NULL for the default */
    struct vq_chardev source;     /* egd */
    struct vq_virtio_options virtio;
    struct vq_device_info info;
};

struct vq_watchdog {
    char *model;                  /* "i6300esb", "ib700", "itco", "diag288" */
    char *action;                 /* "reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi" */
    struct vq_device_info info;
};

enum vq_tpm_backend { VQ_TPM_UNSET, VQ_TPM_PASSTHROUGH, VQ_TPM_EMULATOR, VQ_TPM_EXTERNAL, VQ_TPM_N };

struct vq_pcr_bank {
    bool sha1, sha256, sha384, sha512;
};

struct vq_tpm {
    char *model;                  /* "tpm-tis", "tpm-crb", "tpm-spapr" */
    enum vq_tpm_backend backend;
    char *version;                /* "1.2", "2.0" */
    enum vq_switch persistent_state;
    char *device;                 /* passthrough: NULL for /dev/tpm0 */
    bool has_encryption;
    uint8_t encryption_secret[16];
    struct vq_pcr_bank pcr_banks;
    struct vq_chardev source;     /* external */
    struct vq_device_info info;
};

struct vq_filesystem {
    char *type;                   /* "mount", "template", "file", "block", "ram", "bind" */
    char *accessmode, *multidevs, *model, *fmode, *dmode;
    char *driver_type;            /* "path", "virtiofs", "handle", "loop", "nbd" */
    char *driver_format, *wrpolicy;
    uint32_t queue;
    enum vq_switch xattr;
    char *binary_path, *cache_mode, *sandbox_mode;
    enum vq_switch lock_posix, lock_flock;
    uint32_t thread_pool_size;
    char *source_dir, *source_file, *source_dev, *source_name, *source_socket;
    uint64_t source_usage;        /* ram */
    char *source_units;
    char *target;                 /* tag or directory */
    bool is_readonly;
    uint64_t space_hard_limit, space_soft_limit; /* bytes */
    struct vq_virtio_options virtio;
    struct vq_device_info info;
};

enum vq_hostdev_type {
    VQ_HOSTDEV_UNSET,
    VQ_HOSTDEV_USB,
    VQ_HOSTDEV_PCI,
    VQ_HOSTDEV_SCSI,
    VQ_HOSTDEV_SCSI_HOST,
    VQ_HOSTDEV_MDEV,
    VQ_HOSTDEV_N,
};

struct vq_hostdev {
    char *mode;                   /* "subsystem", "capabilities" */
    enum vq_hostdev_type type;
    enum vq_switch managed, rawio;
    char *sgio, *model;
    enum vq_switch display, ramfb;
    char *driver_name;            /* pci: "vfio" */
    enum vq_startup_policy startup_policy;
    enum vq_switch guest_reset_unused;
    char *guest_reset;
    bool has_vendor;
    uint32_t vendor, product;     /* usb, by identity */
    bool has_usb_address;
    uint32_t usb_bus, usb_device; /* usb, by place */
    struct vq_pci_address pci;
    char *scsi_adapter;
    uint32_t scsi_bus, scsi_target;
    uint64_t scsi_unit;
    char *source_protocol, *source_name, *wwpn; /* iscsi, scsi_host */
    struct vq_source_host **source_hosts;       /* iscsi */
    size_t n_source_hosts;
    struct vq_auth *source_auth;
    char *source_initiator;
    bool has_mdev_uuid;
    uint8_t mdev_uuid[16];
    enum vq_switch write_filtering;
    bool is_readonly, is_shareable;
    struct vq_teaming teaming;
    struct vq_device_info info;
};

struct vq_redirdev {
    char *bus;                    /* "usb" */
    struct vq_chardev source;
    struct vq_device_info info;
};

/* Which USB devices a client may redirect; the first rule that fits decides. NULL: any. */
struct vq_redir_rule {
    char *class_code, *vendor, *product, *version;
    enum vq_switch allow;
};

struct vq_redir_filter {
    struct vq_redir_rule **rules;
    size_t n_rules;
};

/* A lease in a lock manager's lock space. */
struct vq_lease {
    char *lockspace, *key, *path;
    uint64_t offset;
};

struct vq_crypto {
    char *model, *type;       /* "virtio", "qemu" */
    char *backend;            /* "builtin", "lkcf" */
    uint32_t queues;
    struct vq_virtio_options virtio;
    struct vq_device_info info;
};

enum vq_smartcard_mode {
    VQ_SMARTCARD_UNSET,
    VQ_SMARTCARD_HOST,
    VQ_SMARTCARD_HOST_CERTIFICATES,
    VQ_SMARTCARD_PASSTHROUGH,
    VQ_SMARTCARD_N,
};

struct vq_smartcard_certificate {
    char *name;
};

struct vq_smartcard {
    enum vq_smartcard_mode mode;
    struct vq_smartcard_certificate **certificates; /* host-certificates: three */
    size_t n_certificates;
    char *database;
    struct vq_chardev source;     /* passthrough; its type is an attribute of the smartcard */
    struct vq_device_info info;
};

struct vq_vsock {
    enum vq_virtio_model model;
    enum vq_switch auto_cid;
    uint32_t cid;                 /* 0: to be chosen */
    struct vq_virtio_options virtio;
    struct vq_device_info info;
};

struct vq_iommu {
    char *model;                  /* "intel", "smmuv3", "virtio" */
    enum vq_switch intremap, caching_mode, eim, iotlb;
    uint32_t aw_bits;
    struct vq_device_info info;
};

struct vq_panic {
    char *model;                  /* "isa", "hyperv", "pseries", "s390" */
    struct vq_device_info info;
};

struct vq_shmem {
    char *name, *role, *model;
    uint64_t size_mib;
    bool has_server;
    char *server_path;
    bool has_msi;
    uint32_t msi_vectors;
    enum vq_switch msi_ioeventfd;
    struct vq_device_info info;
};

/* <memory> device. */
struct vq_memory_device {
    char *model;                  /* "dimm", "nvdimm", "virtio-pmem", "virtio-mem", "sgx-epc" */
    char *access;
    enum vq_switch discard;
    bool has_uuid;
    uint8_t uuid[16];
    char *path, *nodemask;
    uint64_t source_pagesize_kib, alignsize_kib;
    bool is_pmem;
    uint64_t size_kib, block_kib, requested_kib, label_kib;
    uint64_t current_kib;         /* live: virtio-mem */
    bool has_node;
    uint32_t node;
    bool is_readonly;
    struct vq_device_info info;
};

/* The store of settings of a pSeries machine. */
struct vq_nvram {
    struct vq_device_info info;
};
