add_executable(simulation simulation/clients.c simulation/io.c simulation/moves.c simulation/nodes.c simulation/simulation.c
    simulation/world.c)
target_link_libraries(simulation PRIVATE vq_raft_core)
foreach(mode seeds repeat planted)
    add_test(NAME simulation/${mode} COMMAND simulation ${mode})
    set_tests_properties(simulation/${mode} PROPERTIES LABELS simulation TIMEOUT 600)
endforeach()
