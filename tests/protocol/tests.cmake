# Does a client understand us: raw sockets for what no stock client sends, and stock clients.
if(TARGET virtquorumd)
    foreach(name every_procedure hostile migration served)
        add_test(NAME protocol/${name}
            COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/protocol/${name}.py)
        set_tests_properties(protocol/${name} PROPERTIES LABELS protocol TIMEOUT 400
            ENVIRONMENT "VQ_DAEMON=$<TARGET_FILE:virtquorumd>")
    endforeach()
endif()
if(TARGET vq_node)
    add_executable(peer_probe ${CMAKE_CURRENT_SOURCE_DIR}/protocol/peer_probe.c)
    target_link_libraries(peer_probe PRIVATE vq_node)
endif()
