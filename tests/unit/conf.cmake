vq_unit_test(xml vq_conf)
vq_unit_test(field vq_conf)
vq_unit_test(domain vq_conf)
vq_unit_test(file vq_conf)
