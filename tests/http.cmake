# The worker's HTTP endpoints and its lines about records, on the servers of the run or on servers of their own.
foreach(area IN ITEMS metrics health)
  add_server_test(integration.${area} integration/test_${area}.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 240)
  set_tests_properties(integration.${area} PROPERTIES LABELS integration ENVIRONMENT
    "SIPTRUNK_TEST_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};ASAN_OPTIONS=detect_leaks=1:exitcode=99;UBSAN_OPTIONS=print_stacktrace=1")
endforeach()

add_server_test(faults.counts faults/test_counts.py "${SIPTRUNK_FAILPOINTS_BIN}" 60)
set_tests_properties(faults.counts PROPERTIES LABELS faults)
