vq_fuzz(migrate_cookie vq_qemu)
