# Real daemons on hosts made of namespaces, with real guests on emulated processors. Only root can make those, and each
# needs the machine for itself: beside anything else, waiting would tell nothing.
function(vq_cluster_test name timeout_s)
    add_test(NAME cluster/${name} COMMAND /usr/bin/python3 -m pytest -q -rs --tb=short --durations=5 -p no:cacheprovider
        ${CMAKE_CURRENT_SOURCE_DIR}/cluster/test_${name}.py)
    set_tests_properties(cluster/${name} PROPERTIES LABELS cluster TIMEOUT ${timeout_s} RESOURCE_LOCK hosts PROCESSORS 2
        ENVIRONMENT "VQ_BUILD=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1")
endfunction()

vq_cluster_test(harness 400)
if(TARGET virtquorumd AND TARGET virtquorum)
    vq_cluster_test(demo 600)
    vq_cluster_test(like_stock 400)
    vq_cluster_test(three_hosts 600)
    vq_cluster_test(names 600)
    vq_cluster_test(python 400)
    vq_cluster_test(peer 300)
    vq_cluster_test(migrate_p2p 1800)
    vq_cluster_test(migrate_postcopy 900)
    vq_cluster_test(failures 900)
    vq_cluster_test(bad_days 900)
    vq_cluster_test(start 300)
    vq_cluster_test(kills 900)
    vq_cluster_test(migrate_check 400)
    vq_cluster_test(migrate 900)
    if(VQ_FAILPOINTS)
        vq_cluster_test(failpoints 1200)
    endif()
endif()
