/* Any bytes as what a QEMU says, cut into two pieces at a place that the first byte names: the reader gives whole,
 * checked messages or says that it is garbage. */
#include "drivers/qemu/qmp.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

static void check(const struct vq_qmp_message *message)
{
    FUZZ_CHECK(json_is_object(message->root));
    switch (message->kind) {
    case VQ_QMP_EVENT:
        FUZZ_CHECK(message->event != NULL && strlen(message->event) <= 128);
        FUZZ_CHECK(message->data == NULL || json_is_object(message->data));
        FUZZ_CHECK(message->micros < 1000000);
        break;
    case VQ_QMP_RETURN:
        FUZZ_CHECK(message->data != NULL && (!message->has_id || message->id > 0));
        break;
    case VQ_QMP_ERROR:
        FUZZ_CHECK(message->error_class != NULL && message->error_text != NULL);
        break;
    case VQ_QMP_GREETING:
        FUZZ_CHECK(json_is_object(message->data));
        break;
    }
}

/* False: garbage, after which the connection is not read any more. */
static bool read_all(struct vq_qmp_reader *reader)
{
    struct vq_qmp_message message;
    struct vq_error err = VQ_ERROR_INIT;
    int rc;

    while ((rc = vq_qmp_reader_next(reader, &message, &err)) > 0) {
        check(&message);
        vq_qmp_message_done(&message);
    }
    FUZZ_CHECK(rc == 0 || err.code != VIR_ERR_OK);
    return rc == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct vq_qmp_reader reader = { 0 };
    size_t first = length > 0 ? bytes[0] * length / 256 : 0;

    if (vq_qmp_reader_feed(&reader, (const char *)bytes, first, NULL) == 0 && read_all(&reader) &&
        vq_qmp_reader_feed(&reader, (const char *)bytes + first, length - first, NULL) == 0)
        (void)read_all(&reader);
    vq_qmp_reader_done(&reader);
    return 0;
}
