# Tests of libmemgov: against a real gRPC server in the test (memgov_c_test), of its parts (memgov_c_core_test), of
# what the files export (memgov_c_abi_test), and of the levers in programs that use each allocator
# (memgov_c_allocators_test). memgov_c_endurance_test repeats what goes wrong rarely.

add_library(memgov_c_testing STATIC testing/fake_governor.cc testing/puppet_process.cc testing/rude_peer.cc)
target_link_libraries(memgov_c_testing PUBLIC memgov_proto_session_grpc Threads::Threads)
target_include_directories(memgov_c_testing PUBLIC ${CMAKE_SOURCE_DIR})

memgov_test(memgov_c_test
  SOURCES hostile_test.cc lifecycle_test.cc pressure_test.cc session_test.cc
  DEPS memgov_c_static memgov_c_testing)

# Tests of the parts see the object files as they were before the merge.
memgov_test(memgov_c_core_test
  SOURCES allocators/gperftools_test.cc allocators/mimalloc_test.cc allocators/tcmalloc_test.cc allocators/trim_pace_test.cc
          arena_test.cc bounds_test.cc
          grpc_stream_test.cc hooks_test.cc
          levers_test.cc local/own_cgroup_test.cc local/pace_test.cc local/watch_test.cc process_test.cc reserve_test.cc
          trust_test.cc wire_test.cc
  DEPS $<TARGET_OBJECTS:memgov_c_core> ${NGHTTP2_ARCHIVE} ${NANOPB_ARCHIVE} memgov_c_testing ${CMAKE_DL_LIBS})
add_dependencies(memgov_c_core_test memgov_c_core)

add_executable(memgov_c_endurance_host testing/endurance_host.c)
target_compile_definitions(memgov_c_endurance_host PRIVATE _GNU_SOURCE)
target_link_libraries(memgov_c_endurance_host PRIVATE memgov_c_static)
memgov_test(memgov_c_endurance_test SOURCES endurance_test.cc DEPS memgov_c_testing)
add_dependencies(memgov_c_endurance_test memgov_c_endurance_host)

if(MEMGOV_SANITIZE MATCHES thread)  # gRPC's own locks are not instrumented
  set_tests_properties(memgov_c_test memgov_c_core_test memgov_c_endurance_test PROPERTIES
    ENVIRONMENT TSAN_OPTIONS=ignore_noninstrumented_modules=1)
endif()

# The rest needs the real malloc and a library without a sanitizer's symbols.
if(MEMGOV_SANITIZE)
  message(STATUS "memgov_c_allocators_test and memgov_c_abi_test: not with sanitizers, which replace malloc; "
                 "the release preset runs them")
  return()
endif()

find_library(JEMALLOC_ARCHIVE libjemalloc_pic.a REQUIRED)
find_library(JEMALLOC libjemalloc.so REQUIRED)
find_library(GPERFTOOLS_ARCHIVE libtcmalloc_minimal.a REQUIRED)
find_library(GPERFTOOLS libtcmalloc_minimal.so REQUIRED)
find_library(MIMALLOC libmimalloc.so REQUIRED)

# jemalloc as --with-jemalloc-prefix=je_ would make it: its public names, and those alone, get the prefix.
set(JEMALLOC_PREFIXED ${CMAKE_CURRENT_BINARY_DIR}/libjemalloc_prefixed.a)
add_custom_command(
  OUTPUT ${JEMALLOC_PREFIXED}
  COMMAND sh -c "${CMAKE_NM} -g --defined-only ${JEMALLOC_ARCHIVE} | awk 'NF == 3 && $3 !~ /^je_/ {print $3, \"je_\" $3}' | sort -u > ${JEMALLOC_PREFIXED}.names"
  COMMAND ${CMAKE_OBJCOPY} --redefine-syms=${JEMALLOC_PREFIXED}.names ${JEMALLOC_ARCHIVE} ${JEMALLOC_PREFIXED}
  DEPENDS ${JEMALLOC_ARCHIVE}
  VERBATIM)
add_custom_target(memgov_c_jemalloc_prefixed DEPENDS ${JEMALLOC_PREFIXED})

