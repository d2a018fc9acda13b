#include "kernels/rows/attention_rows.h"

#include <algorithm>

#include "kernels/rows/elements.h"

namespace graft::kernels {
namespace {

using namespace detail;

struct Visible {
  int64_t begin, end;
};

Visible visible_keys(const AttentionBlock& block, int64_t query) {
  if (!block.causal) return {0, block.keys};
  const int64_t position = block.first_position + query;
  const int64_t end = std::min(block.keys, position + 1);
  const int64_t begin = block.window > 0 ? std::max<int64_t>(0, position + 1 - block.window) : 0;
  return {std::min(begin, end), end};
}

template <class T>
void clear(T* row, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) store(row[i], 0.0f);
}

template <class T>
GRAFT_VECTORISED float softmax_span(T* row, int64_t n, float scale) {
  float top = -INFINITY;
  for (int64_t i = 0; i < n; ++i) top = std::max(top, load(row[i]));
  top *= scale;
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += exponential(load(row[i]) * scale - top);
  const float shift = top + std::log(sum);
  for (int64_t i = 0; i < n; ++i) store(row[i], exponential(load(row[i]) * scale - shift));
  return shift;
}

template <class T>
GRAFT_VECTORISED void softmax_span_backward(T* row, T* gradient, int64_t n, float scale, float log_sum_exp, float delta) {
  for (int64_t i = 0; i < n; ++i) {
    const float p = exponential(load(row[i]) * scale - log_sum_exp);
    store(row[i], p);
    store(gradient[i], scale * p * (load(gradient[i]) - delta));
  }
}

template <class Body>
void over_rows(const AttentionBlock& block, const Body& body) {
  const int64_t rows = block.groups * block.queries;
#pragma omp parallel for schedule(dynamic, 16) if (rows * block.keys > 16384)
  for (int64_t r = 0; r < rows; ++r) body(r, visible_keys(block, r % block.queries));
}

template <class T>
void softmax(const AttentionBlock& block, T* scores, float* log_sum_exp) {
  over_rows(block, [&](int64_t r, Visible keys) {
    T* row = scores + r * block.keys;
    clear(row, 0, keys.begin);
    log_sum_exp[r] = softmax_span(row + keys.begin, keys.end - keys.begin, block.scale);
    clear(row, keys.end, block.keys);
  });
}

template <class T>
void softmax_backward(const AttentionBlock& block, const float* log_sum_exp, const float* delta, T* scores, T* gradient) {
  over_rows(block, [&](int64_t r, Visible keys) {
    T *row = scores + r * block.keys, *g = gradient + r * block.keys;
    clear(row, 0, keys.begin), clear(g, 0, keys.begin);
    softmax_span_backward(row + keys.begin, g + keys.begin, keys.end - keys.begin, block.scale, log_sum_exp[r], delta[r]);
    clear(row, keys.end, block.keys), clear(g, keys.end, block.keys);
  });
}

}  // namespace

void softmax_rows(Element type, const AttentionBlock& block, void* scores, float* log_sum_exp) {
  if (type == Element::kFloat32) return softmax(block, static_cast<float*>(scores), log_sum_exp);
  softmax(block, static_cast<Bf16*>(scores), log_sum_exp);
}

void softmax_rows_backward(Element type, const AttentionBlock& block, const float* log_sum_exp, const float* delta, void* scores,
                           void* gradient) {
  if (type == Element::kFloat32)
    return softmax_backward(block, log_sum_exp, delta, static_cast<float*>(scores), static_cast<float*>(gradient));
  softmax_backward(block, log_sum_exp, delta, static_cast<Bf16*>(scores), static_cast<Bf16*>(gradient));
}

}  // namespace graft::kernels
