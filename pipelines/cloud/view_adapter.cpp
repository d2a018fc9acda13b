#include "pipelines/cloud/view_adapter.h"

#include <ATen/ATen.h>

namespace graft::pipelines {

ViewAdapter::ViewAdapter(int64_t views, int64_t width, double ratio, at::Generator& draw)
    : ratio_(ratio), norm_(width), together_(views * width, width, draw), inner_(width, width, draw), apart_(width, views * width, draw) {}

at::Tensor ViewAdapter::forward(const at::Tensor& features) const {
  const auto together = at::relu(norm_.forward(together_.forward(features.flatten(1))));
  const auto adapted = apart_.forward(at::relu(inner_.forward(together))).view(features.sizes());
  return ratio_ * adapted + (1 - ratio_) * features;
}

void ViewAdapter::list(const std::string& name, peft::NamedTensors& leaves) const {
  norm_.list(name + ".norm", leaves);
  together_.list(name + ".together", leaves);
  inner_.list(name + ".inner", leaves);
  apart_.list(name + ".apart", leaves);
}

}  // namespace graft::pipelines
