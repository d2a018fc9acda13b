#include "kernels/ops/attention_on_device.h"

#include <ATen/ATen.h>

#include <vector>

namespace graft::ops {
namespace {

/// Which of L keys the last T positions see, (T, L) bool; undefined where LibTorch's own causal or full form says the same.
at::Tensor mask_of(const AttentionShape& shape, int64_t queries, int64_t keys, const at::TensorOptions& options) {
  const bool windowed = shape.window > 0 && keys > shape.window;
  if (!shape.causal || (!windowed && (queries == keys || queries == 1))) return {};
  const auto all = at::ones({queries, keys}, options.dtype(at::kBool));
  const int64_t offset = keys - queries;
  auto seen = at::tril(all, offset);
  if (windowed) seen = at::logical_and(seen, at::triu(all, offset + 1 - shape.window));
  return seen;
}

/// q (T, Hq, D), k and v (L, Hk, D) of one sequence.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionShape& shape) {
  const auto by_head = [](const at::Tensor& t) { return t.transpose(0, 1).unsqueeze(0); };
  const auto mask = mask_of(shape, q.size(0), k.size(0), q.options());
  const bool causal = shape.causal && !mask.defined() && q.size(0) > 1;
  const auto out = at::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), mask.defined() ? std::optional(mask) : std::nullopt,
                                                    /*dropout_p=*/0.0, causal, shape.scale, /*enable_gqa=*/q.size(1) != k.size(1));
  return out.squeeze(0).transpose(0, 1);
}

}  // namespace

at::Tensor attention_on_device(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::span<const int32_t> lengths,
                               const AttentionShape& shape) {
  if (lengths.size() == 1) return attend(q, k, v, shape).contiguous();
  std::vector<at::Tensor> sequences;
  int64_t start = 0;
  for (const auto length : lengths) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(0, start, length); };
    if (length > 0) sequences.push_back(attend(part(q), part(k), part(v), shape));
    start += length;
  }
  return sequences.empty() ? at::zeros_like(q) : at::cat(sequences);
}

}  // namespace graft::ops
