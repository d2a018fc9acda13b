#include "bench/machine/libtorch_head.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "bench/machine/timing.h"

namespace graft::bench {

HeadResult head_with_libtorch(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk) {
  HeadResult result{at::empty({hidden.size(0)}, hidden.options().dtype(at::kFloat)), at::empty_like(hidden)};
  for (int64_t first = 0; first < hidden.size(0); first += chunk) {
    const int64_t count = std::min(chunk, hidden.size(0) - first);
    const auto wanted = targets.narrow(0, first, count).unsqueeze(1);
    auto logits = at::mm(hidden.narrow(0, first, count), weight.t()).to(at::kFloat);
    const auto log_sum = at::logsumexp(logits, 1, /*keepdim=*/true);
    result.nll.narrow(0, first, count).copy_((log_sum - logits.gather(1, wanted)).squeeze(1));
    logits.sub_(log_sum).exp_();
    logits.scatter_add_(1, wanted, at::full({count, 1}, -1.0f));
    auto gradient = result.gradient.narrow(0, first, count);
    at::mm_out(gradient, logits.to(hidden.scalar_type()), weight);
  }
  return result;
}

int64_t best_chunk(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets) {
  const int64_t rows = std::min<int64_t>(hidden.size(0), 512);
  int64_t best = 0;
  double shortest = 0;
  for (const int64_t chunk : {64, 128, 256, 512}) {
    const double seconds = best_of(2, [&] { head_with_libtorch(hidden.narrow(0, 0, rows), weight, targets.narrow(0, 0, rows), chunk); });
    if (best == 0 || seconds < shortest) best = chunk, shortest = seconds;
  }
  return best;
}

}  // namespace graft::bench
