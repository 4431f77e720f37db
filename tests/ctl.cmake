# siptrunkctl on the servers of the run: each file is one ctest entry. Its exit codes are part of what is tested, so that
# a sanitizer leaves with one that no program of ours has.
set(ctl_environment "SIPTRUNK_TEST_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" "ASAN_OPTIONS=detect_leaks=1:exitcode=99"
  "UBSAN_OPTIONS=print_stacktrace=1")

foreach(area IN ITEMS migrate schema inventory topics send results decode cli)
  add_server_test(ctl.${area} integration/test_ctl_${area}.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 180)
  set_tests_properties(ctl.${area} PROPERTIES LABELS ctl ENVIRONMENT "${ctl_environment}")
endforeach()
