vq_fuzz(domain_xml vq_conf)
vq_fuzz(conf_file vq_conf)
