# The bare Kafka echo that the benchmark runs beside the worker. No test.
if(TARGET siptrunk_worker)
  add_executable(bench-echo bench/echo.c)
  target_link_libraries(bench-echo PRIVATE siptrunk_worker)
endif()

# What hostile Avro costs the decoder, in time. No test.
add_executable(bench-hostile bench/hostile.c support/hostile_avro.c)
target_link_libraries(bench-hostile PRIVATE siptrunk_common)
