# The bare Kafka echo that the benchmark runs beside the worker. No test.
if(TARGET siptrunk_worker)
  add_executable(bench-echo bench/echo.c)
  target_link_libraries(bench-echo PRIVATE siptrunk_worker)

  # What load and store alone would reach, to stand beside the worker. No test.
  add_executable(bench-ceiling bench/ceiling.c)
  target_link_libraries(bench-ceiling PRIVATE siptrunk_worker)
  target_link_options(bench-ceiling PRIVATE "-Wl,--wrap=pg_queue" "-Wl,--wrap=pg_sync")
endif()

# What hostile Avro costs the decoder, in time. No test.
add_executable(bench-hostile bench/hostile.c support/hostile_avro.c)
target_link_libraries(bench-hostile PRIVATE siptrunk_common)

# Counts calls in the worker for the benchmark. No test.
add_library(bench-calls MODULE bench/calls.c)
target_link_libraries(bench-calls PRIVATE PkgConfig::pq PkgConfig::rdkafka)
target_compile_definitions(bench-calls PRIVATE _GNU_SOURCE)
target_compile_options(bench-calls PRIVATE -O2 -Wall -Wextra)
set_target_properties(bench-calls PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")

# A server that is further away. No test.
add_executable(bench-delay bench/delay.c)
target_link_libraries(bench-delay PRIVATE siptrunk_flags)
