/* Definitions in save images: see save_xml.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/save_xml.h"

#include <stdlib.h>
#include <string.h>

#include "conf/abi.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/cpu_run.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/guest.h"

static int check_same(const struct vq_domain *source, const struct vq_domain *target, struct vq_error *err)
{
    char source_uuid[VQ_UUID_TEXT], target_uuid[VQ_UUID_TEXT];

    vq_uuid_format(source->uuid, source_uuid);
    vq_uuid_format(target->uuid, target_uuid);
    if (strcmp(source_uuid, target_uuid) != 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Target domain uuid %s does not match source %s", target_uuid,
                            source_uuid);
    if (!vq_streq(source->name, target->name))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Target domain name '%s' does not match source '%s'",
                            target->name, source->name);
    return vq_domain_abi_check(source, target, err);
}

int vq_save_xml_of_guest(const struct vq_qemu_guest *guest, const char *xml, char **ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) definition = NULL;

    if (guest->live == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s': %s", guest->name, guest->degraded);
    if (xml == NULL) {
        *ret = vq_qemu_cpu_migratable_xml(guest->live);
        return 0;
    }
    if (vq_qemu_parse_stored(xml, &definition, err) < 0 || check_same(guest->live, definition, err) < 0)
        return -1;
    *ret = vq_qemu_cpu_migratable_xml(definition);
    return 0;
}

int vq_save_xml_read(const char *image_xml, const char *xml, struct vq_domain **ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) own = NULL;
    VQ_AUTOPTR(vq_domain) other = NULL;

    if (vq_qemu_parse_stored(image_xml, &own, err) < 0)
        return vq_error_wrap(err, "reading the definition in the image");
    if (!own->has_uuid)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "the definition in the image has no UUID");
    if (xml != NULL && (vq_qemu_parse_stored(xml, &other, err) < 0 || check_same(own, other, err) < 0))
        return -1;
    *ret = xml != NULL ? vq_take(other) : vq_take(own);
    return 0;
}
