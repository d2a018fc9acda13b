#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "peft_core/checkpoint/adapter_files.h"
#include "tests/support/tiny_decoder.h"

namespace graft::testing {

/// A tiny decoder with an adapter of values that matter.
struct AdaptedDecoder {
  std::unique_ptr<peft::CausalLm> model;
  peft::AdapterFiles files;  ///< method and config, as reading a folder would give them
  std::unique_ptr<peft::Attachment> attachment;

  AdaptedDecoder(const std::string& kind, const std::string& method, const std::string& yaml, const peft::BaseStorage& storage = kDense)
      : model(tiny_model(kind, storage)) {
    files.method = &peft::find_method(method);
    files.config = ConfigNode::parse(yaml, "test");
    attachment = files.method->attach(model->places(), files.config, 3);
    at::NoGradGuard no_gradient;
    int64_t number = 0;
    for (const auto& [name, tensor] : attachment->state())
      tensor.add_(at::sin(at::arange(tensor.numel(), at::kFloat) * 1.7 + static_cast<double>(number++)).view(tensor.sizes()), 0.05);
  }
};

inline at::Tensor logits_of(const peft::CausalLm& model) {
  at::NoGradGuard no_gradient;
  return model.logits(model.hidden_states(tiny_batch().stream(), {}));
}

}  // namespace graft::testing
