/* Any bytes as a message between nodes, of a joining node, of the tool, or out of the log. The first byte chooses. */
#include "proto/cluster.h"

#include "proto/cluster.pb-c.h"
#include "tests/fuzz/fuzz.h"

static const ProtobufCMessageDescriptor *const types[] = {
    &vq__mesh__descriptor,         &vq__entry__descriptor,      &vq__control__descriptor,
    &vq__join_request__descriptor, &vq__join_reply__descriptor, &vq__control_reply__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (length < 1)
        return 0;
    const ProtobufCMessageDescriptor *type = types[bytes[0] % VQ_N_ELEMENTS(types)];
    if (vq_cluster_check(type, bytes + 1, length - 1, &err) < 0) {
        FUZZ_CHECK(err.code == VIR_ERR_RPC && err.message[0] != '\0');
        return 0;
    }
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, length - 1, bytes + 1);
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}
