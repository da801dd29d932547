# The tests' own tools are tested too: a checker that sees nothing would pass always.
# Debian's interpreter is named, because the modules come from Debian's packages.
add_test(NAME unit/history COMMAND /usr/bin/python3 -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/unit/test_history.py)
set_tests_properties(unit/history PROPERTIES LABELS unit TIMEOUT 120
    ENVIRONMENT "PYTHONPATH=${CMAKE_CURRENT_SOURCE_DIR}/lib;PYTHONDONTWRITEBYTECODE=1")
