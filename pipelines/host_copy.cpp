#include "pipelines/host_copy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/zeros.h>

namespace graft::pipelines {

HostCopy::HostCopy(const std::vector<at::Tensor>& parameters, const std::vector<int64_t>& offsets, at::Tensor gradients)
    : gradients_(std::move(gradients)), host_gradients_(gradients_.cpu()), values_(at::zeros(gradients_.sizes(), gradients_.options())),
      host_values_(values_.cpu()) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters_.push_back(parameters[i].detach());
    parts_.push_back(values_.narrow(0, offsets[i], parameters[i].numel()).view(parameters[i].sizes()));
  }
}

void HostCopy::read_gradients() { host_gradients_.copy_(gradients_); }

void HostCopy::read_values() {
  const at::NoGradGuard no_gradient;
  at::_foreach_copy_(parts_, parameters_);
  host_values_.copy_(values_);
}

void HostCopy::write_values() {
  const at::NoGradGuard no_gradient;
  values_.copy_(host_values_);
  at::_foreach_copy_(parameters_, parts_);
  gradients_.zero_();
}

}  // namespace graft::pipelines
