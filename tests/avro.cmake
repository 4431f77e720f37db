# What other implementations of Avro think of ours.

# The interpreter with fastavro; ./dev deps makes the default one.
set(SIPTRUNK_PYTHON "${PROJECT_SOURCE_DIR}/.dev/venv/bin/python" CACHE FILEPATH "Python with tests/support/requirements.txt")

add_test(NAME interop.fingerprints
  COMMAND "${SIPTRUNK_PYTHON}" "${CMAKE_CURRENT_LIST_DIR}/support/fingerprints.py" --check)

add_executable(avro_differential "${CMAKE_CURRENT_LIST_DIR}/support/avro_differential.c")
target_link_libraries(avro_differential PRIVATE siptrunk_common)
set_target_properties(avro_differential PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")

set(vectors "${CMAKE_BINARY_DIR}/tests/avro-vectors.jsonl")
add_test(NAME interop.avro-vectors
  COMMAND "${SIPTRUNK_PYTHON}" "${CMAKE_CURRENT_LIST_DIR}/support/avro_vectors.py" 1 10000 "${vectors}")
add_test(NAME interop.avro COMMAND avro_differential "${vectors}")
set_tests_properties(interop.avro-vectors PROPERTIES FIXTURES_SETUP avro-vectors)
set_tests_properties(interop.avro PROPERTIES FIXTURES_REQUIRED avro-vectors)
set_tests_properties(interop.fingerprints interop.avro-vectors interop.avro PROPERTIES TIMEOUT 120 LABELS interop)
