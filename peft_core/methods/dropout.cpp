#include "peft_core/methods/dropout.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include "kernels/base/error.h"

namespace graft::peft {

namespace {

/// Masks are as large as activations, so they are drawn where they are needed.
at::Generator generator(at::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::make_generator<at::CPUGeneratorImpl>(seed);
  auto there = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
  there.set_current_seed(seed);
  return there;
}

}  // namespace

at::Tensor dropout_mask(at::IntArrayRef sizes, const at::TensorOptions& options, double p, uint64_t seed) {
  if (p <= 0) return {};
  auto mask = at::empty(sizes, options.requires_grad(false));
  return mask.bernoulli_(1.0 - p, generator(options.device(), seed)).mul_(1.0 / (1.0 - p));
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
