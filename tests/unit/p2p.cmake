# This daemon as a client of others.
if(TARGET vq_node)
    vq_unit_test(client vq_node)
    target_sources(test_client PRIVATE unit/fake_node.c)
endif()
