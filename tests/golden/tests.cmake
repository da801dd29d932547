# XML in, XML out: each pair in domain/ is a definition as a user wrote it (NAME.in.xml) and as a stock daemon shows it
# after defining it (NAME.xml); those in live/ are of running guests.
add_executable(golden_xml golden/xml.c)
target_link_libraries(golden_xml PRIVATE vq_conf PkgConfig::CMOCKA)
add_test(NAME golden/xml COMMAND golden_xml ${CMAKE_CURRENT_SOURCE_DIR}/golden/domain
    ${CMAKE_CURRENT_SOURCE_DIR}/golden/live/live1.xml)
set_tests_properties(golden/xml PROPERTIES LABELS golden TIMEOUT 120)

# The same pairs, filled by the QEMU driver: nothing but chance and PCI differs from what the stock daemon made of them.
add_executable(golden_stock golden/stock.c)
target_link_libraries(golden_stock PRIVATE vq_golden_qemu PkgConfig::CMOCKA)
add_test(NAME golden/stock COMMAND golden_stock ${CMAKE_CURRENT_SOURCE_DIR}/golden/domain)
set_tests_properties(golden/stock PROPERTIES LABELS golden TIMEOUT 120)
