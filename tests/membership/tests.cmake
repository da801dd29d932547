# Real daemons on loopback, each with directories and ports of its own: no namespaces, no root's network.
if(TARGET virtquorumd AND TARGET virtquorum)
    add_test(NAME cluster/membership COMMAND /usr/bin/python3 -m pytest -q -rs --durations=5 -p no:cacheprovider
        ${CMAKE_CURRENT_SOURCE_DIR}/membership)
    set_tests_properties(cluster/membership PROPERTIES LABELS cluster TIMEOUT 800 RESOURCE_LOCK hosts PROCESSORS 2
        ENVIRONMENT "VQ_BUILD=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1;VQ_HAS_FAILPOINTS=${VQ_FAILPOINTS}")
endif()
