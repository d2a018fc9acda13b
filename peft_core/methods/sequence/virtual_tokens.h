#pragma once

#include "peft_core/methods/method.h"

// What methods share that put virtual tokens before every sequence: one trained table, saved as `prompt_embeddings`, and no merging.
namespace graft::peft {

class VirtualTokens : public Attachment {
 public:
  /// Takes `table` (P, …) fp32 as the trained leaf.
  explicit VirtualTokens(at::Tensor table);

  std::vector<TrainableGroup> trainable() const override;
  AdapterState state() const override;
  /// Throws InvalidArgument always: no weight of the model stands for a token that is not there.
  void merge(at::ScalarType dtype) override;

 protected:
  const at::Tensor& table() const { return table_; }

 private:
  at::Tensor table_;
};

/// Throws InvalidArgument unless 1 <= count <= 65536.
void expect_virtual_tokens(int64_t count);
PublishedForm virtual_tokens_form(const std::string& peft_type, std::vector<std::string> own_keys);

}  // namespace graft::peft
