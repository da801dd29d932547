vq_unit_test(qemu_cpu vq_qemu)
