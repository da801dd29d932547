/* Sealing and opening definitions. */
#define VQ_FROM VIR_FROM_NONE
#include "node/seal.h"

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/daemon.h"
#include "proto/pki.h"
#include "store/store.h"

/* What a definition is bound to, so that nobody can put it in another one's place. */
struct place {
    char text[sizeof("domain:") + VQ_UUID_TEXT];
};

static struct place place_of(const uint8_t uuid[16])
{
    struct place place;
    char text[VQ_UUID_TEXT];

    vq_uuid_format(uuid, text);
    (void)snprintf(place.text, sizeof(place.text), "domain:%s", text);
    return place;
}

static int refuse_without_key(struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "this node has no key of its cluster");
}

int vq_seal_close(const uint8_t key[32], const uint8_t uuid[16], const void *bytes, size_t length, uint8_t **ret_sealed,
                  size_t *ret_length, struct vq_error *err)
{
    struct place place = place_of(uuid);

    return key == NULL ? refuse_without_key(err)
                       : vq_pki_seal(key, bytes, length, place.text, ret_sealed, ret_length, err);
}

int vq_seal_open(const uint8_t key[32], const uint8_t uuid[16], const void *sealed, size_t length, uint8_t **ret_bytes,
                 size_t *ret_length, struct vq_error *err)
{
    struct place place = place_of(uuid);

    return key == NULL ? refuse_without_key(err)
                       : vq_pki_unseal(key, sealed, length, place.text, ret_bytes, ret_length, err);
}

static int read_sealed(const struct vq_daemon *daemon, const struct vq_domain_head *head,
                       const struct vq_definition *sealed, char **ret_xml, struct vq_error *err)
{
    struct vq_definition opened = {.xml_size = sealed->xml_size};
    uint8_t *bytes;

    if (vq_seal_open(daemon->has_cluster_key ? daemon->cluster_key : NULL, head->uuid, sealed->bytes, sealed->length,
                     &bytes, &opened.length, err) < 0)
        return -1;
    opened.bytes = bytes;
    int rc = vq_store_definition_text(&opened, ret_xml, err);
    gnutls_memset(bytes, 0, opened.length);
    free(bytes);
    return rc;
}

int vq_seal_read_definition(const struct vq_daemon *daemon, struct vq_store_view *view,
                            const struct vq_domain_head *head, const char **ret_xml, char **ret_free,
                            bool *ret_is_sealed, struct vq_error *err)
{
    struct vq_definition stored;
    struct vq_error why = VQ_ERROR_INIT;
    int rc = vq_store_definition(view, head->uuid, &stored, &why);

    *ret_free = NULL;
    if (rc == 0 && stored.is_sealed) {
        rc = read_sealed(daemon, head, &stored, ret_free, &why);
        *ret_xml = *ret_free;
    } else if (rc == 0) {
        rc = vq_store_domain_xml(view, head->uuid, ret_xml, ret_free, &why);
    }
    if (rc < 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the definition of domain '%s' cannot be read: %s", head->name,
                            why.message);
    *ret_is_sealed = stored.is_sealed;
    return 0;
}
