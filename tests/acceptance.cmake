# The acceptance cases of tests/acceptance/*.json, each run through the decide stage and through the whole worker.
if(TARGET siptrunk_worker)
  add_library(acceptance_support STATIC acceptance/case_file.c acceptance/case_run.c
    acceptance/decide_run.c support/avro_write.c support/memory_load.c)
  target_link_libraries(acceptance_support PUBLIC siptrunk_worker PkgConfig::cmocka)
  target_compile_definitions(acceptance_support PUBLIC SOURCE_DIR="${PROJECT_SOURCE_DIR}")

  foreach(name IN ITEMS test_decide test_catalogue test_batches test_memory)
    add_executable(acceptance_${name} acceptance/${name}.c)
    target_link_libraries(acceptance_${name} PRIVATE acceptance_support)
    set_target_properties(acceptance_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    string(REPLACE "test_" "" short "${name}")
    add_test(NAME acceptance.${short} COMMAND acceptance_${name})
    set_tests_properties(acceptance.${short} PROPERTIES TIMEOUT 120 LABELS acceptance
      ENVIRONMENT "ASAN_OPTIONS=handle_segv=2:detect_leaks=1;UBSAN_OPTIONS=print_stacktrace=1")
  endforeach()

  # What our own code asks for memory, and what hears it where database and broker would be.
  target_sources(acceptance_test_memory PRIVATE support/failing_memory.c)
  foreach(name IN ITEMS malloc calloc realloc strdup arena_alloc arena_array arena_copy arena_printf pg_queue pg_sync
      pg_rollback producer_begin producer_send producer_commit getrandom)
    target_link_options(acceptance_test_memory PRIVATE "-Wl,--wrap=${name}")
  endforeach()

  add_server_test(acceptance.end_to_end acceptance/test_end_to_end.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 120)
  set_tests_properties(acceptance.end_to_end PROPERTIES LABELS acceptance)

  # The worker with one more row in its table of settings: only the files that know the table are compiled for it.
  set(table "${PROJECT_SOURCE_DIR}/worker/settings.def")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${table}")
  file(READ "${table}" rows)
  string(REPLACE "SETTING(TRUNK_PING," [[
SETTING(TRUNK_LINES, "lines", INT, RINGING_TIMEOUT, "/sip_trunk/lines", "trunk_lines", "c.trunk_lines::text", "u.trunk_lines::int4")
SETTING(TRUNK_PING,]] more_rows "${rows}")
  if(more_rows STREQUAL rows)
    message(FATAL_ERROR "worker/settings.def has no row to put another one before")
  endif()
  set(new_setting "${CMAKE_CURRENT_BINARY_DIR}/new_setting")
  file(CONFIGURE OUTPUT "${new_setting}/include/worker/settings.def" CONTENT "${more_rows}" @ONLY)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/worker/*.c" "${PROJECT_SOURCE_DIR}/worker/commands/*.c")
  set(knowing_sources "${PROJECT_SOURCE_DIR}/worker/main.c")
  foreach(source IN LISTS sources)
    file(READ "${source}" text)
    if(text MATCHES "\"worker/settings\\.(h|def)\"")
      list(APPEND knowing_sources "${source}")
    endif()
  endforeach()
  add_executable(acceptance_new_setting ${knowing_sources})
  target_include_directories(acceptance_new_setting BEFORE PRIVATE "${new_setting}/include")
  target_link_libraries(acceptance_new_setting PRIVATE siptrunk_worker)
  set_target_properties(acceptance_new_setting PROPERTIES OUTPUT_NAME siptrunk-worker RUNTIME_OUTPUT_DIRECTORY "${new_setting}/bin")
  add_server_test(acceptance.new_setting acceptance/test_new_setting.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 60)
  set_tests_properties(acceptance.new_setting PROPERTIES LABELS acceptance ENVIRONMENT
    "SIPTRUNK_TEST_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};SIPTRUNK_TEST_NEW_SETTING_BIN=${new_setting}/bin")
endif()

# Rules against cases; no server.
add_test(NAME acceptance.ids COMMAND "${SIPTRUNK_PYTHON}" -B -m pytest -p no:cacheprovider -q tests/acceptance/test_ids.py
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
set_tests_properties(acceptance.ids PROPERTIES TIMEOUT 30 LABELS acceptance)