# puppet(NAME DEFINITIONS ... LIBRARIES ...)
function(puppet name)
  cmake_parse_arguments(PUPPET "" "" "DEFINITIONS;LIBRARIES" ${ARGN})
  add_executable(${name} testing/puppet.c)
  target_compile_definitions(${name} PRIVATE ${PUPPET_DEFINITIONS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${PUPPET_LIBRARIES})
endfunction()

add_library(memgov_odd_malloc SHARED testing/odd_malloc.c)
puppet(puppet_bare)
puppet(puppet_glibc DEFINITIONS PUPPET_MEMGOV LIBRARIES memgov_c_shared)
puppet(puppet_glibc_static DEFINITIONS PUPPET_MEMGOV LIBRARIES memgov_c_static)
puppet(puppet_odd DEFINITIONS PUPPET_MEMGOV LIBRARIES memgov_odd_malloc memgov_c_shared)
puppet(puppet_jemalloc DEFINITIONS PUPPET_MEMGOV PUPPET_MALLCTL=mallctl LIBRARIES memgov_c_shared ${JEMALLOC})
puppet(puppet_jemalloc_static
  DEFINITIONS PUPPET_MEMGOV PUPPET_MALLCTL=mallctl LIBRARIES memgov_c_static ${JEMALLOC_ARCHIVE} m)
puppet(puppet_jemalloc_rdynamic
  DEFINITIONS PUPPET_MEMGOV PUPPET_MALLCTL=mallctl LIBRARIES memgov_c_shared ${JEMALLOC_ARCHIVE} m)
set_target_properties(puppet_jemalloc_rdynamic PROPERTIES ENABLE_EXPORTS ON)
puppet(puppet_jemalloc_prefixed
  DEFINITIONS PUPPET_MEMGOV PUPPET_MALLCTL=je_mallctl PUPPET_MALLOC=je_malloc PUPPET_FREE=je_free
  LIBRARIES memgov_c_static ${JEMALLOC_PREFIXED} m)
add_dependencies(puppet_jemalloc_prefixed memgov_c_jemalloc_prefixed)
# Nothing in the puppet names these two.
puppet(puppet_gperftools
  DEFINITIONS PUPPET_MEMGOV LIBRARIES memgov_c_shared -Wl,--no-as-needed ${GPERFTOOLS} -Wl,--as-needed)
puppet(puppet_gperftools_static
  DEFINITIONS PUPPET_MEMGOV
  LIBRARIES memgov_c_static ${GPERFTOOLS_ARCHIVE} stdc++ m)
puppet(puppet_mimalloc
  DEFINITIONS PUPPET_MEMGOV LIBRARIES memgov_c_shared -Wl,--no-as-needed ${MIMALLOC} -Wl,--as-needed)

# Objects with an allocator inside, and one that only looks so.
add_library(memgov_plugin SHARED testing/plugin.c)
target_link_libraries(memgov_plugin PRIVATE ${JEMALLOC_PREFIXED} m -Wl,--exclude-libs,ALL)
add_dependencies(memgov_plugin memgov_c_jemalloc_prefixed)
add_library(memgov_plugin_mimalloc SHARED testing/plugin.c)
target_compile_definitions(memgov_plugin_mimalloc PRIVATE PLUGIN_MIMALLOC)
target_link_libraries(memgov_plugin_mimalloc PRIVATE ${MIMALLOC})
add_library(memgov_plugin_pretends SHARED testing/plugin.c)
target_compile_definitions(memgov_plugin_pretends PRIVATE PLUGIN_PRETENDS)
target_compile_options(memgov_plugin_pretends PRIVATE -fvisibility=hidden)

memgov_test(memgov_c_allocators_test
  SOURCES allocators/allocators_test.cc allocators/more_allocators_test.cc allocators/private_test.cc
          local/fallback_test.cc
  DEPS memgov_c_testing)
target_compile_definitions(memgov_c_allocators_test PRIVATE
  GPERFTOOLS="${GPERFTOOLS}" JEMALLOC="${JEMALLOC}" MIMALLOC="${MIMALLOC}"
  PLUGIN="$<TARGET_FILE:memgov_plugin>"
  PLUGIN_MIMALLOC="$<TARGET_FILE:memgov_plugin_mimalloc>" PLUGIN_PRETENDS="$<TARGET_FILE:memgov_plugin_pretends>")
add_dependencies(memgov_c_allocators_test
  memgov_plugin memgov_plugin_mimalloc memgov_plugin_pretends
  puppet_bare puppet_glibc puppet_glibc_static puppet_odd puppet_jemalloc puppet_jemalloc_static
  puppet_jemalloc_rdynamic puppet_jemalloc_prefixed puppet_gperftools puppet_gperftools_static puppet_mimalloc)

# What a rewriting of MADV_DONTNEED would do to jemalloc.
add_executable(memgov_c_rewritten_madvise_test allocators/rewritten_madvise.c)
target_compile_definitions(memgov_c_rewritten_madvise_test PRIVATE _GNU_SOURCE)
target_compile_options(memgov_c_rewritten_madvise_test PRIVATE -fno-builtin)
target_link_libraries(memgov_c_rewritten_madvise_test PRIVATE ${JEMALLOC})
set_target_properties(memgov_c_rewritten_madvise_test PROPERTIES ENABLE_EXPORTS ON)
add_test(NAME memgov_c_rewritten_madvise_test COMMAND memgov_c_rewritten_madvise_test)
set_tests_properties(memgov_c_rewritten_madvise_test PROPERTIES ENVIRONMENT MALLOC_CONF=dirty_decay_ms:0)

# The preload in programs that know nothing of it, and in some that start libmemgov themselves.
add_executable(preload_puppet preload/puppet.c)
foreach(library static shared)
  set(target preload_puppet_memgov)
  if(library STREQUAL shared)
    set(target preload_puppet_memgov_shared)
  endif()
  add_executable(${target} preload/puppet.c)
  target_compile_definitions(${target} PRIVATE PUPPET_MEMGOV)
  target_link_libraries(${target} PRIVATE memgov_c_${library})
endforeach()
add_executable(preload_stander preload/stander.c)
target_compile_definitions(preload_stander PRIVATE _GNU_SOURCE)
target_link_libraries(preload_stander PRIVATE Threads::Threads)
memgov_test(memgov_c_preload_test SOURCES preload/preload_test.cc DEPS memgov_c_testing)
add_dependencies(memgov_c_preload_test
  memgov_preload preload_stander preload_puppet preload_puppet_memgov preload_puppet_memgov_shared)

# Exports nothing but the ABI, needs nothing but libc, and both files agree with exports.txt.
add_test(NAME memgov_c_abi_test
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/testing/abi_test.sh
          ${CMAKE_NM} ${CMAKE_READELF} $<TARGET_FILE:memgov_c_shared> $<TARGET_FILE:memgov_c_static> ${EXPORTS}
          $<TARGET_FILE:memgov_preload> ${CMAKE_CURRENT_SOURCE_DIR}/preload/exports.txt)
