vq_fuzz(image_header vq_qemu)
