# The pages of docs/ against schemas, catalogue, acceptance cases and programs, which needs no server; and their examples
# on the servers of the run.
add_test(NAME docs.commands
  COMMAND "${SIPTRUNK_PYTHON}" -B -m pytest -p no:cacheprovider -q --confcutdir=tests/docs
    tests/docs/test_commands.py tests/docs/test_pages.py tests/docs/test_windows.py
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
set_tests_properties(docs.commands PROPERTIES TIMEOUT 30 LABELS docs ENVIRONMENT "SIPTRUNK_TEST_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")

add_server_test(docs.examples docs/test_examples.py "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" 60)
set_tests_properties(docs.examples PROPERTIES LABELS docs)
