/* Rules of disks, their images and whatever else reads from such sources. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <ctype.h>
#include <string.h>

#include "conf/rules.h"

enum { VENDOR_MAX = 8, PRODUCT_MAX = 16, WWN_DIGITS = 16 };

static bool has_only(const char *text, int (*is_wanted)(int))
{
    for (; *text != '\0'; text++) {
        if (!is_wanted((unsigned char)*text))
            return false;
    }
    return true;
}

static bool is_wwn(const char *wwn)
{
    if (wwn[0] == '0' && wwn[1] == 'x')
        wwn += 2;
    return strlen(wwn) == WWN_DIGITS && has_only(wwn, isxdigit);
}

/* ---- sources ---- */

static int check_secret(const struct vq_secret_ref *secret, struct vq_error *err)
{
    REFUSE_FROM_IF(!secret->has_uuid && secret->usage == NULL, NONE, XML_ERROR,
                   "missing secret uuid or usage attribute");
    return 0;
}

int vq_check_auth(const struct vq_auth *auth, struct vq_error *err)
{
    REFUSE_IF(auth->secret.type == VQ_SECRET_USAGE_UNSET, CONFIG_UNSUPPORTED, "unknown secret type of user '%s'",
              auth->username);
    return check_secret(&auth->secret, err);
}

static int check_encryption(const struct vq_encryption *encryption, struct vq_error *err)
{
    const struct vq_secret_ref *secret = &encryption->secret;

    if (secret->type == VQ_SECRET_USAGE_UNSET && secret->usage == NULL && !secret->has_uuid)
        return 0; /* none: whoever opens the image needs it then */
    REFUSE_FROM_IF(secret->type != VQ_SECRET_USAGE_PASSPHRASE, STORAGE, XML_ERROR,
                   "unknown volume encryption secret type");
    return check_secret(secret, err);
}

int vq_check_host(const struct vq_source_host *host, struct vq_error *err)
{
    bool is_unix = vq_streq(host->transport, "unix");

    REFUSE_IF(is_unix && host->socket == NULL, XML_ERROR, "missing socket for unix transport");
    REFUSE_IF(!is_unix && host->socket != NULL, XML_ERROR, "transport '%s' does not support socket attribute",
              vq_rule_text(host->transport));
    REFUSE_IF(!is_unix && host->name == NULL, XML_ERROR, "missing name for host");
    return 0;
}

