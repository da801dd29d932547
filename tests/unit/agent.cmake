vq_unit_test(qemu_agent vq_qemu)
