#pragma once

// Random problems for attention_test.cpp, the exact answers, and how far a result may be from them.

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"

namespace graft::kernels::testing {

struct Mask {
  bool causal = true;
  int64_t window = 0;
};

struct CaseShape {
  std::vector<int32_t> lengths, key_lengths;  ///< key_lengths empty: as many keys as queries
  int64_t heads = 0, key_heads = 0, width = 0;
  Mask mask;
  int64_t gap = 0;  ///< further elements between the rows of all matrices; with a gap q, k and v lie in one matrix
  std::string text() const;
};

/// Owns all matrices of one problem. Gaps hold NaN in what is read and are checked after writing.
class AttentionCase {
 public:
  explicit AttentionCase(CaseShape shape, uint64_t seed = 1);

  AttentionProblem problem() const;
  HeadRows<const uint16_t> out_gradient() const { return {out_gradient_.data(), query_stride_}; }
  int64_t queries() const { return queries_; }
  int64_t keys() const { return keys_; }
  const CaseShape& shape() const { return shape_; }
  int64_t query_stride() const { return query_stride_; }
  int64_t key_stride() const { return key_stride_; }
  void spoil_token(int64_t token);  ///< everything that is read of it becomes NaN
  std::vector<uint16_t> empty_queries() const;  ///< room for a matrix like q, filled with a mark
  std::vector<uint16_t> empty_keys() const;
  std::vector<float> empty_statistics() const;
  bool gaps_are_untouched(const std::vector<uint16_t>& matrix, int64_t columns, int64_t stride) const;

 private:
  CaseShape shape_;
  int64_t queries_ = 0, keys_ = 0, query_stride_ = 0, key_stride_ = 0;
  std::vector<uint16_t> q_, k_, v_, out_gradient_;
};

std::vector<double> widened(HeadRows<const uint16_t> rows, int64_t tokens, int64_t columns);

/// A matrix of exact values and of the largest error that each may have.
struct Expected {
  std::vector<double> values, errors;
};
struct ExpectedForward {
  Expected out;
  std::vector<double> log_sum_exp;
};
ExpectedForward expected_forward(const AttentionCase& of);

struct ExpectedBackward {
  Expected dq, dk, dv;
};
ExpectedBackward expected_backward(const AttentionCase& of, const std::vector<double>& out, const std::vector<double>& log_sum_exp);

}  // namespace graft::kernels::testing
