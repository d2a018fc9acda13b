#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "bench/machine/ceilings.h"
#include "bench/machine/report.h"
#include "bench/machine/timing.h"

namespace graft::bench {

/// What every measurement needs.
struct Bench {
  Report& report;
  const Ceilings& ceilings;
  Budget budget;
  bool quick;
  at::ScalarType dtype;           ///< of our side, and of both where they share their operands: bf16 where that pays, else fp32
  at::ScalarType libtorch_dtype;  ///< of LibTorch's side: bf16 where the processor has such products, else fp32
};

// Each prints one or more tables.
void measure_products(Bench& bench);
void measure_quantised_products(Bench& bench);
void measure_attention(Bench& bench);
void measure_head(Bench& bench);
void measure_row_operators(Bench& bench);
void measure_optimizer(Bench& bench);
void measure_step(Bench& bench);
void measure_scaling(Bench& bench);  ///< the same step for 512 to 8,192 tokens and for 1 to 8 adapters; takes minutes

/// Normal values in `dtype`, the same in every run.
at::Tensor random_tensor(at::IntArrayRef sizes, at::ScalarType dtype, double scale = 1.0);

/// Both sides must compute the same thing, or their times say nothing: the difference must be below `tolerance` of the values, by 2-norm.
/// Rounding results to bf16 is 0.002 of that. Throws NumericalError.
void expect_alike(const std::string& name, const at::Tensor& ours, const at::Tensor& theirs, double tolerance);

/// d(output)/d(inputs) for the gradient g, again and again on the same graph.
std::vector<at::Tensor> gradients(const at::Tensor& output, const std::vector<at::Tensor>& inputs, const at::Tensor& g);

}  // namespace graft::bench
