# vq_fuzz(name library...): tests/fuzz/name.c with its corpus in tests/fuzz/corpus/name.
#
# With VQ_FUZZ it is a libFuzzer program: build/fuzz/tests/fuzz_name tests/fuzz/corpus/name -max_total_time=120
# Otherwise the same code runs over the corpus. In both cases ctest runs the corpus, label fuzz.
function(vq_fuzz name)
    set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
    add_executable(fuzz_${name} fuzz/${name}.c)
    target_link_libraries(fuzz_${name} PRIVATE ${ARGN})
    if(VQ_FUZZ)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        add_test(NAME fuzz/${name} COMMAND fuzz_${name} -runs=0 ${corpus})
    else()
        target_sources(fuzz_${name} PRIVATE fuzz/corpus.c)
        add_test(NAME fuzz/${name} COMMAND fuzz_${name} ${corpus})
    endif()
    set_tests_properties(fuzz/${name} PROPERTIES LABELS fuzz TIMEOUT 300)
endfunction()

# Each part lists its own in a file of its own.
file(GLOB fuzz_parts CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/*.cmake)
list(FILTER fuzz_parts EXCLUDE REGEX "/tests\\.cmake$")
foreach(fuzz_part ${fuzz_parts})
    include(${fuzz_part})
endforeach()
