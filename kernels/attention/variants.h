#pragma once

#include <span>
#include <string_view>

#include "kernels/attention/attention.h"

namespace graft::kernels::detail {

/// One way to compute attention. Arguments were checked before.
struct AttentionVariant {
  std::string_view name;
  bool (*supported)(const AttentionProblem& problem);
  void (*forward)(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp);
  void (*backward)(const AttentionProblem& problem, const AttentionGradients& gradients);
};

/// Best first; the last runs everywhere.
std::span<const AttentionVariant> attention_variants();

void attention_forward_amx(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp);
void attention_backward_amx(const AttentionProblem& problem, const AttentionGradients& gradients);

void attention_forward_avx512_bf16(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp);
void attention_backward_avx512_bf16(const AttentionProblem& problem, const AttentionGradients& gradients);

void attention_forward_avx2(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp);
void attention_backward_avx2(const AttentionProblem& problem, const AttentionGradients& gradients);

/// The reference on contiguous doubles, so that its gradients can be held against differences. log_sum_exp (N, Hq).
struct ExactAttention {
  const double *q, *k, *v;
};
void attention_forward_exact(const AttentionProblem& problem, const ExactAttention& in, double* out, double* log_sum_exp);
/// out_gradient, out (N, Hq, D) -> dq like q; dk, dv like k.
void attention_backward_exact(const AttentionProblem& problem, const ExactAttention& in, const double* out, const double* out_gradient,
                              const double* log_sum_exp, double* dq, double* dk, double* dv);

}  // namespace graft::kernels::detail
