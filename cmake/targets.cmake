# Thin helpers; they print nothing. One folder, one CMakeLists, explicit source lists.

# graft_library(NAME SOURCES ... LINKS ... [TORCH]): a static library of ours. TORCH adds LibTorch and the shared precompiled header.
function(graft_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC graft_flags ${ARG_LINKS} PRIVATE ${ARG_PRIVATE_LINKS})
  if(ARG_TORCH)
    graft_use_torch(${name})
  endif()
endfunction()

function(graft_use_torch name)
  target_link_libraries(${name} PUBLIC graft::torch OpenMP::OpenMP_CXX)
  if(NOT TARGET graft_torch_pch)
    file(WRITE "${CMAKE_BINARY_DIR}/graft_torch_pch.cpp" "")
    add_library(graft_torch_pch OBJECT "${CMAKE_BINARY_DIR}/graft_torch_pch.cpp")
    target_link_libraries(graft_torch_pch PRIVATE graft_flags graft::torch OpenMP::OpenMP_CXX)
    target_precompile_headers(graft_torch_pch PRIVATE "${PROJECT_SOURCE_DIR}/cmake/torch_pch.h")
  endif()
  target_precompile_headers(${name} REUSE_FROM graft_torch_pch)
endfunction()

# graft_test(NAME SOURCES ... LINKS ... [TORCH]): one GoogleTest program, which is one test of ctest: starting a program that links LibTorch
# takes 0.3 s, too long to do for every case.
function(graft_test name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE graft_flags graft_test_support ${ARG_LINKS} GTest::gtest GTest::gmock GTest::gtest_main)
  if(ARG_TORCH)
    graft_use_torch(${name})
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name})
  # A program all of whose cases were skipped ends with exactly these lines; a failed case would add others. The spin count is the programs' own
  # (decision 0007): idle threads that spin for ever made a test of half a minute last over ten beside other work.
  set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "\\[  PASSED  \\] 0 tests\\.\n(\\[  SKIPPED \\][^\n]*\n)+$" TIMEOUT 600
                       ENVIRONMENT "GRAFT_CACHE=${CMAKE_BINARY_DIR}/cache;GOMP_SPINCOUNT=10000")
endfunction()

# graft_app(NAME SOURCES ... LINKS ...): app_NAME (a library, so that tests link it without main) and the program NAME in bin/.
function(graft_app name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  graft_library(app_${name} SOURCES ${ARG_SOURCES} LINKS ${ARG_LINKS} TORCH)
  add_executable(${name} main.cpp)
  target_link_libraries(${name} PRIVATE app_${name})
  graft_use_torch(${name})
endfunction()
