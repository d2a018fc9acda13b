#include "peft_core/operations/low_rank_updates.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "peft_core/methods/low_rank/leading_svd.h"

namespace graft::peft {
namespace {

/// The sign of a singular pair is free; the largest entry of each row of a is made positive, so that results do not depend on the library.
void fix_signs(at::Tensor& a, at::Tensor& b) {
  if (a.numel() == 0) return;
  const auto largest = a.gather(1, a.abs().argmax(1, /*keepdim=*/true)).squeeze(1);
  const auto sign = at::where(largest < 0, -at::ones_like(largest), at::ones_like(largest));
  a = a * sign.unsqueeze(1), b = b * sign;
}

LowRankUpdate as_update(at::Tensor a, at::Tensor b) {
  fix_signs(a, b);
  return {.a = a.to(at::kFloat).contiguous(), .b = b.to(at::kFloat).contiguous()};
}

}  // namespace

at::Tensor dense_update(const LowRankUpdate& update) {
  at::NoGradGuard no_gradient;
  return at::mm(update.b, update.a) * update.scale;
}

LowRankUpdate nearest_low_rank(const at::Tensor& delta, int64_t rank) {
  at::NoGradGuard no_gradient;
  const bool wide = delta.size(1) > delta.size(0);
  const auto matrix = (wide ? delta.t() : delta).to(at::kDouble);  // (long, short)
  const auto kept = std::min(rank, matrix.size(1));
  const auto [values, vectors] = at::linalg_eigh(at::mm(matrix.t(), matrix));  // ascending
  const auto directions = vectors.narrow(1, matrix.size(1) - kept, kept).flip({1});  // (short, kept), orthonormal columns
  const auto images = at::mm(matrix, directions);                                    // (long, kept), columns of singular length
  if (!wide) return as_update(directions.t(), images);
  // delta = directions · imagesᵀ: the lengths move to the other side.
  const auto lengths = images.norm(2, {0});
  const auto safe = lengths.clamp_min(1e-300);
  return as_update((images / safe).t(), directions * lengths);
}

LowRankUpdate nearest_low_rank(const std::vector<LowRankUpdate>& sum, int64_t rank) {
  at::NoGradGuard no_gradient;
  std::vector<at::Tensor> all_a, all_b;
  for (const auto& update : sum) all_a.push_back(update.a.to(at::kDouble)), all_b.push_back(update.b.to(at::kDouble) * update.scale);
  const auto a = at::cat(all_a), b = at::cat(all_b, 1);
  const auto [row_basis, row_factor] = at::linalg_qr(a.t());    // a = row_factorᵀ row_basisᵀ
  const auto [column_basis, column_factor] = at::linalg_qr(b);  // b = column_basis column_factor
  const auto core = at::mm(column_factor, row_factor.t());
  const auto svd = leading_svd(core, std::min({rank, core.size(0), core.size(1)}));
  return as_update(at::mm(svd.v.t(), row_basis.t()), at::mm(column_basis, svd.u * svd.s));
}

}  // namespace graft::peft
