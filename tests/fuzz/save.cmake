vq_fuzz(save_image vq_qemu)
