# Finds LibTorch inside an installed `torch` wheel, or where GRAFT_LIBTORCH points, and makes the target graft::torch.
#
# The wheel's own TorchConfig.cmake insists on a CUDA toolkit when the wheel is a CUDA build, even for programs that use the CPU
# only; so we make imported targets ourselves (docs/decisions/0001-find-libtorch.md).
set(_graft_torch_minimum 2.11)
set(_graft_torch_hint
    "install it with `./graft build`, or by hand with `python3 -m venv .venv && .venv/bin/pip install torch==2.13.0`, or pass -DGRAFT_LIBTORCH=<folder with lib/ and include/>")

if(GRAFT_LIBTORCH)
  set(GraftTorch_ROOT "${GRAFT_LIBTORCH}")
else()
  file(GLOB _graft_torch_candidates "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
  if(NOT _graft_torch_candidates)
    find_program(GRAFT_PYTHON python3)
    if(GRAFT_PYTHON)
      execute_process(COMMAND ${GRAFT_PYTHON} -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
                      OUTPUT_VARIABLE _graft_torch_candidates OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
  endif()
  list(GET _graft_torch_candidates 0 GraftTorch_ROOT)
endif()

if(NOT GraftTorch_ROOT OR NOT EXISTS "${GraftTorch_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "[LibTorch] not found; looked in '${GraftTorch_ROOT}'; ${_graft_torch_hint}")
endif()

if(EXISTS "${GraftTorch_ROOT}/version.py")
  file(STRINGS "${GraftTorch_ROOT}/version.py" _graft_torch_line REGEX "^__version__ *=")
elseif(EXISTS "${GraftTorch_ROOT}/build-version")
  file(STRINGS "${GraftTorch_ROOT}/build-version" _graft_torch_line LIMIT_COUNT 1)
endif()
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" GraftTorch_VERSION "${_graft_torch_line}")
if(GraftTorch_VERSION VERSION_LESS _graft_torch_minimum)
  message(FATAL_ERROR "[LibTorch] is ${GraftTorch_VERSION} in ${GraftTorch_ROOT}; expected ${_graft_torch_minimum} or newer; ${_graft_torch_hint}")
endif()

if(NOT TARGET graft::torch)
  add_library(graft::torch INTERFACE IMPORTED)
  target_include_directories(graft::torch SYSTEM INTERFACE "${GraftTorch_ROOT}/include" "${GraftTorch_ROOT}/include/torch/csrc/api/include")
  target_link_libraries(graft::torch INTERFACE "${GraftTorch_ROOT}/lib/libtorch_cpu.so" "${GraftTorch_ROOT}/lib/libc10.so")
  target_compile_definitions(graft::torch INTERFACE GRAFT_TORCH_VERSION="${GraftTorch_VERSION}")
  # A CUDA wheel's libtorch_cpu needs two small CUDA libraries at load time; they lie in sibling wheels.
  file(GLOB _graft_nvidia_libs "${GraftTorch_ROOT}/../nvidia/*/lib")
  set(_graft_torch_rpath "${GraftTorch_ROOT}/lib" ${_graft_nvidia_libs})
  list(JOIN _graft_torch_rpath ":" _graft_torch_rpath)
  target_link_options(graft::torch INTERFACE "-Wl,-rpath,${_graft_torch_rpath}" "-Wl,--allow-shlib-undefined" "-Wl,--disable-new-dtags")
endif()
set(GraftTorch_FOUND TRUE)
