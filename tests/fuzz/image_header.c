/* Headers of images, and the names of backing files that they hold. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/device_fields.h"
#include "conf/domain.h"
#include "drivers/qemu/image_backing.h"
#include "drivers/qemu/image_header.h"
#include "tests/fuzz/fuzz.h"

static void name(const char *text)
{
    struct vq_source source = {0};
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_image_backing_parse(text, "/images/top.qcow2", &source, &err) == 0)
        vq_fields_clear(&vq_source_fields, &source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = {"qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc", "luks"};
    VQ_AUTOFREE char *text = vq_strndup((const char *)data, size);

    (void)vq_image_probe(data, size);
    for (size_t i = 0; i < VQ_N_ELEMENTS(formats); i++) {
        struct vq_image_header header;
        struct vq_error err = VQ_ERROR_INIT;
        if (vq_image_header_size(formats[i], data, size) > VQ_IMAGE_HEADER_MAX)
            abort();
        if (vq_image_header_read(formats[i], data, size, &header, &err) == 0 && header.has_backing)
            name(header.backing);
    }
    name(text);
    return 0;
}
