#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace graft::peft {

/// States of diagonal linear recurrences along sequences that lie end to end: s_t = e^log_decay ⊙ s_(t-1) + v_t, from zero in each.
///
/// Computed as a causal convolution with the kernel e^(j log_decay) by FFT over at least twice the length, so that nothing wraps around:
/// O(T log T) and differentiable in v and log_decay. Sequences of similar length share one transform.
/// Shapes   v (N, d) fp32 or fp64; log_decay (d), at most 0; lengths sum to N. Result like v.
at::Tensor state_space_scan(const at::Tensor& v, const at::Tensor& log_decay, std::span<const int32_t> lengths);

/// What states before the sequences' first rows add: e^((t + 1) log_decay) ⊙ initial, (N, d). `initial` (S, d).
at::Tensor carried_states(const at::Tensor& initial, const at::Tensor& log_decay, std::span<const int32_t> lengths);

}  // namespace graft::peft
