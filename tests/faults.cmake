# Faults and everything else that is tested with the programs as a whole, on the servers of the run. The fault tests
# use the build with failpoints. Each file is one ctest entry with databases and topics of its own, or servers; those that
# measure how soon something happens run alone.
set(SIPTRUNK_FAILPOINTS_BIN "${PROJECT_SOURCE_DIR}/build/failpoints/bin" CACHE PATH "Programs with failpoints, for tests/faults")
set(SIPTRUNK_PYTHON "${PROJECT_SOURCE_DIR}/.dev/venv/bin/python" CACHE FILEPATH "Python with tests/support/requirements.txt")

# add_server_test(NAME FILE PROGRAMS TIMEOUT)
function(add_server_test name file programs timeout)
  add_test(NAME ${name}
    COMMAND "${SIPTRUNK_PYTHON}" -B -m pytest -p no:cacheprovider -q -rP --durations=3 "tests/${file}"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} ENVIRONMENT "SIPTRUNK_TEST_BIN=${programs}")
endfunction()

add_server_test(faults.checker faults/test_check.py "${SIPTRUNK_FAILPOINTS_BIN}" 60)
add_server_test(faults.crash faults/test_crash.py "${SIPTRUNK_FAILPOINTS_BIN}" 240)
add_server_test(faults.planted faults/test_planted.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.chaos faults/test_chaos.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.states faults/test_states.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
add_server_test(faults.windows faults/test_windows.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
add_server_test(faults.outage faults/test_outage.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.poison faults/test_poison.py "${SIPTRUNK_FAILPOINTS_BIN}" 240)
add_server_test(faults.watchdog faults/test_watchdog.py "${SIPTRUNK_FAILPOINTS_BIN}" 400)
add_server_test(faults.freeze faults/test_freeze.py "${SIPTRUNK_FAILPOINTS_BIN}" 400)
add_server_test(faults.log_full faults/test_log_full.py "${SIPTRUNK_FAILPOINTS_BIN}" 240)
add_server_test(faults.disk_full faults/test_disk_full.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.return faults/test_return.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
add_server_test(faults.verify faults/test_verify.py "${SIPTRUNK_FAILPOINTS_BIN}" 300)
add_server_test(faults.kafka_link faults/test_kafka_link.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
add_server_test(faults.postgres_link faults/test_postgres_link.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
add_server_test(faults.diverged faults/test_diverged.py "${SIPTRUNK_FAILPOINTS_BIN}" 600)
add_library(wrong_clock MODULE support/wrong_clock.c)
target_link_libraries(wrong_clock PRIVATE siptrunk_flags)
target_link_options(wrong_clock PRIVATE -fno-sanitize=all)
target_compile_options(wrong_clock PRIVATE -fno-sanitize=all)
set_target_properties(wrong_clock PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
set_tests_properties(faults.watchdog faults.freeze faults.return faults.kafka_link faults.postgres_link PROPERTIES RUN_SERIAL ON)
set_tests_properties(faults.checker faults.poison faults.crash faults.planted faults.states faults.windows faults.chaos
  faults.outage faults.watchdog faults.return faults.freeze faults.log_full faults.disk_full faults.verify faults.kafka_link faults.postgres_link faults.diverged
  PROPERTIES LABELS faults)

# Memory that runs out in the sanitized worker, so that what leaks then is seen too.
add_library(starve MODULE support/starve.c)
target_compile_definitions(starve PRIVATE _GNU_SOURCE)
target_compile_options(starve PRIVATE -O2 -Wall -Wextra) # tail calls, so that a caller stays the caller
add_server_test(faults.out_of_memory faults/test_out_of_memory.py "${CMAKE_BINARY_DIR}/bin" 300)
set_tests_properties(faults.out_of_memory PROPERTIES LABELS faults
  ENVIRONMENT "SIPTRUNK_TEST_BIN=${CMAKE_BINARY_DIR}/bin;SIPTRUNK_TEST_STARVE_LIBRARY=$<TARGET_FILE:starve>")

add_server_test(integration.startup integration/test_startup.py "${CMAKE_BINARY_DIR}/bin" 120)
add_server_test(integration.interop integration/test_interop.py "${CMAKE_BINARY_DIR}/bin" 120)
add_server_test(integration.guarantees integration/test_guarantees.py "${CMAKE_BINARY_DIR}/bin" 180)
set_tests_properties(integration.startup integration.interop integration.guarantees PROPERTIES LABELS integration)
