/* Any bytes as what an agent says, cut into pieces whose lengths the first bytes name, once while its number is looked for and once as
 * an answer: the reader gives objects or says that it is garbage, and holds no more than it may. */
#include "drivers/qemu/agent.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

static bool read_all(struct vq_agent_reader *reader)
{
    struct vq_error err = VQ_ERROR_INIT;
    json_t *answer;
    int rc;

    while ((rc = vq_agent_reader_next(reader, &answer, &err)) > 0) {
        FUZZ_CHECK(json_is_object(answer));
        json_decref(answer);
    }
    FUZZ_CHECK(rc == 0 || (!reader->is_syncing && err.code != VIR_ERR_OK));
    return rc == 0;
}

static void feed(struct vq_agent_reader *reader, const char *bytes, size_t length, size_t piece)
{
    while (length > 0) {
        size_t n = length < piece ? length : piece;

        if (vq_agent_reader_feed(reader, bytes, n, NULL) < 0 || !read_all(reader))
            return;
        FUZZ_CHECK(reader->length <= VQ_AGENT_LINE_MAX && (!reader->is_syncing || reader->length <= 256));
        bytes += n;
        length -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct vq_agent_reader reader = { 0 };

    if (length < 2)
        return 0;
    for (int is_syncing = 1; is_syncing >= 0; is_syncing--) {
        vq_agent_reader_expect(&reader, is_syncing);
        feed(&reader, (const char *)bytes + 1, length - 1, bytes[0] + 1u);
    }
    vq_agent_reader_done(&reader);
    return 0;
}
