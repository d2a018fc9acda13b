#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/memory/move_in_place.h"
#include "peft_core/methods/method.h"

namespace graft::peft {
namespace {

std::string shape_text(const at::Tensor& tensor) {
  std::string text = "(";
  for (const auto size : tensor.sizes()) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + ")";
}

}  // namespace

const MethodSpec& find_method(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& method : builtin_methods()) {
    if (method.name == name) return method;
    known.push_back(method.name);
  }
  throw InvalidArgument({.where = "method.name", .what = "there is no method '" + name + "'", .hint = suggest(name, known)});
}

void Attachment::move_to(at::Device device) {
  for (const auto& group : trainable())
    for (const auto& [name, leaf] : group.parameters) move_in_place(leaf, device);
  // By now those that are made from leaves, or are views of them, lie there.
  for (const auto& [name, tensor] : state()) move_in_place(tensor, device);
  for (const auto& [name, tensor] : training_state()) move_in_place(tensor, device);
}

void load_state(Attachment& attachment, const AdapterState& values, const std::string& where) {
  at::NoGradGuard no_gradient;
  auto own = attachment.state();
  for (const auto& [name, leaf] : own) {
    const auto found = values.find(name);
    if (found == values.end()) throw InvalidArgument({.where = where, .what = "lacks the tensor '" + name + "'"});
    if (found->second.sizes() != leaf.sizes())
      throw InvalidArgument({.where = where, .what = "tensor '" + name + "' has another shape", .expected = shape_text(leaf),
                             .got = shape_text(found->second)});
    leaf.detach().copy_(found->second);
  }
  for (const auto& [name, value] : values)
    if (!own.contains(name))
      throw InvalidArgument({.where = where, .what = "holds a tensor '" + name + "' that this method and model have no place for"});
}

}  // namespace graft::peft
