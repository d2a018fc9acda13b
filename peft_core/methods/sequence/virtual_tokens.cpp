#include "peft_core/methods/sequence/virtual_tokens.h"

#include "kernels/base/error.h"
#include "peft_core/base/config.h"

namespace graft::peft {
namespace {

constexpr const char* kName = "prompt_embeddings";

}  // namespace

VirtualTokens::VirtualTokens(at::Tensor table) : table_(table.requires_grad_()) {}

std::vector<TrainableGroup> VirtualTokens::trainable() const { return {{.name = kName, .parameters = {{kName, table_}}}}; }

AdapterState VirtualTokens::state() const { return {{kName, table_}}; }

void VirtualTokens::merge(at::ScalarType) {
  throw InvalidArgument({.where = "merge", .what = "virtual tokens are no change of a weight, so they cannot be folded into one",
                         .hint = "use the adapter beside its base with --adapter"});
}

void expect_virtual_tokens(int64_t count) { expect_range("method.num_virtual_tokens", static_cast<double>(count), 1, 65536); }

PublishedForm virtual_tokens_form(const std::string& peft_type, std::vector<std::string> own_keys) {
  PublishedForm form{.peft_type = peft_type, .keys = std::move(own_keys), .tensor_marks = {kName}, .named_by_layer = false};
  for (const auto* key : {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"}) form.keys.push_back(key);
  return form;
}

}  // namespace graft::peft
