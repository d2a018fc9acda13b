#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <utility>

namespace graft::peft {

/// The random bases that all layers of a RandLoRA model share, as wide as the widest layer needs.
class RandloraBases {
 public:
  enum class Kind { kDense, kSparse, kVerySparse };

  /// `smaller`, `larger`: the smaller and the larger of the largest `in` and the largest `out`. Values as PEFT draws them: uniform in bf16, or
  /// −1, 0, 1, over their standard deviation.
  RandloraBases(int64_t rank, int64_t smaller, int64_t larger, Kind kind, uint64_t key);

  const at::Tensor& a() const { return a_; }  ///< (r, 1, smaller)
  const at::Tensor& b() const { return b_; }  ///< (larger, bases, r)

  /// B for a layer, (side, bases · r), a basis' r columns side by side. Kept until B's values change.
  at::Tensor wide(int64_t side, int64_t bases) const;

 private:
  struct Cut {
    uint32_t version;
    at::Tensor values;
  };

  at::Tensor a_, b_;
  mutable std::map<std::pair<int64_t, int64_t>, Cut> cuts_;
};

/// ⌈smaller side / r⌉: as many bases as full rank takes.
int64_t randlora_base_count(int64_t smaller, int64_t rank);

}  // namespace graft::peft
