#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace graft::pipelines {

/// Values and gradients of parameters that lie in a GPU's memory, as an optimizer sees them: flat, in the processor's memory, and taken over
/// as one piece. Adapters are small; beside a step's products neither the copies nor an update by the processor are seen.
class HostCopy {
 public:
  /// `gradients`: flat, on the device; parameter i begins at offsets[i] in it, and in the flat values too.
  HostCopy(const std::vector<at::Tensor>& parameters, const std::vector<int64_t>& offsets, at::Tensor gradients);

  float* values() { return host_values_.mutable_data_ptr<float>(); }
  float* gradients() { return host_gradients_.mutable_data_ptr<float>(); }

  void read_gradients();
  void read_values();
  /// Sends the values back, and clears the device's gradients.
  void write_values();

 private:
  at::Tensor gradients_, host_gradients_;
  at::Tensor values_, host_values_;
  std::vector<at::Tensor> parameters_, parts_;  // the same sizes; parts_ are those of values_
};

}  // namespace graft::pipelines
