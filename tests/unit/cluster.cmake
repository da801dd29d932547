# The node as a member of a cluster: what needs no second process.
if(TARGET vq_cli)
    vq_unit_test(cli vq_cli)
endif()
if(TARGET vq_node)
    vq_unit_test(token vq_node)
    vq_unit_test(propose vq_node)
    vq_unit_test(forward vq_node)
endif()
