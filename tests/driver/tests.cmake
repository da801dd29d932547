# A QEMU that does what a script says, and the driver's running side against it and against the real one.
add_executable(fake_qemu ${CMAKE_CURRENT_LIST_DIR}/../fake_qemu/fake_qemu.c)
target_link_libraries(fake_qemu PRIVATE vq_flags PkgConfig::JANSSON)

add_executable(test_driver ${CMAKE_CURRENT_LIST_DIR}/driver.c ${CMAKE_CURRENT_LIST_DIR}/fake_host.c)
target_link_libraries(test_driver PRIVATE vq_qemu PkgConfig::CMOCKA PkgConfig::ZSTD)
target_compile_definitions(test_driver PRIVATE VQ_FAKE_QEMU="$<TARGET_FILE:fake_qemu>")
add_dependencies(test_driver fake_qemu)
add_test(NAME driver/run COMMAND test_driver)
set_tests_properties(driver/run PROPERTIES LABELS "driver;unit" TIMEOUT 600)

add_executable(test_migrate_in ${CMAKE_CURRENT_LIST_DIR}/migrate_in.c ${CMAKE_CURRENT_LIST_DIR}/fake_host.c)
target_link_libraries(test_migrate_in PRIVATE vq_qemu PkgConfig::CMOCKA PkgConfig::ZSTD)
target_compile_definitions(test_migrate_in PRIVATE VQ_FAKE_QEMU="$<TARGET_FILE:fake_qemu>")
add_dependencies(test_migrate_in fake_qemu)
add_test(NAME driver/migrate_in COMMAND test_migrate_in)
set_tests_properties(driver/migrate_in PROPERTIES LABELS "driver;unit" TIMEOUT 600)

add_executable(test_migrate_out ${CMAKE_CURRENT_LIST_DIR}/migrate_out.c ${CMAKE_CURRENT_LIST_DIR}/fake_host.c)
target_link_libraries(test_migrate_out PRIVATE vq_qemu PkgConfig::CMOCKA PkgConfig::ZSTD)
target_compile_definitions(test_migrate_out PRIVATE VQ_FAKE_QEMU="$<TARGET_FILE:fake_qemu>")
add_dependencies(test_migrate_out fake_qemu)
add_test(NAME driver/migrate_out COMMAND test_migrate_out)
set_tests_properties(driver/migrate_out PROPERTIES LABELS "driver;unit" TIMEOUT 600)

foreach(name agent guest_events hooks)
    add_executable(test_${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c ${CMAKE_CURRENT_LIST_DIR}/scripted.c
        ${CMAKE_CURRENT_LIST_DIR}/fake_host.c)
    target_link_libraries(test_${name} PRIVATE vq_qemu PkgConfig::CMOCKA PkgConfig::ZSTD)
    target_compile_definitions(test_${name} PRIVATE VQ_FAKE_QEMU="$<TARGET_FILE:fake_qemu>")
    add_dependencies(test_${name} fake_qemu)
    add_test(NAME driver/${name} COMMAND test_${name})
    set_tests_properties(driver/${name} PROPERTIES LABELS "driver;unit" TIMEOUT 600)
endforeach()
