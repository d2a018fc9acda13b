#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

namespace graft::peft {

/// The place before a sequence's first token, where a method may put virtual tokens (prompt tuning).
class PromptSlot {
 public:
  /// Virtual tokens (P, C) fp32, put before every sequence; undefined: none.
  at::Tensor& tokens() { return tokens_; }
  const at::Tensor& tokens() const { return tokens_; }
  int64_t count() const { return tokens_.defined() ? tokens_.size(0) : 0; }

 private:
  at::Tensor tokens_;
};

/// The place before a layer's keys and values, where a method may put virtual ones (prefix tuning). They carry no position.
class PrefixSlot {
 public:
  PrefixSlot() = default;
  PrefixSlot(int64_t heads, int64_t head_size) : heads_(heads), head_size_(head_size) {}

  int64_t heads() const { return heads_; }          ///< Hk
  int64_t head_size() const { return head_size_; }  ///< D
  /// (P, Hk, D) fp32 each; undefined: none.
  at::Tensor keys, values;
  int64_t count() const { return keys.defined() ? keys.size(0) : 0; }

 private:
  int64_t heads_ = 0, head_size_ = 0;
};

/// `count` rows of `head` (count, …) before each sequence's rows of x (N, …): -> (N + count · S, …) in x's dtype.
at::Tensor with_rows_before(const at::Tensor& x, const at::Tensor& head, std::span<const int32_t> lengths);
/// The rows of x (N + count · S, …) without the first `count` of each sequence; `lengths` are those without them.
at::Tensor without_rows_before(const at::Tensor& x, int64_t count, std::span<const int32_t> lengths);
/// Every length plus `count`.
std::vector<int32_t> lengthened(std::span<const int32_t> lengths, int64_t count);

}  // namespace graft::peft
