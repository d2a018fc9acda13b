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
find_package(hwy REQUIRED)

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

find_package(PNG REQUIRED)

# HDF5's serial build, which Debian keeps beside the one for MPI; plain C.
find_path(GRAFT_HDF5_INCLUDE hdf5.h PATH_SUFFIXES hdf5/serial REQUIRED)
find_library(GRAFT_HDF5_LIBRARY NAMES hdf5_serial hdf5 REQUIRED)
add_library(graft_hdf5 INTERFACE)
target_include_directories(graft_hdf5 SYSTEM INTERFACE ${GRAFT_HDF5_INCLUDE})
target_link_libraries(graft_hdf5 INTERFACE ${GRAFT_HDF5_LIBRARY})

find_path(GRAFT_MINIZIP_INCLUDE minizip/unzip.h REQUIRED)
find_library(GRAFT_MINIZIP_LIBRARY minizip REQUIRED)
add_library(graft_minizip INTERFACE)
target_include_directories(graft_minizip SYSTEM INTERFACE ${GRAFT_MINIZIP_INCLUDE})
target_link_libraries(graft_minizip INTERFACE ${GRAFT_MINIZIP_LIBRARY})

find_path(GRAFT_ZLIB_INCLUDE zlib.h REQUIRED)
find_library(GRAFT_ZLIB_LIBRARY z REQUIRED)
add_library(graft_zlib INTERFACE)
target_include_directories(graft_zlib SYSTEM INTERFACE ${GRAFT_ZLIB_INCLUDE})
target_link_libraries(graft_zlib INTERFACE ${GRAFT_ZLIB_LIBRARY})

find_path(GRAFT_XTENSOR_INCLUDE xtensor/xnpy.hpp REQUIRED)
add_library(graft_xtensor INTERFACE)
target_include_directories(graft_xtensor SYSTEM INTERFACE ${GRAFT_XTENSOR_INCLUDE})

# Chart.js is built into the programs that write reports (Debian: libjs-chart.js).
find_file(GRAFT_CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js REQUIRED)

find_package(GraftTorch REQUIRED)
# graft::torch carries its own search path. CMake's would put it in doubt, since both LibTorch and the compiler have a libgomp.so.1;
# LibTorch's is the one to load.
set(CMAKE_SKIP_RPATH ON)

if(GRAFT_TESTS)
  find_package(GTest REQUIRED)
endif()

# One line on the CUDA half and the heavy libraries, for the summary and for graft_doctor.
set(GRAFT_CUDA_STATE "on")
if(GRAFT_TORCH_WHY_NO_CUDA)
  set(GRAFT_CUDA_STATE "off, ${GRAFT_TORCH_WHY_NO_CUDA}")
endif()

function(graft_print_summary)
  message(STATUS "graft ${PROJECT_VERSION}: ${CMAKE_BUILD_TYPE}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, tests ${GRAFT_TESTS}, sanitizers '${GRAFT_SANITIZE}'")
  message(STATUS "  LibTorch ${GraftTorch_VERSION} in ${GraftTorch_ROOT}; CUDA ${GRAFT_CUDA_STATE}; CUDA kernels ${GRAFT_CUDA_KERNELS_STATE}")
  message(STATUS "  OpenSSL ${OPENSSL_VERSION}, nlohmann-json ${nlohmann_json_VERSION}, yaml-cpp ${yaml-cpp_VERSION}, CLI11 ${CLI11_VERSION}, fmt ${fmt_VERSION}, spdlog ${spdlog_VERSION}, Highway ${hwy_VERSION}")
  message(STATUS "  PCRE2 ${GRAFT_PCRE2_LIBRARY}, utf8proc ${GRAFT_UTF8PROC_LIBRARY}, SentencePiece ${GRAFT_SENTENCEPIECE_LIBRARY}, HDF5 ${GRAFT_HDF5_LIBRARY}, minizip ${GRAFT_MINIZIP_LIBRARY}, zlib ${GRAFT_ZLIB_LIBRARY}")
  get_property(heavy GLOBAL PROPERTY graft_heavy_libraries)
  foreach(line IN LISTS heavy)
    message(STATUS "  ${line}")
  endforeach()
  message(STATUS "  faster builds: ccache ${GRAFT_CCACHE}, mold ${GRAFT_MOLD}")
endfunction()
