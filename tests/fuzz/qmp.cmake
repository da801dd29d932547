vq_fuzz(qmp vq_qemu)
