# What other implementations of Avro think of ours.

# The interpreter with fastavro; ./dev deps makes the default one.
set(SIPTRUNK_PYTHON "${PROJECT_SOURCE_DIR}/.dev/venv/bin/python" CACHE FILEPATH "Python with tests/support/requirements.txt")

add_test(NAME interop.fingerprints
  COMMAND "${SIPTRUNK_PYTHON}" "${CMAKE_CURRENT_LIST_DIR}/support/fingerprints.py" --check)

add_executable(avro_differential "${CMAKE_CURRENT_LIST_DIR}/support/avro_differential.c")
target_link_libraries(avro_differential PRIVATE siptrunk_common)
set_target_properties(avro_differential PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")

# add_avro_test(NAME SCRIPT SEED COUNT): lines of that script, then our opinion of them.
function(add_avro_test name script seed count)
  set(file "${CMAKE_BINARY_DIR}/tests/${script}.jsonl")
  add_test(NAME interop.${name}-made
    COMMAND "${SIPTRUNK_PYTHON}" "${CMAKE_CURRENT_LIST_DIR}/support/${script}.py" ${seed} ${count} "${file}")
  add_test(NAME interop.${name} COMMAND avro_differential "${file}")
  set_tests_properties(interop.${name}-made PROPERTIES FIXTURES_SETUP ${name})
  set_tests_properties(interop.${name} PROPERTIES FIXTURES_REQUIRED ${name})
  set_tests_properties(interop.${name}-made interop.${name} PROPERTIES TIMEOUT 120 LABELS interop)
endfunction()

add_avro_test(avro avro_vectors 1 10000)
add_avro_test(avro-damaged avro_mutations 1 210000)
