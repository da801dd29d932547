vq_fuzz(frame vq_proto)
vq_fuzz(call vq_proto)
vq_fuzz(cluster vq_proto)
