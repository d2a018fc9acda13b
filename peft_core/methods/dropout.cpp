#include "peft_core/methods/dropout.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "kernels/base/error.h"

namespace graft::peft {

at::Tensor dropout_mask(at::IntArrayRef sizes, const at::TensorOptions& options, double p, uint64_t seed) {
  if (p <= 0) return {};
  // Drawn by the processor wherever x lies, so that a run draws the same masks on every machine.
  auto mask = at::empty(sizes, options.device(at::kCPU).requires_grad(false));
  return mask.bernoulli_(1.0 - p, at::make_generator<at::CPUGeneratorImpl>(seed)).mul_(1.0 / (1.0 - p)).to(options.device());
}

at::Tensor with_dropout(const at::Tensor& x, double p, uint64_t seed) {
  const auto mask = dropout_mask(x.sizes(), x.options(), p, seed);
  return mask.defined() ? x * mask : x;
}

void expect_dropout(double p, const std::string& option) {
  if (p >= 0 && p < 1) return;
  throw InvalidArgument({.where = "method." + option, .what = "is out of range", .expected = "0 <= " + option + " < 1", .got = std::to_string(p)});
}

}  // namespace graft::peft
