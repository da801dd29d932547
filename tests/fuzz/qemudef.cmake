vq_fuzz(qemu_command vq_golden_qemu)
