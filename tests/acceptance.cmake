# The acceptance cases of tests/acceptance/*.json, each run through the decide stage and through the whole worker.
if(TARGET siptrunk_worker)
  add_library(acceptance_support STATIC acceptance/case_file.c acceptance/decide_run.c support/avro_write.c support/memory_load.c)
  target_link_libraries(acceptance_support PUBLIC siptrunk_worker PkgConfig::cmocka)
  target_compile_definitions(acceptance_support PUBLIC SOURCE_DIR="${PROJECT_SOURCE_DIR}")

  foreach(name IN ITEMS test_decide test_catalogue test_batches)
    add_executable(acceptance_${name} acceptance/${name}.c)
    target_link_libraries(acceptance_${name} PRIVATE acceptance_support)
    set_target_properties(acceptance_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    string(REPLACE "test_" "" short "${name}")
    add_test(NAME acceptance.${short} COMMAND acceptance_${name})
    set_tests_properties(acceptance.${short} PROPERTIES TIMEOUT 120 LABELS acceptance
      ENVIRONMENT "ASAN_OPTIONS=handle_segv=2:detect_leaks=1;UBSAN_OPTIONS=print_stacktrace=1")
  endforeach()

  add_server_test(acceptance.end_to_end acceptance/test_end_to_end.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 120)
  set_tests_properties(acceptance.end_to_end PROPERTIES LABELS acceptance)
endif()
