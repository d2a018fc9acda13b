#include <iostream>

#include "apps/agri_tune/agri_tune.h"
#include "pipelines/cli/sleeping_threads.h"

int main(int argc, char** argv) {
  graft::pipelines::let_idle_threads_sleep(argv);
  const auto app = graft::apps::agri_tune();
  return graft::pipelines::run_app(app, {argv + 1, argv + argc}, std::cout, std::cerr);
}
