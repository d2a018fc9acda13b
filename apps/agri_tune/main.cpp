#include <iostream>

#include "apps/agri_tune/agri_tune.h"
#include "pipelines/cli/waiting_threads.h"

int main(int argc, char** argv) {
  graft::pipelines::choose_how_threads_wait(argv);
  const auto app = graft::apps::agri_tune();
  return graft::pipelines::run_app(app, {argv + 1, argv + argc}, std::cout, std::cerr);
}
