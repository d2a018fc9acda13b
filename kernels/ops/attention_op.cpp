#include "kernels/ops/attention_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include <array>

#include "kernels/attention/attention.h"
#include "kernels/ops/apply.h"
#include "kernels/ops/attention_on_device.h"
#include "kernels/ops/attention_with_libtorch.h"
#include "kernels/ops/element_of.h"
#include "kernels/ops/on_device.h"
#include "kernels/rows/cached_attention_rows.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

kernels::HeadRows<const uint16_t> head_rows(const at::Tensor& t) {
  return {.data = reinterpret_cast<const uint16_t*>(t.const_data_ptr<at::BFloat16>()), .stride = t.stride(0)};
}

kernels::HeadRows<uint16_t> mutable_head_rows(at::Tensor& t) {
  return {.data = reinterpret_cast<uint16_t*>(t.mutable_data_ptr<at::BFloat16>()), .stride = t.stride(0)};
}

std::span<const int32_t> as_span(const at::Tensor& lengths) {
  return {lengths.const_data_ptr<int32_t>(), static_cast<size_t>(lengths.numel())};
}

/// The problem as the kernel takes it; nothing where it has no variant for this processor or shape.
std::optional<kernels::AttentionProblem> kernel_problem(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                        std::span<const int32_t> lengths, std::span<const int32_t> key_lengths,
                                                        const AttentionShape& shape) {
  if (q.scalar_type() != at::kBFloat16) return std::nullopt;
  kernels::AttentionProblem problem{.lengths = lengths, .key_lengths = key_lengths, .heads = q.size(1), .key_heads = k.size(1),
                                    .width = q.size(2), .causal = shape.causal, .window = shape.window,
                                    .scale = static_cast<float>(shape.scale), .q = head_rows(q), .k = head_rows(k), .v = head_rows(v)};
  return kernels::attention_supported(problem) ? std::optional(problem) : std::nullopt;
}

/// Tiles are 32 rows high and pack the keys for each call. With AVX2 one query takes a fifth to three quarters of their time, 8 take
/// 0.4 to 0.9, 16 take 0.8 to 1.8.
constexpr int64_t kFewQueries = 8;

at::Tensor attention_of_few(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionShape& shape) {
  auto out = at::empty_like(q);
  kernels::cached_attention_rows({.type = element_of(q), .queries = q.size(0), .keys = k.size(0), .heads = q.size(1), .key_heads = k.size(1),
                                  .width = q.size(2), .causal = shape.causal, .window = shape.window,
                                  .scale = static_cast<float>(shape.scale), .q = q.const_data_ptr(), .k = k.const_data_ptr(),
                                  .v = v.const_data_ptr(), .q_stride = q.stride(0), .k_stride = k.stride(0), .v_stride = v.stride(0),
                                  .out_stride = out.stride(0), .out = out.mutable_data_ptr()});
  return out;
}

struct Attention : public torch::autograd::Function<Attention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& lengths, bool causal, int64_t window, double scale) {
    const AttentionShape shape{causal, window, scale};
    auto out = at::empty_like(q);
    auto lse = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
    if (const auto problem = kernel_problem(q, k, v, as_span(lengths), {}, shape)) {
      kernels::attention_forward(*problem, mutable_head_rows(out), lse.mutable_data_ptr<float>());
    } else {
      forward_with_libtorch(shape, q, k, v, as_span(lengths), out, lse);
    }
    ctx->save_for_backward({q, k, v, lengths, out, lse});
    ctx->saved_data["causal"] = causal;
    ctx->saved_data["window"] = window;
    ctx->saved_data["scale"] = scale;
    return out;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &lengths = saved[3], &out = saved[4], &lse = saved[5];
    const AttentionShape shape{ctx->saved_data["causal"].toBool(), ctx->saved_data["window"].toInt(),
                               ctx->saved_data["scale"].toDouble()};
    const auto g = gradients[0].contiguous();
    auto dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    if (const auto problem = kernel_problem(q, k, v, as_span(lengths), {}, shape)) {
      kernels::attention_backward(*problem, {.out = head_rows(out), .out_gradient = head_rows(g), .log_sum_exp = lse.const_data_ptr<float>(),
                                             .dq = mutable_head_rows(dq), .dk = mutable_head_rows(dk), .dv = mutable_head_rows(dv)});
    } else {
      const auto delta = at::mul(g, out).sum(-1, /*keepdim=*/false, at::kFloat);
      backward_with_libtorch(shape, {g, q, k, v, lse, delta}, as_span(lengths), {dq, dk, dv});
    }
    return {dq, dk, dv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::span<const int32_t> lengths,
                     const AttentionShape& shape) {
  if (on_device(q)) return attention_on_device(q, k, v, lengths, shape);
  const auto sizes = at::tensor(at::ArrayRef<int32_t>(lengths.data(), lengths.size()), at::kInt);
  return apply<Attention>(q.contiguous(), k.contiguous(), v.contiguous(), sizes, shape.causal, shape.window, shape.scale);
}

at::Tensor attention_with_cache(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionShape& shape) {
  if (on_device(q)) return attention_on_device(q, k, v, std::array{static_cast<int32_t>(q.size(0))}, shape);
  if (q.size(0) <= kFewQueries && q.size(0) <= k.size(0)) return attention_of_few(q, k, v, shape);
  auto out = at::empty_like(q);
  const std::array<int32_t, 1> queries = {static_cast<int32_t>(q.size(0))}, keys = {static_cast<int32_t>(k.size(0))};
  if (const auto problem = kernel_problem(q, k, v, queries, keys, shape)) {
    kernels::attention_forward(*problem, mutable_head_rows(out), nullptr);
  } else {
    forward_with_libtorch(shape, q, k, v, queries, out, {});
  }
  return out;
}

}  // namespace graft::ops
