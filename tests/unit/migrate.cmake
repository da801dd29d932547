vq_unit_test(migrate_params vq_qemu)
vq_unit_test(migrate_cookie vq_qemu)
target_compile_definitions(test_migrate_cookie PRIVATE DATA_DIR="${CMAKE_CURRENT_SOURCE_DIR}/unit/data/migrate")
vq_unit_test(migrate_tls vq_qemu)
