# The core of the daemon, with fakes of consensus, mesh and hypervisor.
if(TARGET vq_node)
    vq_unit_test(rights vq_node)
    vq_unit_test(config vq_node)
    foreach(name view session dispatch stream events listener)
        vq_unit_test(${name} vq_node)
        target_sources(test_${name} PRIVATE unit/fake_node.c unit/fake_client.c)
    endforeach()
endif()
