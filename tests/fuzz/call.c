/* Any bytes as arguments or reply of any procedure.
 *
 * The first four bytes choose: program, number (two bytes), arguments or reply. What decodes must encode, and then
 * decode to the same again; memory stays in proportion to the message. */
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "proto/procedure.h"
#include "tests/fuzz/fuzz.h"

/* The dearest byte is one of an empty typed parameter: 12 bytes on the wire, 32 and a string of 16 in memory. */
enum { MEMORY_PER_BYTE = 16, MEMORY_FOR_NOTHING = 65536 };

static const struct vq_xdr_struct *choose(const uint8_t *bytes)
{
    enum vq_program program = (enum vq_program)(bytes[0] % VQ_PROGRAMS);
    uint32_t number = ((uint32_t)bytes[1] << 8 | bytes[2]) % vq_procedure_last(program) + 1;
    const struct vq_procedure *procedure = vq_procedure_find(program, number);

    return bytes[3] % 2 == 0 ? procedure->args : procedure->ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOBUFFER first = VQ_BUFFER_INIT;
    VQ_AUTOBUFFER second = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;
    size_t used = 0;

    if (length < 4)
        return 0;
    const struct vq_xdr_struct *type = choose(bytes);
    if (type == NULL)
        return 0;
    VQ_AUTOFREE void *value = vq_calloc(1, type->size);
    int result = vq_xdr_decode(type, bytes + 4, length - 4, arena, value, &used, &err);
    FUZZ_CHECK(vq_arena_used(arena) <= length * MEMORY_PER_BYTE + MEMORY_FOR_NOTHING);
    if (result < 0) {
        FUZZ_CHECK(err.code == VIR_ERR_RPC && err.message[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(used <= length - 4);
    FUZZ_CHECK(vq_xdr_encode(type, value, &first, &err) == 0);
    FUZZ_CHECK(vq_xdr_decode(type, (uint8_t *)first.data, first.length, arena, value, &used, &err) == 0);
    FUZZ_CHECK(used == first.length);
    FUZZ_CHECK(vq_xdr_encode(type, value, &second, &err) == 0);
    FUZZ_CHECK(second.length == first.length && memcmp(second.data, first.data, first.length) == 0);
    return 0;
}
