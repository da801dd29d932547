# System calls and allocations that fail, in a real daemon with a fake QEMU: see errno_sweep.py.
if(TARGET virtquorumd AND TARGET virtquorum)
    add_library(inject SHARED ${CMAKE_CURRENT_LIST_DIR}/inject.c)
    target_link_libraries(inject PRIVATE ${CMAKE_DL_LIBS})
    # The daemon's sanitizers watch the daemon, not what stands between it and the kernel.
    target_compile_options(inject PRIVATE -fno-sanitize=all -fno-builtin)
    target_link_options(inject PRIVATE -fno-sanitize=all)
    add_test(NAME cluster/errno COMMAND /usr/bin/python3 -m pytest -q -rs --tb=short --durations=5 -p no:cacheprovider
        ${CMAKE_CURRENT_SOURCE_DIR}/inject)
    set_tests_properties(cluster/errno PROPERTIES LABELS cluster TIMEOUT 800 RESOURCE_LOCK hosts PROCESSORS 2
        ENVIRONMENT "VQ_BUILD=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1")
endif()
