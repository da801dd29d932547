vq_unit_test(qemu_images vq_qemu)
