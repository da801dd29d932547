# Definitions and command lines of the QEMU driver: golden/qemu/cases/<name>.xml and what each must give.
add_library(vq_golden_qemu STATIC golden/qemu/support.c)
target_link_libraries(vq_golden_qemu PUBLIC vq_qemu vq_conf)
set(golden_cases ${CMAKE_CURRENT_SOURCE_DIR}/golden/qemu/cases)
target_compile_definitions(vq_golden_qemu PRIVATE GOLDEN_DIR="${golden_cases}")

add_executable(test_golden_qemu golden/qemu/argv.c)
target_link_libraries(test_golden_qemu PRIVATE vq_golden_qemu PkgConfig::CMOCKA)
target_compile_definitions(test_golden_qemu PRIVATE GOLDEN_DIR="${golden_cases}")
add_test(NAME golden/qemu COMMAND test_golden_qemu)
set_tests_properties(golden/qemu PROPERTIES LABELS "unit;golden" TIMEOUT 120)

# The real emulator takes what we write; needs QEMU, not root (without it interfaces are of type user).
add_executable(test_accept_qemu golden/qemu/accept.c)
target_link_libraries(test_accept_qemu PRIVATE vq_golden_qemu PkgConfig::CMOCKA)
target_compile_definitions(test_accept_qemu PRIVATE GOLDEN_DIR="${golden_cases}")
add_test(NAME golden/accept_qemu COMMAND test_accept_qemu)
set_tests_properties(golden/accept_qemu PROPERTIES LABELS golden TIMEOUT 600 SKIP_RETURN_CODE 77)

vq_unit_test(qemudef_define vq_qemu PkgConfig::ZSTD)
vq_unit_test(qemudef_metadata vq_qemu)
vq_unit_test(qemudef_host vq_golden_qemu)
