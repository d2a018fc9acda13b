#include "peft_core/methods/start_values.h"

#include <ATen/ATen.h>

#include <cmath>

namespace graft::peft {

at::Tensor uniform_leaf(const std::vector<int64_t>& sizes, at::Generator& random) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(sizes[1]));
  return at::empty(sizes, at::kFloat).uniform_(-bound, bound, random).requires_grad_();
}

at::Tensor zero_leaf(const std::vector<int64_t>& sizes) { return at::zeros(sizes, at::kFloat).requires_grad_(); }

}  // namespace graft::peft
