#include "bench/machine/bench.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/base/error.h"

namespace graft::bench {

at::Tensor random_tensor(at::IntArrayRef sizes, at::ScalarType dtype, double scale) {
  static auto random = at::make_generator<at::CPUGeneratorImpl>(7);
  return at::randn(sizes, random, at::TensorOptions().dtype(at::kFloat)).mul_(scale).to(dtype);
}

void expect_alike(const std::string& name, const at::Tensor& ours, const at::Tensor& theirs, double tolerance) {
  const auto a = ours.detach().to(at::kDouble), b = theirs.detach().to(at::kDouble);
  const double difference = (a - b).norm().item<double>() / b.norm().item<double>();
  if (difference <= tolerance) return;  // false for NaN
  throw NumericalError({.where = name, .what = "the two sides differ", .expected = fmt::format("at most {:.2g} of the values", tolerance),
                        .got = fmt::format("{:.2g}", difference)});
}

std::vector<at::Tensor> gradients(const at::Tensor& output, const std::vector<at::Tensor>& inputs, const at::Tensor& g) {
  return torch::autograd::grad({output}, inputs, {g}, /*retain_graph=*/true);
}

}  // namespace graft::bench
