#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "peft_core/slots/adapter.h"

// Small trainable layers around a frozen model: leaves with names, fp32.
namespace graft::pipelines {

/// y = x Wᵀ + b.
struct Dense {
  Dense() = default;
  /// Uniform in ±1/sqrt(in), as torch.nn.Linear starts.
  Dense(int64_t in, int64_t out, at::Generator& draw);
  at::Tensor forward(const at::Tensor& x) const;  ///< (..., in) -> (..., out)
  /// Multiplies weight and bias; with 0 the layer is silent until it is trained.
  void scale(double factor);
  void list(const std::string& name, peft::NamedTensors& leaves) const;

  at::Tensor weight, bias;
};

/// LayerNorm over the last axis.
struct RowNorm {
  RowNorm() = default;
  explicit RowNorm(int64_t width);
  at::Tensor forward(const at::Tensor& x) const;
  void list(const std::string& name, peft::NamedTensors& leaves) const;

  at::Tensor weight, bias;
};

int64_t element_count(const peft::NamedTensors& tensors);

}  // namespace graft::pipelines
