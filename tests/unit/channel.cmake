vq_unit_test(pki vq_channel)
vq_unit_test(tls vq_channel PkgConfig::GNUTLS)
