# Compiled with everything else so that it stays whole; tests/bench/run makes its own, without sanitizers.
add_executable(bench_client bench/client.c)
target_link_libraries(bench_client PRIVATE vq_flags ${LIBVIRT_LINK_LIBRARIES} pthread)
