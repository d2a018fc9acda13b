#include "kernels/rows/rows_reference.h"

#include <algorithm>
#include <cmath>

#include "kernels/rows/row_values.h"

namespace graft::kernels {
namespace {

using detail::read;
using detail::Values;

bool sees(const AttentionBlock& block, int64_t query, int64_t key) {
  const int64_t position = block.first_position + query;
  if (!block.causal) return true;
  return key <= position && (block.window == 0 || key > position - block.window);
}

}  // namespace

void softmax_rows_reference(Element type, const AttentionBlock& block, void* scores, float* log_sum_exp) {
  const Values row{type, scores};
  for (int64_t r = 0; r < block.groups * block.queries; ++r) {
    const int64_t at = r * block.keys, query = r % block.queries;
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < block.keys; ++k)
      if (sees(block, query, k)) top = std::max(top, block.scale * row[at + k]);
    for (int64_t k = 0; k < block.keys; ++k)
      if (sees(block, query, k)) sum += std::exp(block.scale * row[at + k] - top);
    for (int64_t k = 0; k < block.keys; ++k)
      row.set(at + k, sees(block, query, k) ? std::exp(block.scale * row[at + k] - top) / sum : 0.0);
    log_sum_exp[r] = static_cast<float>(top + std::log(sum));
  }
}

void softmax_rows_backward_reference(Element type, const AttentionBlock& block, const float* log_sum_exp, const float* delta,
                                     void* scores, void* gradient) {
  const Values row{type, scores}, g{type, gradient};
  for (int64_t r = 0; r < block.groups * block.queries; ++r)
    for (int64_t k = 0; k < block.keys; ++k) {
      const int64_t at = r * block.keys + k;
      const bool visible = sees(block, r % block.queries, k);
      const double p = visible ? std::exp(block.scale * row[at] - static_cast<double>(log_sum_exp[r])) : 0.0;
      g.set(at, visible ? block.scale * p * (g[at] - delta[r]) : 0.0);
      row.set(at, p);
    }
}

void absorb_logits_reference(Element type, const VocabularyBlock& block, void* logits, const int64_t* targets,
                             const RunningSoftmax& running, float* rescale) {
  const Values all{type, logits};
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t at = r * block.stride, target = targets[r] - block.first;
    if (target >= 0 && target < block.count) running.target_logit[r] = static_cast<float>(all[at + target]);
    double top = running.top[r], sum = 0;
    for (int64_t k = 0; k < block.count; ++k) top = std::max(top, all[at + k]);
    for (int64_t k = 0; k < block.count; ++k) {
      const double e = top == -INFINITY ? 0.0 : std::exp(all[at + k] - top);
      sum += e;
      all.set(at + k, e);
    }
    const double factor = top == running.top[r] ? 1.0 : std::exp(running.top[r] - top);
    rescale[r] = static_cast<float>(factor);
    running.sum[r] = static_cast<float>(running.sum[r] * factor + sum);
    running.top[r] = static_cast<float>(top);
  }
}

void rescale_and_add_reference(Element type, const void* part, const float* rescale, int64_t rows, int64_t n, float* sum) {
  const Values from = read(type, part);
  for (int64_t i = 0; i < rows * n; ++i) {
    const double factor = rescale[i / n];
    sum[i] = static_cast<float>((factor == 0.0 ? 0.0 : factor * sum[i]) + from[i]);
  }
}

}  // namespace graft::kernels
