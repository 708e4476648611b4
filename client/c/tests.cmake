# Tests of libmemgov: against a real gRPC server in the test (memgov_c_test), of its parts (memgov_c_core_test), of
# what the files export, and of the levers in programs that use each allocator (memgov_c_levers_test).

add_library(memgov_c_testing STATIC testing/fake_governor.cc testing/rude_peer.cc)
target_link_libraries(memgov_c_testing PUBLIC memgov_proto_session Threads::Threads)
target_include_directories(memgov_c_testing PUBLIC ${CMAKE_SOURCE_DIR})

memgov_test(memgov_c_test
  SOURCES hostile_test.cc lifecycle_test.cc session_test.cc
  DEPS memgov_c_static memgov_c_testing)
