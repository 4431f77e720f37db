# Fuzz targets: each tests/fuzz/fuzz_NAME.c is one program, built by the preset fuzz, and one short ctest entry that
# looks for findings near its corpus. ./dev fuzz runs them for as long as one likes.
option(SIPTRUNK_FUZZ "Build tests/fuzz; needs clang and -fsanitize=fuzzer-no-link" OFF)
set(SIPTRUNK_FUZZ_BIN "${PROJECT_SOURCE_DIR}/build/fuzz/fuzz" CACHE PATH "Fuzz targets, for the tests")

# add_fuzzer(NAME RUNS SOURCES...): RUNS is what ctest does, a few seconds' worth.
function(add_fuzzer name runs)
  add_test(NAME fuzz.${name}
    COMMAND "${PROJECT_SOURCE_DIR}/tests/fuzz/run.sh" "${SIPTRUNK_FUZZ_BIN}/fuzz_${name}" "" -runs=${runs} -seed=1)
  set_tests_properties(fuzz.${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
  if(SIPTRUNK_FUZZ)
    add_executable(fuzz_${name} "${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_${name}.c" ${ARGN})
    target_link_libraries(fuzz_${name} PRIVATE siptrunk_worker)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
    add_dependencies(fuzzers fuzz_${name})
  endif()
endfunction()

if(SIPTRUNK_FUZZ)
  add_custom_target(fuzzers)
endif()
set(hostile "${PROJECT_SOURCE_DIR}/tests/support/hostile_avro.c")
set(ctl "${PROJECT_SOURCE_DIR}/ctl")
add_fuzzer(avro 500000 "${hostile}")
add_fuzzer(schema 50000 "${hostile}")
add_fuzzer(headers 60000)
add_fuzzer(config 4000)
add_fuzzer(json 80000 "${hostile}" "${ctl}/inventory_line.c" "${ctl}/json_command.c" "${ctl}/lines.c" "${ctl}/message.c")
add_fuzzer(texts 150000)
add_fuzzer(command 5000)
if(SIPTRUNK_FUZZ)
  target_link_libraries(fuzz_command PRIVATE acceptance_support)
endif()
