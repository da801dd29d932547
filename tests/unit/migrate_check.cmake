# What is asked before a guest moves.
vq_unit_test(migrate_check vq_qemu)
