# cmake -P find_libtorch_test.cmake -DSOURCE=<repository> -DWORK=<empty folder> -DLIBTORCH=<a real one>
# A missing, too old or unloadable LibTorch must stop the configuration with the line that mends it.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}/project")
file(WRITE "${WORK}/project/CMakeLists.txt" "cmake_minimum_required(VERSION 3.25)
project(finds_libtorch LANGUAGES CXX)
list(APPEND CMAKE_MODULE_PATH \"${SOURCE}/cmake\")
find_package(GraftTorch REQUIRED)
message(STATUS \"found \${GraftTorch_VERSION}\")
")

# expect(NAME LIBTORCH EXPECTED...): configures against a folder; each EXPECTED must stand in the output.
function(expect name libtorch)
  execute_process(COMMAND ${CMAKE_COMMAND} -S "${WORK}/project" -B "${WORK}/${name}" -G Ninja -DGRAFT_LIBTORCH=${libtorch}
                          -DCMAKE_DISABLE_FIND_PACKAGE_Python3=ON -DGRAFT_PYTHON=GRAFT_PYTHON-NOTFOUND
                  RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  string(REGEX REPLACE "[ \n]+" " " flat "${out}")
  foreach(words IN LISTS ARGN)
    string(FIND "${flat}" "${words}" at)
    if(at EQUAL -1)
      message(SEND_ERROR "${name}: expected '${words}' in the output, got:\n${out}")
    endif()
  endforeach()
  message(STATUS "${name}: exit code ${code}")
endfunction()

# fake(NAME VERSION [LIBRARY]): a folder that looks like a wheel.
function(fake name version)
  file(MAKE_DIRECTORY "${WORK}/${name}/lib")
  file(WRITE "${WORK}/${name}/lib/libtorch_cpu.so" "not a library")
  file(WRITE "${WORK}/${name}/lib/libc10.so" "not a library")
  file(WRITE "${WORK}/${name}/version.py" "__version__ = '${version}'\ncuda: Optional[str] = '13.0'\n")
endfunction()

expect(absent "${WORK}/nowhere" "[LibTorch] not found" "/nowhere" "./graft build" "pip install torch==")
fake(old 2.10.1+cu130)
expect(too_old "${WORK}/old" "[LibTorch] is too old" "expected 2.11 or newer" "got '2.10.1'" "pip install torch==")
fake(broken 2.13.0+cu130)
expect(unloadable "${WORK}/broken" "[LibTorch] 2.13.0" "cannot be loaded" "pip install --no-deps 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'")
expect(good "${LIBTORCH}" "found 2.")
