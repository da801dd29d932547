vq_unit_test(migrate_params vq_qemu)
