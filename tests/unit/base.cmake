vq_unit_test(base vq_base)
