#include "peft_core/backbones/weight_source.h"

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const auto size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

}  // namespace

void expect_shape(const WeightSource& weights, const std::string& name, const std::vector<int64_t>& shape) {
  const auto found = weights.shape(name);
  if (found != shape)
    throw InvalidArgument({.where = name, .what = "has another shape than the model's config says", .expected = shape_text(shape),
                           .got = shape_text(found)});
}

}  // namespace graft::peft
