# Certificates for the tests of connections.
add_library(vq_test_identity STATIC unit/support/identity.c)
target_link_libraries(vq_test_identity PUBLIC vq_channel PkgConfig::CMOCKA)

vq_unit_test(pki vq_channel)
vq_unit_test(tls vq_channel PkgConfig::GNUTLS)
vq_unit_test(channel vq_channel vq_test_identity)
vq_unit_test(transport vq_raft_transport vq_test_identity)
# The mesh by itself: the rest of the daemon is not needed to test it.
vq_unit_test(mesh vq_channel vq_proto vq_test_identity)
target_sources(test_mesh PRIVATE ${CMAKE_SOURCE_DIR}/node/mesh/mesh.c ${CMAKE_SOURCE_DIR}/node/mesh/mesh_connection.c
    ${CMAKE_SOURCE_DIR}/node/mesh/mesh_listener.c)

# They measure that deadlines of a fraction of a second are kept: not beside others.
set_tests_properties(unit/channel unit/mesh PROPERTIES RUN_SERIAL TRUE)
