# Faults and everything else that is tested with the programs as a whole, on the servers of the run. The fault tests
# use the build with failpoints. Each file is one ctest entry, and they do not run side by side: they share two servers.
set(SIPTRUNK_FAILPOINTS_BIN "${PROJECT_SOURCE_DIR}/build/failpoints/bin" CACHE PATH "Programs with failpoints, for tests/faults")
set(SIPTRUNK_PYTHON "${PROJECT_SOURCE_DIR}/.dev/venv/bin/python" CACHE FILEPATH "Python with tests/support/requirements.txt")

# add_server_test(NAME FILE PROGRAMS TIMEOUT)
function(add_server_test name file programs timeout)
  add_test(NAME ${name}
    COMMAND "${SIPTRUNK_PYTHON}" -B -m pytest -p no:cacheprovider -q -rP --durations=3 "tests/${file}"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} RUN_SERIAL ON ENVIRONMENT "SIPTRUNK_TEST_BIN=${programs}")
endfunction()

add_server_test(faults.checker faults/test_check.py "${SIPTRUNK_FAILPOINTS_BIN}" 60)
add_server_test(faults.crash faults/test_crash.py "${SIPTRUNK_FAILPOINTS_BIN}" 240)
add_server_test(faults.chaos faults/test_chaos.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.outage faults/test_outage.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.poison faults/test_poison.py "${SIPTRUNK_FAILPOINTS_BIN}" 240)
add_server_test(faults.verify faults/test_verify.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.kafka_link faults/test_kafka_link.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
add_server_test(faults.postgres_link faults/test_postgres_link.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
set_tests_properties(faults.checker PROPERTIES RUN_SERIAL OFF)
set_tests_properties(faults.checker faults.poison faults.crash faults.chaos faults.outage faults.verify faults.kafka_link
  faults.postgres_link PROPERTIES LABELS faults)

add_server_test(integration.startup integration/test_startup.py "${CMAKE_BINARY_DIR}/bin" 120)
add_server_test(integration.interop integration/test_interop.py "${CMAKE_BINARY_DIR}/bin" 120)
add_server_test(integration.guarantees integration/test_guarantees.py "${CMAKE_BINARY_DIR}/bin" 180)
set_tests_properties(integration.startup integration.interop integration.guarantees PROPERTIES LABELS integration)
