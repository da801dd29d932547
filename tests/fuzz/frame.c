/* Any bytes as the input of a connection: frames stay within them, and a frame that we write again is the same. */
#include "proto/frame.h"

#include <string.h>

#include "conf/base/buffer.h"
#include "tests/fuzz/fuzz.h"

static void write_again(const struct vq_frame *frame, const uint8_t *bytes, size_t length)
{
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;

    size_t begin = vq_frame_begin(&buffer, frame);
    vq_buffer_add_bytes(&buffer, frame->payload, frame->payload_length);
    FUZZ_CHECK(vq_frame_end(&buffer, begin, NULL) == 0);
    FUZZ_CHECK(buffer.length == length);
    FUZZ_CHECK(memcmp(buffer.data, bytes, length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct vq_frame frame;
    size_t whole;

    for (;;) {
        struct vq_error err = VQ_ERROR_INIT;
        int result = vq_frame_decode(bytes, length, &frame, &whole, &err);
        if (result < 0)
            FUZZ_CHECK(err.code == VIR_ERR_RPC);
        if (result == 0)
            FUZZ_CHECK(whole == 0 ? length < VQ_FRAME_LENGTH_BYTES : whole > length && whole <= VQ_FRAME_MAX);
        if (result <= 0)
            return 0;
        FUZZ_CHECK(whole >= VQ_FRAME_MIN && whole <= length);
        FUZZ_CHECK(frame.payload + frame.payload_length == bytes + whole);
        FUZZ_CHECK(frame.n_fds <= VQ_FRAME_FDS_MAX);
        write_again(&frame, bytes, whole);
        bytes += whole;
        length -= whole;
    }
}
