# Which folder may include what, that each header can be compiled alone, and that scripts and the list of libraries are right.
set(layers ${CMAKE_CURRENT_SOURCE_DIR}/layers/layers.py)
set(header_flags -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -I${CMAKE_SOURCE_DIR} -I${CMAKE_BINARY_DIR})
foreach(library UV XML GNUTLS PROTOBUFC LMDB JANSSON SMARTCOLS LIBVIRT XXHASH ZSTD RAFT)
    foreach(folder ${${library}_INCLUDE_DIRS})
        list(APPEND header_flags -isystem${folder})
    endforeach()
endforeach()
list(REMOVE_DUPLICATES header_flags)

add_test(NAME layers/includes COMMAND ${Python3_EXECUTABLE} ${layers} includes ${CMAKE_SOURCE_DIR})
add_test(NAME layers/headers COMMAND ${Python3_EXECUTABLE} ${layers} headers ${CMAKE_SOURCE_DIR} ${CMAKE_C_COMPILER}
    ${header_flags})
set_tests_properties(layers/includes layers/headers PROPERTIES LABELS layers TIMEOUT 300)

if(TARGET virtquorumd AND TARGET virtquorum)
    add_test(NAME layers/libraries COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/layers/libraries.py
        ${CMAKE_SOURCE_DIR}/docs/dependencies.md $<TARGET_FILE:virtquorumd> $<TARGET_FILE:virtquorum>)
    set_tests_properties(layers/libraries PROPERTIES LABELS layers TIMEOUT 200)
endif()

find_program(SHELLCHECK shellcheck)
if(SHELLCHECK)
    add_test(NAME layers/scripts COMMAND ${SHELLCHECK} -S warning deploy/demo deploy/guest deploy/setup tests/run .ci/run
        tests/cluster/long tests/guest/make tests/guest/agent WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(layers/scripts PROPERTIES LABELS layers TIMEOUT 200)
endif()
