# The bare Kafka echo that the benchmark runs beside the worker. No test.
if(TARGET siptrunk_worker)
  add_executable(bench-echo bench/echo.c)
  target_link_libraries(bench-echo PRIVATE siptrunk_worker)
endif()
