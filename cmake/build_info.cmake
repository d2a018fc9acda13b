# Run at every build: asks git for the commit and writes the file only if something changed, so that nothing is compiled in vain.
execute_process(COMMAND ${CMAKE_COMMAND} -E env GIT_OPTIONAL_LOCKS=0 git -C "${SOURCE_DIR}" describe --always --dirty --abbrev=12 --exclude=*
                OUTPUT_VARIABLE GRAFT_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR GRAFT_COMMIT STREQUAL "")
  set(GRAFT_COMMIT unknown)
endif()
configure_file("${SOURCE_DIR}/pipelines/build_info.cpp.in" "${OUTPUT}" @ONLY)
