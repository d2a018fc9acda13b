#include "kernels/rows/rows_reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/rows/row_values.h"

namespace graft::kernels {
namespace {

using detail::read;
using detail::Values;

bool sees(int64_t position, int64_t key, bool causal, int64_t window) {
  if (!causal) return true;
  return key <= position && (window == 0 || key > position - window);
}

bool sees(const AttentionBlock& block, int64_t query, int64_t key) {
  return sees(block.first_position + query, key, block.causal, block.window);
}

/// One query of one head.
void attend(const CachedAttention& p, int64_t query, int64_t head) {
  const Values q = read(p.type, p.q), k = read(p.type, p.k), v = read(p.type, p.v), out{p.type, p.out};
  const int64_t in_query = query * p.q_stride + head * p.width, in_key = head / (p.heads / p.key_heads) * p.width;
  std::vector<double> weights(static_cast<size_t>(p.keys), -INFINITY);
  double top = -INFINITY, sum = 0;
  for (int64_t j = 0; j < p.keys; ++j) {
    if (!sees(p.keys - p.queries + query, j, p.causal, p.window)) continue;
    double score = 0;
    for (int64_t i = 0; i < p.width; ++i) score += q[in_query + i] * k[j * p.k_stride + in_key + i];
    top = std::max(top, weights[static_cast<size_t>(j)] = p.scale * score);
  }
  for (double& weight : weights) sum += weight = std::exp(weight - top);
  for (int64_t i = 0; i < p.width; ++i) {
    double mean = 0;
    for (int64_t j = 0; j < p.keys; ++j)
      if (weights[static_cast<size_t>(j)] != 0) mean += weights[static_cast<size_t>(j)] / sum * v[j * p.v_stride + in_key + i];
    out.set(query * p.out_stride + head * p.width + i, mean);
  }
}

}  // namespace

void cached_attention_rows_reference(const CachedAttention& problem) {
  for (int64_t query = 0; query < problem.queries; ++query)
    for (int64_t head = 0; head < problem.heads; ++head) attend(problem, query, head);
}

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
