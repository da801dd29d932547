vq_unit_test(hook vq_qemu)
