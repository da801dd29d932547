vq_unit_test(save_image vq_qemu)
