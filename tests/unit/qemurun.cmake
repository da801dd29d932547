vq_unit_test(job vq_qemu)
vq_unit_test(qemu_process vq_qemu)
vq_unit_test(qemu_qmp vq_qemu)
vq_unit_test(qemu_settings vq_qemu)