static int check_network_source(const struct vq_source *source, struct vq_error *err)
{
    REFUSE_IF(source->name == NULL && source->protocol != VQ_NET_PROTOCOL_NBD, XML_ERROR,
              "missing name for disk source");
    REFUSE_IF(source->protocol == VQ_NET_PROTOCOL_GLUSTER && strchr(source->name, '/') == NULL, XML_ERROR,
              "can't split path '%s' into pool name and image name", source->name);
    for (size_t i = 0; i < source->n_hosts; i++) {
        if (vq_check_host(source->hosts[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < source->n_cookies; i++)
        REFUSE_IF(source->cookies[i]->value == NULL, XML_ERROR, "missing value for cookie '%s'",
                  source->cookies[i]->name);
    return 0;
}

static int check_nvme_source(const struct vq_source *source, struct vq_error *err)
{
    REFUSE_IF(source->nvme_type == NULL, XML_ERROR, "missing 'type' attribute to disk source");
    REFUSE_IF(source->nvme_namespace == 0, CONFIG_UNSUPPORTED, "NVMe namespace can't be zero");
    return 0;
}

int vq_check_source(const struct vq_source *source, struct vq_error *err)
{
    if (source->type == VQ_SOURCE_NETWORK && check_network_source(source, err) < 0)
        return -1;
    if (source->type == VQ_SOURCE_NVME && check_nvme_source(source, err) < 0)
        return -1;
    REFUSE_IF(source->type == VQ_SOURCE_VHOST_USER && source->path == NULL, XML_ERROR,
              "missing 'path' attribute for vhostuser disk source");
    if (source->auth != NULL && vq_check_auth(source->auth, err) < 0)
        return -1;
    if (source->encryption != NULL && check_encryption(source->encryption, err) < 0)
        return -1;
    for (size_t i = 0; i < source->n_slices; i++)
        REFUSE_IF(!vq_streq(source->slices[i]->type, "storage"), XML_ERROR, "slices are of the type 'storage'");
    return 0;
}

/* ---- disks ---- */

static bool has_source(const struct vq_source *source)
{
    bool is_local =
        source->type == VQ_SOURCE_FILE || source->type == VQ_SOURCE_BLOCK || source->type == VQ_SOURCE_DIR;

    return !is_local || source->path != NULL;
}

static int check_chain(const struct vq_disk *disk, struct vq_error *err)
{
    for (const struct vq_backing *at = disk->backing; at != NULL; at = at->backing) {
        if (at->source.type == VQ_SOURCE_UNSET)
            break;
        REFUSE_IF(at->format == NULL, XML_ERROR, "missing disk backing store format");
        REFUSE_IF(!has_source(&at->source), XML_ERROR, "missing disk backing store source");
        if (vq_check_source(&at->source, err) < 0)
            return -1;
    }
    return 0;
}

int vq_check_disk(const struct vq_disk *disk, struct vq_error *err)
{
    bool is_removable = disk->device == VQ_DISK_DEVICE_CDROM || disk->device == VQ_DISK_DEVICE_FLOPPY;

    REFUSE_IF(!is_removable && !has_source(&disk->source), NO_SOURCE, "missing source information for device %s",
              disk->target);
    REFUSE_IF(disk->vendor != NULL && strlen(disk->vendor) > VENDOR_MAX, CONFIG_UNSUPPORTED,
              "disk vendor is more than %d characters", VENDOR_MAX);
    REFUSE_IF(disk->vendor != NULL && !has_only(disk->vendor, isprint), XML_ERROR,
              "disk vendor is not printable string");
    REFUSE_IF(disk->product != NULL && strlen(disk->product) > PRODUCT_MAX, CONFIG_UNSUPPORTED,
              "disk product is more than %d characters", PRODUCT_MAX);
    REFUSE_IF(disk->product != NULL && !has_only(disk->product, isprint), XML_ERROR,
              "disk product is not printable string");
    REFUSE_FROM_IF(disk->wwn != NULL && !is_wwn(disk->wwn), NONE, INTERNAL_ERROR, "Malformed wwn: %s", disk->wwn);
    REFUSE_IF(disk->source.startup_policy == VQ_STARTUP_REQUISITE && !is_removable, XML_ERROR,
              "disk startupPolicy 'requisite' is allowed only for cdrom or floppy");
    REFUSE_IF(vq_streq(disk->sgio, "unfiltered"), CONFIG_UNSUPPORTED, "unfiltered sgio is no longer supported");
    if (vq_check_source(&disk->source, err) < 0)
        return -1;
    if (disk->auth != NULL && vq_check_auth(disk->auth, err) < 0)
        return -1;
    if (disk->encryption != NULL && check_encryption(disk->encryption, err) < 0)
        return -1;
    return check_chain(disk, err);
}

int vq_check_filesystem(const struct vq_filesystem *filesystem, struct vq_error *err)
{
    const char *source = filesystem->source_dir != NULL      ? filesystem->source_dir
                         : filesystem->source_socket != NULL ? filesystem->source_socket
                         : filesystem->source_file != NULL   ? filesystem->source_file
                         : filesystem->source_dev != NULL    ? filesystem->source_dev
                                                             : filesystem->source_name;

    REFUSE_IF(source == NULL && !vq_streq(filesystem->type, "ram"), NO_SOURCE,
              "missing source information for device %s", filesystem->target);
    REFUSE_IF((filesystem->fmode != NULL || filesystem->dmode != NULL) && !vq_streq(filesystem->accessmode, "mapped"),
              CONFIG_UNSUPPORTED, "fmode and dmode must be used with accessmode=mapped");
    return 0;
}
