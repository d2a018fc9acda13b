#include <cmath>
#include <vector>

#include "kernels/rows/bf16_element.h"
#include "kernels/rows/cached_attention_rows.h"
#include "kernels/rows/seen_keys.h"

namespace graft::kernels {
namespace {

template <class T>
void attend(const CachedAttention& p, int64_t query, int64_t head) {
  const int64_t in_key = head / (p.heads / p.key_heads) * p.width;
  const auto [begin, end] = detail::seen_keys(p, query);
  const T* q = static_cast<const T*>(p.q) + query * p.q_stride + head * p.width;
  std::vector<double> weights;
  double top = -INFINITY, sum = 0;
  for (int64_t j = begin; j < end; ++j) {
    const T* k = static_cast<const T*>(p.k) + j * p.k_stride + in_key;
    double score = 0;
    for (int64_t i = 0; i < p.width; ++i) score += static_cast<double>(detail::load(q[i])) * detail::load(k[i]);
    weights.push_back(score * p.scale);
    top = std::max(top, weights.back());
  }
  for (double& weight : weights) sum += weight = std::exp(weight - top);
  for (int64_t i = 0; i < p.width; ++i) {
    double mean = 0;
    for (int64_t j = begin; j < end; ++j)
      mean += weights[static_cast<size_t>(j - begin)] / sum * detail::load(static_cast<const T*>(p.v)[j * p.v_stride + in_key + i]);
    detail::store(static_cast<T*>(p.out)[query * p.out_stride + head * p.width + i], static_cast<float>(mean));
  }
}

}  // namespace

void cached_attention_reference(const CachedAttention& p) {
  for (int64_t query = 0; query < p.queries; ++query)
    for (int64_t head = 0; head < p.heads; ++head) p.type == Element::kFloat32 ? attend<float>(p, query, head) : attend<detail::Bf16>(p, query, head);
}

}  // namespace graft::kernels
