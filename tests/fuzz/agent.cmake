vq_fuzz(agent vq_qemu)
