# What nearly every file includes. A sanitizer's build is made in CI beside the one that users run: half of its time would
# go into reading these headers.
set(MEMGOV_COMMON_HEADERS
  <algorithm> <chrono> <functional> <map> <memory> <optional> <string> <string_view> <utility> <variant> <vector>
  <absl/container/btree_map.h> <absl/container/flat_hash_map.h> <absl/status/statusor.h> <absl/strings/str_cat.h>
  <absl/strings/str_format.h> <absl/strings/str_split.h>)

function(memgov_precompile target)
  if(MEMGOV_PRECOMPILE)
    list(TRANSFORM ARGN REPLACE "(.+)" "$<$<COMPILE_LANGUAGE:CXX>:\\1>")
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# memgov_room(NAME SOURCES a.cc ... [DEPS target ...] [TESTS a_test.cc ...])
# A library target memgov_NAME for the current directory, and one test program memgov_NAME_test of all TESTS.
function(memgov_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;DEPS;TESTS;TEST_DEPS" ${ARGN})
  add_library(memgov_${name} STATIC ${ROOM_SOURCES})
  target_include_directories(memgov_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(memgov_${name} PUBLIC ${ROOM_DEPS})
  memgov_precompile(memgov_${name} ${MEMGOV_COMMON_HEADERS})
  if(MEMGOV_TESTS AND ROOM_TESTS)
    memgov_test(memgov_${name}_test SOURCES ${ROOM_TESTS} DEPS memgov_${name} ${ROOM_TEST_DEPS})
  endif()
endfunction()

# memgov_test(NAME SOURCES a_test.cc ... [DEPS target ...]): a GoogleTest program that ctest runs.
function(memgov_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_DEPS} GTest::gmock GTest::gtest_main)
  memgov_precompile(${name} ${MEMGOV_COMMON_HEADERS} <gmock/gmock.h> <gtest/gtest.h>)
  set_property(GLOBAL APPEND PROPERTY MEMGOV_TEST_PROGRAMS ${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS memgov_unit)
endfunction()
