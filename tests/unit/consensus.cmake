vq_unit_test(store vq_store PkgConfig::ZSTD)
vq_unit_test(store_snapshot vq_store)
vq_unit_test(local vq_store)
