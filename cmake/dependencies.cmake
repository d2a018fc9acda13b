# The only place that looks for foreign libraries. Each is named in the configure summary.
find_program(GRAFT_CCACHE ccache)
if(GRAFT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The precompiled header makes ccache see "defines" and times that do not matter; these switches are its documented answer.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${GRAFT_CCACHE})
endif()
find_program(GRAFT_MOLD mold)
if(GRAFT_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(yaml-cpp 0.7 REQUIRED)
find_package(CLI11 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)

find_path(GRAFT_PCRE2_INCLUDE pcre2.h REQUIRED)
find_library(GRAFT_PCRE2_LIBRARY pcre2-8 REQUIRED)
add_library(graft_pcre2 INTERFACE)
target_include_directories(graft_pcre2 SYSTEM INTERFACE ${GRAFT_PCRE2_INCLUDE})
target_link_libraries(graft_pcre2 INTERFACE ${GRAFT_PCRE2_LIBRARY})

find_path(GRAFT_UTF8PROC_INCLUDE utf8proc.h REQUIRED)
find_library(GRAFT_UTF8PROC_LIBRARY utf8proc REQUIRED)
add_library(graft_utf8proc INTERFACE)
target_include_directories(graft_utf8proc SYSTEM INTERFACE ${GRAFT_UTF8PROC_INCLUDE})
target_link_libraries(graft_utf8proc INTERFACE ${GRAFT_UTF8PROC_LIBRARY})

find_path(GRAFT_SENTENCEPIECE_INCLUDE sentencepiece_processor.h REQUIRED)
find_library(GRAFT_SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
add_library(graft_sentencepiece INTERFACE)
target_include_directories(graft_sentencepiece SYSTEM INTERFACE ${GRAFT_SENTENCEPIECE_INCLUDE})
target_link_libraries(graft_sentencepiece INTERFACE ${GRAFT_SENTENCEPIECE_LIBRARY})

find_package(GraftTorch REQUIRED)

if(GRAFT_TESTS)
  find_package(GTest REQUIRED)
endif()

function(graft_print_summary)
  message(STATUS "graft ${PROJECT_VERSION}: LibTorch ${GraftTorch_VERSION} in ${GraftTorch_ROOT}")
  message(STATUS "  build type ${CMAKE_BUILD_TYPE}; sanitizers '${GRAFT_SANITIZE}'; ccache ${GRAFT_CCACHE}; mold ${GRAFT_MOLD}")
endfunction()
