/* Any bytes as the head of a save image: what is taken has texts that end within it, and is written and read again without a change. */
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/save_image.h"
#include "tests/fuzz/fuzz.h"

static void round_trip(const struct vq_save_image *image)
{
    struct vq_save_image again = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    bool is_incomplete;
    uint8_t *bytes;
    size_t length;

    if (vq_save_image_rebuild(image, image->xml, image->was_running != 0, &bytes, &length, &err) < 0)
        return; /* texts that overlap need more room when they are written one after the other */
    FUZZ_CHECK(vq_save_image_parse_header(bytes, length, length, &again, &is_incomplete, &err) == 0);
    FUZZ_CHECK(vq_save_image_parse_texts(&again, bytes + VQ_SAVE_HEADER_BYTES, again.texts_length, &err) == 0);
    FUZZ_CHECK(strcmp(again.xml, image->xml) == 0 && (again.cookie == NULL) == (image->cookie == NULL));
    FUZZ_CHECK(again.cookie == NULL || strcmp(again.cookie, image->cookie) == 0);
    FUZZ_CHECK(again.data == image->data && again.format == image->format && again.was_running == image->was_running);
    vq_save_image_done(&again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct vq_save_image image = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    bool is_incomplete;

    if (vq_save_image_parse_header(bytes, length, length, &image, &is_incomplete, &err) < 0) {
        FUZZ_CHECK(err.code == VIR_ERR_OPERATION_FAILED && err.message[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(image.texts_length <= VQ_SAVE_TEXT_MAX && (size_t)image.data <= length);
    if (vq_save_image_parse_texts(&image, bytes + VQ_SAVE_HEADER_BYTES, image.texts_length, &err) == 0)
        round_trip(&image);
    vq_save_image_done(&image);
    return 0;
}
