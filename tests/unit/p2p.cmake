# This daemon as a client of others.
if(TARGET vq_node)
    foreach(name client peer_client)
        vq_unit_test(${name} vq_node)
        target_sources(test_${name} PRIVATE unit/fake_node.c)
    endforeach()
endif()
# Both sides of the migration are the test's own, so it is not linked to the driver.
vq_unit_test(migrate_p2p vq_conf vq_proto vq_base vq_flags PkgConfig::UV PkgConfig::JANSSON)
target_sources(test_migrate_p2p PRIVATE driver/fake_host.c ${CMAKE_SOURCE_DIR}/drivers/qemu/migrate_p2p.c
    ${CMAKE_SOURCE_DIR}/drivers/qemu/migrate_tunnel_out.c
    ${CMAKE_SOURCE_DIR}/drivers/qemu/migrate_params.c)
target_link_libraries(test_migrate_p2p PRIVATE PkgConfig::ZSTD) # the fake host reads definitions as they travel
