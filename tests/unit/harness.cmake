# The tests' own tools are tested too: a checker that sees nothing would pass always.
# Debian's interpreter is named, because the modules come from Debian's packages.
foreach(name history guest)
    add_test(NAME unit/${name} COMMAND /usr/bin/python3 -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/unit/test_${name}.py)
    set_tests_properties(unit/${name} PROPERTIES LABELS unit TIMEOUT 120
        ENVIRONMENT "PYTHONPATH=${CMAKE_CURRENT_SOURCE_DIR}/lib;PYTHONDONTWRITEBYTECODE=1")
endforeach()
