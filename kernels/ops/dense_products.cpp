#include "kernels/ops/dense_products.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include "kernels/base/cpu_features.h"

namespace graft::ops {
namespace {

bool is_slow(const at::Tensor& x) {
  const auto dtype = x.scalar_type();
  return x.is_cpu() && (dtype == at::kBFloat16 || dtype == at::kHalf) && !kernels::has_fast_bfloat16();
}

at::Tensor wide(const at::Tensor& x) { return x.to(at::kFloat); }

}  // namespace

at::Tensor mm(const at::Tensor& a, const at::Tensor& b) {
  return is_slow(a) ? at::mm(wide(a), wide(b)).to(a.scalar_type()) : at::mm(a, b);
}

at::Tensor bmm(const at::Tensor& a, const at::Tensor& b) {
  return is_slow(a) ? at::bmm(wide(a), wide(b)).to(a.scalar_type()) : at::bmm(a, b);
}

at::Tensor addmm(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  return is_slow(a) ? at::addmm(wide(sum), wide(a), wide(b)).to(sum.scalar_type()) : at::addmm(sum, a, b);
}

at::Tensor baddbmm(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  return is_slow(a) ? at::baddbmm(wide(sum), wide(a), wide(b)).to(sum.scalar_type()) : at::baddbmm(sum, a, b);
}

void addmm_(at::Tensor& sum, const at::Tensor& a, const at::Tensor& b, double alpha) {
  if (is_slow(a)) {
    sum.copy_(at::addmm(wide(sum), wide(a), wide(b), 1, alpha));
  } else {
    sum.addmm_(a, b, 1, alpha);
  }
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!is_slow(x)) return at::linear(x, weight, bias);
  return at::linear(wide(x), wide(weight), bias.defined() ? wide(bias) : bias).to(x.scalar_type());
}

}  // namespace graft::ops
