vq_unit_test(abi vq_conf)
