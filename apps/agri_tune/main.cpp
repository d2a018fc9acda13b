#include <iostream>

#include "apps/agri_tune/agri_tune.h"
#include "pipelines/cli/prepare_process.h"

int main(int argc, char** argv) {
  graft::pipelines::prepare_process(argv);
  const auto app = graft::apps::agri_tune();
  return graft::pipelines::run_app(app, {argv + 1, argv + argc}, std::cout, std::cerr);
}
