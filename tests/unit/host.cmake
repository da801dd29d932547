vq_unit_test(qemu_cpu vq_qemu)
vq_unit_test(host_memory vq_node)
vq_unit_test(check vq_cli)
vq_unit_test(qemu_probe vq_qemu)
