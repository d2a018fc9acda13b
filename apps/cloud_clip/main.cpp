#include <iostream>

#include "apps/cloud_clip/cloud_clip.h"
#include "pipelines/cli/prepare_process.h"

int main(int argc, char** argv) {
  graft::pipelines::prepare_process(argv);
  const auto app = graft::apps::cloud_clip();
  return graft::pipelines::run_app(app, {argv + 1, argv + argc}, std::cout, std::cerr);
}
