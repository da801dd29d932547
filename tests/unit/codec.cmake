add_library(vq_sample STATIC lib/sample.c)
target_link_libraries(vq_sample PUBLIC vq_proto)
vq_unit_test(xdr vq_sample)
vq_unit_test(procedure vq_sample ${CMAKE_DL_LIBS})
vq_unit_test(frame vq_proto)
vq_unit_test(cluster_check vq_proto)
add_test(NAME unit/schema
    COMMAND /usr/bin/python3 -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/unit/test_schema.py)
set_tests_properties(unit/schema PROPERTIES LABELS unit TIMEOUT 120 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
