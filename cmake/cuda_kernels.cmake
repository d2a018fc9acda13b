# CUDA variants of the kernels. They are compiled where nvcc is found and LibTorch's CUDA half is linked, without which no run could reach
# them; else stubs stand in their place, and this file looks for nothing. nvcc is called by its own name rather than through CMake's CUDA
# language: that would test a compiler at every first configuration, and it does not find the parts of the nvcc wheels.
set(GRAFT_CUDA_KERNELS AUTO CACHE STRING "CUDA kernels: AUTO (where LibTorch uses CUDA and nvcc is found), ON (whatever LibTorch is) or OFF")
set(GRAFT_CUDA_ARCHITECTURES 80 90 100)
set(_graft_nvcc_minimum 12.8)  # the first that knows sm_100
set(_graft_cuda_mend "install a CUDA toolkit, or set CUDACXX to nvcc, or run ./graft cuda-check"
    "\n  without them: cmake --preset release -DGRAFT_CUDA_KERNELS=OFF")
list(JOIN _graft_cuda_mend "" _graft_cuda_mend)

# _graft_find_nvcc(OUT): the path of nvcc; empty if there is none.
function(_graft_find_nvcc out)
  file(GLOB wheels "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia/*/bin")
  unset(found)
  find_program(found nvcc NO_CACHE HINTS "$ENV{CUDACXX}" ENV CUDAToolkit_ROOT ENV CUDA_PATH ${wheels} PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(EXISTS "$ENV{CUDACXX}")
    set(found "$ENV{CUDACXX}")
  elseif(NOT found)
    set(found "")
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

# _graft_ask_nvcc(NVCC): sets version and root of the toolkit, and the CUDA runtime to link, in the caller. nvcc may be a wrapper that lies
# elsewhere, so it is asked; libraries are in lib64 of a toolkit, in lib of a wheel.
function(_graft_ask_nvcc nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+[.][0-9]+)" ignored "${text}")
  set(version "${CMAKE_MATCH_1}")
  execute_process(COMMAND ${nvcc} --dryrun -c none.cu WORKING_DIRECTORY "${CMAKE_BINARY_DIR}" OUTPUT_QUIET ERROR_VARIABLE text)
  string(REGEX MATCH "TOP=([^\r\n]+)" ignored "${text}")
  string(STRIP "${CMAKE_MATCH_1}" root)
  find_library(runtime cudart_static NO_CACHE NO_DEFAULT_PATH PATHS "${root}" PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
  set(version "${version}" PARENT_SCOPE)
  set(runtime "${runtime}" PARENT_SCOPE)
endfunction()

# _graft_choose_nvcc(): sets GRAFT_NVCC and GRAFT_CUDART, or GRAFT_NO_CUDA_KERNELS to the reason why not, in the caller.
function(_graft_choose_nvcc)
  set(reason "")
  if(GRAFT_CUDA_KERNELS STREQUAL "OFF" OR (GRAFT_CUDA STREQUAL "OFF" AND NOT GRAFT_CUDA_KERNELS STREQUAL "ON"))
    set(reason "switched off")
  elseif(GRAFT_TORCH_WHY_NO_CUDA AND NOT GRAFT_CUDA_KERNELS STREQUAL "ON")
    set(reason "LibTorch is used without CUDA")
  else()
    _graft_find_nvcc(nvcc)
    if(NOT nvcc)
      set(reason "nvcc not found")
    else()
      _graft_ask_nvcc("${nvcc}")
      if(NOT version OR version VERSION_LESS _graft_nvcc_minimum)
        set(reason "nvcc '${version}' is older than ${_graft_nvcc_minimum}")
      elseif(NOT runtime)
        set(reason "libcudart_static.a not found beside nvcc")
      endif()
    endif()
    if(reason AND (GRAFT_CUDA_KERNELS STREQUAL "ON" OR GRAFT_CUDA STREQUAL "ON"))
      message(FATAL_ERROR "[CUDA kernels] ${reason}\n  ${_graft_cuda_mend}")
    endif()
  endif()
  set(GRAFT_NO_CUDA_KERNELS "${reason}" PARENT_SCOPE)
  set(GRAFT_NVCC "${nvcc}" PARENT_SCOPE)
  set(GRAFT_NVCC_VERSION "${version}" PARENT_SCOPE)
  set(GRAFT_CUDART "${runtime}" PARENT_SCOPE)
endfunction()

_graft_choose_nvcc()
if(GRAFT_NO_CUDA_KERNELS)
  set(GRAFT_CUDA_KERNELS_STATE "not compiled: ${GRAFT_NO_CUDA_KERNELS}")
  set(GRAFT_CUDA_KERNELS_COMPILED false)
else()
  list(TRANSFORM GRAFT_CUDA_ARCHITECTURES PREPEND "sm_" OUTPUT_VARIABLE _graft_names)
  list(JOIN _graft_names " " _graft_names)
  set(GRAFT_CUDA_KERNELS_STATE "compiled for ${_graft_names} by nvcc ${GRAFT_NVCC_VERSION}")
  set(GRAFT_CUDA_KERNELS_COMPILED true)
  # Products and sums stay two roundings, as on the processor, so that both give the same bits. Cards after the last of these
  # architectures take its intermediate code.
  set(GRAFT_NVCC_FLAGS -std=c++20 -O3 -fmad=false --expt-relaxed-constexpr -Xptxas=-v -ccbin "${CMAKE_CXX_COMPILER}"
                       -Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers "-I${PROJECT_SOURCE_DIR}")
  foreach(arch IN LISTS GRAFT_CUDA_ARCHITECTURES)
    list(APPEND GRAFT_NVCC_FLAGS "-gencode=arch=compute_${arch},code=sm_${arch}")
  endforeach()
  list(GET GRAFT_CUDA_ARCHITECTURES -1 _graft_newest)
  list(APPEND GRAFT_NVCC_FLAGS "-gencode=arch=compute_${_graft_newest},code=compute_${_graft_newest}")
  add_custom_target(cuda_kernels)
endif()

# graft_cuda_source(TARGET CUDA STUB): adds the CUDA source to the target where CUDA kernels are compiled, the stub elsewhere.
function(graft_cuda_source target cuda stub)
  if(NOT GRAFT_CUDA_KERNELS_COMPILED)
    target_sources(${target} PRIVATE ${stub})
    return()
  endif()
  set(object "${CMAKE_CURRENT_BINARY_DIR}/${cuda}.o")
  set(compile "${PROJECT_SOURCE_DIR}/cmake/compile_cuda.cmake")
  add_custom_command(OUTPUT "${object}" DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${cuda}" "${compile}" DEPFILE "${object}.d" VERBATIM
    COMMENT "nvcc ${cuda}"
    COMMAND ${CMAKE_COMMAND} -DLOG=${object}.log -P "${compile}" --
            ${GRAFT_NVCC} ${GRAFT_NVCC_FLAGS} -MD -MF "${object}.d" -MT "${object}" -c "${CMAKE_CURRENT_SOURCE_DIR}/${cuda}" -o "${object}")
  set_source_files_properties("${object}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  target_sources(${target} PRIVATE "${object}")
  target_link_libraries(${target} PUBLIC "${GRAFT_CUDART}" Threads::Threads ${CMAKE_DL_LIBS} rt)
  add_dependencies(cuda_kernels ${target})
endfunction()
