#pragma once

#include <cstdint>
#include <span>

namespace graft::kernels {

/// A matrix of heads in bf16: element (token, head, i) stands at data[token * stride + head * width + i]. A stride above heads * width
/// makes it a range of columns of a wider matrix, say of one projection for queries, keys and values.
template <class T>
struct HeadRows {
  T* data = nullptr;
  int64_t stride = 0;  ///< elements from token to token
};

/// Grouped-query attention over sequences laid end to end; none sees across its borders.
/// Query head h uses key head h / (heads / key_heads). Query t of a sequence of T queries and L keys stands at position L - T + t.
struct AttentionProblem {
  std::span<const int32_t> lengths;      ///< queries T of each sequence; N their sum
  std::span<const int32_t> key_lengths;  ///< keys L of each sequence, L >= T; empty: as many as queries. With a cache: one of each
  int64_t heads = 0;                     ///< query heads Hq, a multiple of Hk
  int64_t key_heads = 0;                 ///< key/value heads Hk
  int64_t width = 0;                     ///< size of a head D
  bool causal = true;                    ///< a query sees keys up to its own position
  int64_t window = 0;                    ///< with causal: only the last `window` keys, itself among them; 0: all
  float scale = 1.0f;                    ///< of the scores, above 0; usually 1 / sqrt(D)
  HeadRows<const uint16_t> q;            ///< (N, Hq, D)
  HeadRows<const uint16_t> k, v;         ///< (sum of the keys, Hk, D)
};

/// What the backward pass reads and writes. The results may not overlap anything else.
struct AttentionGradients {
  HeadRows<const uint16_t> out;            ///< (N, Hq, D), what the forward pass gave
  HeadRows<const uint16_t> out_gradient;   ///< (N, Hq, D)
  const float* log_sum_exp = nullptr;      ///< (N, Hq), what the forward pass gave
  HeadRows<uint16_t> dq, dk, dv;           ///< like q, k and v; overwritten
};

/// out (N, Hq, D) <- softmax(scale · q kᵀ) v. log_sum_exp (N, Hq), contiguous: of the scaled scores a query sees, in natural units;
/// may be null where no gradient follows. The same bytes on every run and for every number of threads.
/// Throws InvalidArgument for shapes that do not fit together.
void attention_forward(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp);

/// The gradients for q, k and v; probabilities are made again from log_sum_exp. The same bytes on every run and for every number of
/// threads. Throws InvalidArgument for shapes that do not fit together.
void attention_backward(const AttentionProblem& problem, const AttentionGradients& gradients);

/// True if a variant made for this processor takes the problem. Elsewhere the two functions above fall back to plain loops, which are
/// right but slower than what LibTorch offers.
bool attention_supported(const AttentionProblem& problem);

/// The plain versions that define the right answer: sums and softmax in double, results rounded once.
void attention_forward_reference(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp);
void attention_backward_reference(const AttentionProblem& problem, const AttentionGradients& gradients);

}  // namespace graft::kernels
