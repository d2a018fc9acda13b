#include "kernels/ops/attention_with_libtorch.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/ops/dense_products.h"
#include "kernels/ops/element_of.h"
#include "kernels/rows/attention_rows.h"

namespace graft::ops {
namespace {

// Long enough that the products are efficient, short enough that causal blocks skip most of the keys that no query sees.
constexpr int64_t kQueryBlock = 128;

/// One sequence seen as (key heads, group · tokens, width): query heads that share a key head become rows of one matrix, so that
/// keys and values are never repeated.
struct Heads {
  int64_t key_heads, group, width;

  at::Tensor queries(const at::Tensor& q, int64_t begin, int64_t count) const {
    return q.narrow(0, begin, count).view({count, key_heads, group, width}).permute({1, 2, 0, 3}).reshape(
        {key_heads, group * count, width});
  }
  void write_queries(const at::Tensor& block, at::Tensor q, int64_t begin, int64_t count) const {
    q.narrow(0, begin, count).view({count, key_heads, group, width}).permute({1, 2, 0, 3}).copy_(
        block.view({key_heads, group, count, width}));
  }
  /// Statistics (group rows of a block) <-> (N, Hq).
  at::Tensor statistics(const at::Tensor& s, int64_t begin, int64_t count) const {
    return s.narrow(0, begin, count).view({count, key_heads, group}).permute({1, 2, 0}).contiguous();
  }
  void write_statistics(const at::Tensor& block, at::Tensor s, int64_t begin, int64_t count) const {
    s.narrow(0, begin, count).view({count, key_heads, group}).permute({1, 2, 0}).copy_(block);
  }
};

Heads heads_of(const at::Tensor& q, const at::Tensor& k) {
  GRAFT_ASSERT(q.size(1) % k.size(1) == 0);
  return {.key_heads = k.size(1), .group = q.size(1) / k.size(1), .width = q.size(2)};
}

/// (L, Hk, D) -> (Hk, L, D), a view.
at::Tensor by_head(const at::Tensor& kv) { return kv.permute({1, 0, 2}); }

struct KeyRange {
  int64_t begin, count;
};

KeyRange keys_of(const AttentionShape& shape, int64_t first_query, int64_t queries, int64_t keys) {
  if (!shape.causal) return {0, keys};
  const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, first_query + 1 - shape.window) : 0;
  return {begin, std::min(keys, first_query + queries) - begin};
}

kernels::AttentionBlock block_of(const Heads& heads, const AttentionShape& shape, int64_t first_query, int64_t queries,
                                 KeyRange keys) {
  return {.groups = heads.key_heads * heads.group, .queries = queries, .keys = keys.count,
          .first_position = first_query - keys.begin, .causal = shape.causal, .window = shape.window,
          .scale = static_cast<float>(shape.scale)};
}

/// Queries [0, T) of one sequence stand at positions [offset, offset + T) of the keys. Writes out and, where defined, lse (T, Hq).
void forward_sequence(const Heads& heads, const AttentionShape& shape, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v, at::Tensor out, at::Tensor lse) {
  const int64_t tokens = q.size(0), offset = k.size(0) - tokens;
  const auto keys = by_head(k), values = by_head(v);
  for (int64_t begin = 0; begin < tokens; begin += kQueryBlock) {
    const int64_t count = std::min(kQueryBlock, tokens - begin);
    const auto range = keys_of(shape, offset + begin, count, k.size(0));
    auto scores = ops::bmm(heads.queries(q, begin, count), keys.narrow(1, range.begin, range.count).transpose(1, 2));
    auto statistics = at::empty({heads.key_heads, heads.group, count}, scores.options().dtype(at::kFloat));
    kernels::softmax_rows(element_of(scores), block_of(heads, shape, offset + begin, count, range), scores.mutable_data_ptr(),
                          statistics.mutable_data_ptr<float>());
    heads.write_queries(ops::bmm(scores, values.narrow(1, range.begin, range.count)), out, begin, count);
    if (lse.defined()) heads.write_statistics(statistics, lse, begin, count);
  }
}

struct SequenceGradients {
  at::Tensor dq, dk, dv;  // dq like q; dk, dv (Hk, L, D) fp32, added to
};

void backward_sequence(const Heads& heads, const AttentionShape& shape, const at::Tensor& g, const at::Tensor& q,
                       const at::Tensor& k, const at::Tensor& v, const at::Tensor& lse, const at::Tensor& delta,
                       SequenceGradients& to) {
  const int64_t tokens = q.size(0);
  const auto keys = by_head(k), values = by_head(v);
  for (int64_t begin = 0; begin < tokens; begin += kQueryBlock) {
    const int64_t count = std::min(kQueryBlock, tokens - begin);
    const auto range = keys_of(shape, begin, count, tokens);
    const auto seen_keys = keys.narrow(1, range.begin, range.count), seen_values = values.narrow(1, range.begin, range.count);
    const auto queries = heads.queries(q, begin, count), gradient = heads.queries(g, begin, count);

    auto p = ops::bmm(queries, seen_keys.transpose(1, 2));
    auto ds = ops::bmm(gradient, seen_values.transpose(1, 2));
    const auto block_lse = heads.statistics(lse, begin, count), block_delta = heads.statistics(delta, begin, count);
    kernels::softmax_rows_backward(element_of(p), block_of(heads, shape, begin, count, range), block_lse.const_data_ptr<float>(),
                                   block_delta.const_data_ptr<float>(), p.mutable_data_ptr(), ds.mutable_data_ptr());

    to.dv.narrow(1, range.begin, range.count).add_(ops::bmm(p.transpose(1, 2), gradient));
    to.dk.narrow(1, range.begin, range.count).add_(ops::bmm(ds.transpose(1, 2), queries));
    heads.write_queries(ops::bmm(ds, seen_keys), to.dq, begin, count);
  }
}

}  // namespace

void forward_with_libtorch(const AttentionShape& shape, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       std::span<const int32_t> lengths, const at::Tensor& out, const at::Tensor& lse) {
  const auto heads = heads_of(q, k);
  int64_t start = 0;
  for (const auto length : lengths) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(0, start, length); };
    const bool cached = k.size(0) > q.size(0);  // one sequence, with keys from earlier calls
    forward_sequence(heads, shape, part(q), cached ? k : part(k), cached ? v : part(v), part(out), lse.defined() ? part(lse) : lse);
    start += length;
  }
}

void backward_with_libtorch(const AttentionShape& shape, const AttentionInputs& in, std::span<const int32_t> lengths,
                        const InputGradients& out) {
  const auto heads = heads_of(in.q, in.k);
  const auto sums = in.k.options().dtype(at::kFloat);
  int64_t start = 0;
  for (const auto length : lengths) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(0, start, length); };
    SequenceGradients to{part(out.dq), at::zeros({heads.key_heads, length, heads.width}, sums),
                         at::zeros({heads.key_heads, length, heads.width}, sums)};
    backward_sequence(heads, shape, part(in.g), part(in.q), part(in.k), part(in.v), part(in.lse), part(in.delta), to);
    part(out.dk).copy_(by_head(to.dk));
    part(out.dv).copy_(by_head(to.dv));
    start += length;
  }
}

}  // namespace graft::ops
