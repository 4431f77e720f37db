# siptrunkctl on the servers of the run: each file is one ctest entry. Its exit codes are part of what is tested, so that
# a sanitizer leaves with one that no program of ours has.
set(ctl_environment "SIPTRUNK_TEST_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" "ASAN_OPTIONS=detect_leaks=1:exitcode=99"
  "UBSAN_OPTIONS=print_stacktrace=1")

foreach(area IN ITEMS migrate schema inventory topics send results decode partitions ledger cli)
  add_server_test(ctl.${area} integration/test_ctl_${area}.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 180)
  set_tests_properties(ctl.${area} PROPERTIES LABELS ctl ENVIRONMENT "${ctl_environment}")
endforeach()
add_server_test(integration.secrets integration/test_secrets.py "${CMAKE_BINARY_DIR}/bin" 120)
add_server_test(integration.log integration/test_log.py "${CMAKE_BINARY_DIR}/bin" 180)
add_server_test(integration.batch integration/test_batch.py "${CMAKE_BINARY_DIR}/bin" 180)
add_server_test(integration.plans integration/test_plans.py "${CMAKE_BINARY_DIR}/bin" 300)
add_server_test(integration.replies integration/test_replies.py "${CMAKE_BINARY_DIR}/bin" 120)
set_tests_properties(integration.secrets integration.log integration.batch integration.replies integration.plans PROPERTIES LABELS integration)

add_executable(test_ctl_memory ctl/test_ctl_memory.c ../ctl/sequences.c ../ctl/uuid_map.c)
target_link_libraries(test_ctl_memory PRIVATE siptrunk_common PkgConfig::cmocka)
set_target_properties(test_ctl_memory PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_test(NAME ctl.memory COMMAND test_ctl_memory)
set_tests_properties(ctl.memory PROPERTIES TIMEOUT 120 LABELS ctl ENVIRONMENT "ASAN_OPTIONS=handle_segv=2:detect_leaks=1")

# The judge of siptrunkctl verify over every single mutation of a history that the test has made.
file(GLOB verify_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/ctl/verify/*.c")
list(FILTER verify_sources INCLUDE REGEX "/(history|record|answer|judge[a-z_]*)[.]c$")
add_executable(verify_mutations ctl/verify_mutations.c ctl/history_file.c ../ctl/uuid_map.c ${verify_sources})
target_link_libraries(verify_mutations PRIVATE siptrunk_common)
set_target_properties(verify_mutations PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_server_test(ctl.verify integration/test_ctl_verify.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 300)
set_tests_properties(ctl.verify PROPERTIES LABELS ctl ENVIRONMENT "${ctl_environment}")
