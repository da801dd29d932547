# This daemon as a client of others.
if(TARGET vq_node)
    foreach(name client peer_client)
        vq_unit_test(${name} vq_node)
        target_sources(test_${name} PRIVATE unit/fake_node.c)
    endforeach()
endif()
