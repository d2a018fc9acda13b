# Finds LibTorch inside an installed `torch` wheel, or where GRAFT_LIBTORCH points, and makes the target graft::torch.
#
# The wheel's own TorchConfig.cmake insists on a CUDA toolkit when the wheel is a CUDA build, even for programs that use the CPU
# only; so we make the imported target ourselves (docs/decisions/0001-find-libtorch-ourselves.md).
set(_graft_torch_minimum 2.11)
set(_graft_torch_install "./graft build")
set(_graft_torch_by_hand "python3 -m venv .venv && .venv/bin/pip install torch==2.13.0")

# _graft_torch_fail(WHAT MEND...): stops the configuration with one sentence and the lines that mend it. CMake leaves indented lines
# unbroken, so that they can be copied.
function(_graft_torch_fail what)
  list(JOIN ARGN "\n    " mend)
  message(FATAL_ERROR "[LibTorch] ${what}; to mend it, one of:\n    ${mend}\n")
endfunction()

# _graft_torch_place(OUT): the folder to use; empty if there is none.
function(_graft_torch_place out)
  set(place "${GRAFT_LIBTORCH}")
  if(NOT place)
    file(GLOB candidates "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so")
    if(candidates)
      list(GET candidates 0 place)
      cmake_path(GET place PARENT_PATH place)
      cmake_path(GET place PARENT_PATH place)
    endif()
  endif()
  if(NOT place)
    find_program(GRAFT_PYTHON python3)
    if(GRAFT_PYTHON)
      execute_process(COMMAND ${GRAFT_PYTHON} -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
                      OUTPUT_VARIABLE place OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
  endif()
  set(${out} "${place}" PARENT_SCOPE)
endfunction()

# _graft_torch_read_version(): sets GraftTorch_VERSION and GraftTorch_CUDA_VERSION (empty for a CPU build) in the caller.
function(_graft_torch_read_version)
  set(cuda "")
  if(EXISTS "${GraftTorch_ROOT}/version.py")
    file(STRINGS "${GraftTorch_ROOT}/version.py" line REGEX "^__version__ *=")
    file(STRINGS "${GraftTorch_ROOT}/version.py" cuda REGEX "^cuda[ :=]")
    string(REGEX MATCH "[0-9]+\\.[0-9]+" cuda "${cuda}")
  elseif(EXISTS "${GraftTorch_ROOT}/build-version")
    file(STRINGS "${GraftTorch_ROOT}/build-version" line LIMIT_COUNT 1)
    if(EXISTS "${GraftTorch_ROOT}/lib/libtorch_cuda.so")
      set(cuda "yes")
    endif()
  endif()
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" version "${line}")
  set(GraftTorch_VERSION "${version}" PARENT_SCOPE)
  set(GraftTorch_CUDA_VERSION "${cuda}" PARENT_SCOPE)
endfunction()

# _graft_torch_loads(OUT REASON LIBRARIES...): links an empty program against the libraries and starts it. A CUDA wheel that was
# installed without its dependencies passes the linker and then fails in the loader of every program; better to hear it here.
function(_graft_torch_loads out reason)
  if(CMAKE_CROSSCOMPILING)
    set(${out} TRUE PARENT_SCOPE)
    return()
  endif()
  set(source "${CMAKE_BINARY_DIR}/CMakeFiles/graft_torch_loads.cpp")
  file(WRITE "${source}" "int main() { return 0; }\n")
  unset(_graft_run CACHE)
  unset(_graft_link CACHE)
  try_run(_graft_run _graft_link "${CMAKE_BINARY_DIR}/CMakeFiles/graft_torch_loads" "${source}"
          LINK_OPTIONS -Wl,--no-as-needed ${_graft_torch_link_options} LINK_LIBRARIES ${ARGN}
          COMPILE_OUTPUT_VARIABLE link_output RUN_OUTPUT_VARIABLE run_output)
  if(_graft_link AND _graft_run EQUAL 0)
    set(${out} TRUE PARENT_SCOPE)
  else()
    set(${out} FALSE PARENT_SCOPE)
  endif()
  set(output "${run_output}")
  if(NOT _graft_link)
    set(output "${link_output}")
  endif()
  string(REGEX MATCH "[^\n]*(error|cannot)[^\n]*" output "${output}")
  string(REGEX REPLACE "^.*error while loading shared libraries: " "" output "${output}")
  set(${reason} "${output}" PARENT_SCOPE)
  unset(_graft_run CACHE)
  unset(_graft_link CACHE)
endfunction()

# _graft_torch_cuda_wheels(OUT): the two wheels that a CUDA build of LibTorch needs at load time even on a CPU.
function(_graft_torch_cuda_wheels out)
  string(REGEX MATCH "^[0-9]+" major "${GraftTorch_CUDA_VERSION}")
  set(suffix "")
  if(major LESS 13)
    set(suffix "-cu${major}")
  endif()
  set(${out} "'nvidia-cuda-runtime${suffix}==${GraftTorch_CUDA_VERSION}.*' 'nvidia-cuda-cupti${suffix}==${GraftTorch_CUDA_VERSION}.*'" PARENT_SCOPE)
endfunction()

_graft_torch_place(GraftTorch_ROOT)
if(NOT GraftTorch_ROOT OR NOT EXISTS "${GraftTorch_ROOT}/lib/libtorch_cpu.so")
  _graft_torch_fail("not found; expected lib/libtorch_cpu.so in '${GraftTorch_ROOT}'"
                    "${_graft_torch_install}" "${_graft_torch_by_hand}" "cmake --preset release -DGRAFT_LIBTORCH=<folder with lib/ and include/>")
endif()
_graft_torch_read_version()
if(NOT GraftTorch_VERSION OR GraftTorch_VERSION VERSION_LESS _graft_torch_minimum)
  _graft_torch_fail("is too old: expected ${_graft_torch_minimum} or newer, got '${GraftTorch_VERSION}' in ${GraftTorch_ROOT}"
                    "${_graft_torch_install}" "${_graft_torch_by_hand}" "cmake --preset release -DGRAFT_LIBTORCH=<folder with lib/ and include/>")
endif()

# A CUDA wheel's libtorch_cpu needs two small CUDA libraries at load time; they lie in sibling wheels.
file(GLOB _graft_torch_rpath LIST_DIRECTORIES true "${GraftTorch_ROOT}/../nvidia/*/lib")
list(PREPEND _graft_torch_rpath "${GraftTorch_ROOT}/lib")
list(JOIN _graft_torch_rpath ":" _graft_torch_rpath)
set(_graft_torch_link_options "-Wl,-rpath,${_graft_torch_rpath}" -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags)
set(_graft_torch_libraries "${GraftTorch_ROOT}/lib/libtorch_cpu.so" "${GraftTorch_ROOT}/lib/libc10.so")

set(_graft_torch_state "${GraftTorch_ROOT} ${GraftTorch_VERSION} ${_graft_torch_rpath} ${GRAFT_CUDA}")
if(NOT GRAFT_TORCH_CHECKED STREQUAL _graft_torch_state)
  _graft_torch_loads(_graft_torch_ok _graft_torch_reason ${_graft_torch_libraries})
  if(NOT _graft_torch_ok)
    set(_graft_torch_mend "${_graft_torch_install}" "${_graft_torch_by_hand}")
    if(GraftTorch_CUDA_VERSION)
      _graft_torch_cuda_wheels(_graft_torch_wheels)
      list(APPEND _graft_torch_mend ".venv/bin/pip install --no-deps ${_graft_torch_wheels}")
    endif()
    _graft_torch_fail("${GraftTorch_VERSION} in ${GraftTorch_ROOT} cannot be loaded: ${_graft_torch_reason}" ${_graft_torch_mend})
  endif()
  set(GRAFT_TORCH_CHECKED "${_graft_torch_state}" CACHE INTERNAL "LibTorch that was seen to load")
endif()

if(NOT TARGET graft::torch)
  add_library(graft::torch INTERFACE IMPORTED)
  target_include_directories(graft::torch SYSTEM INTERFACE "${GraftTorch_ROOT}/include" "${GraftTorch_ROOT}/include/torch/csrc/api/include")
  target_link_libraries(graft::torch INTERFACE ${_graft_torch_libraries})
  target_compile_definitions(graft::torch INTERFACE GRAFT_TORCH_VERSION="${GraftTorch_VERSION}")
  target_link_options(graft::torch INTERFACE ${_graft_torch_link_options})
endif()
set(GraftTorch_FOUND TRUE)
