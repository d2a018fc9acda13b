#include "peft_core/methods/low_rank/leading_svd.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace graft::peft {
namespace {

at::Tensor orthonormal(const at::Tensor& columns) { return std::get<0>(at::linalg_qr(columns)); }

}  // namespace

LeadingSvd leading_svd(const at::Tensor& matrix, int64_t count) {
  const auto [u, s, vt] = at::linalg_svd(matrix, /*full_matrices=*/false);
  return {u.narrow(1, 0, count), s.narrow(0, 0, count), vt.narrow(0, 0, count).t()};
}

LeadingSvd iterated_svd(const at::Tensor& matrix, int64_t count, int64_t iterations, uint64_t seed) {
  auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto start = at::randn({matrix.size(1), count}, random, matrix.options());
  auto q = orthonormal(at::mm(matrix, start));
  for (int64_t i = 0; i < iterations; ++i) q = orthonormal(at::mm(matrix, orthonormal(at::mm(matrix.t(), q))));
  const auto small = leading_svd(at::mm(q.t(), matrix), count);
  return {at::mm(q, small.u), small.s, small.v};
}

}  // namespace graft::peft
