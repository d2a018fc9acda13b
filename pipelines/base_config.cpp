#include "pipelines/base_config.h"

#include <map>

#include "kernels/base/error.h"
#include "kernels/kernel_list.h"
#include "peft_core/base/text_distance.h"

namespace graft::pipelines {
namespace {

template <class T>
T chosen(const std::string& key, const std::string& value, const std::map<std::string, T>& values) {
  if (const auto found = values.find(value); found != values.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [name, unused] : values) names.push_back(name);
  throw InvalidArgument({.where = key, .what = "has an unknown value", .expected = join(names), .got = "'" + value + "'"});
}

}  // namespace

peft::BaseStorage base_storage(const BaseConfig& config, at::ScalarType stored) {
  using peft::Quantize;
  const bool blocks = stored == at::kByte;
  const auto dense = blocks ? at::kFloat : stored;
  const auto held = blocks && config.dtype == "auto" ? Quantize::kKeep : Quantize::kNone;
  peft::BaseStorage storage;
  storage.dtype = chosen<at::ScalarType>("base.dtype", config.dtype, {{"auto", dense}, {"bf16", at::kBFloat16}, {"fp32", at::kFloat}});
  storage.quantize = chosen<Quantize>("base.quantize", config.quantize,
                                      {{"auto", held}, {"none", Quantize::kNone}, {"nf4", Quantize::kNf4}, {"keep", Quantize::kKeep}});
  // Weights of full precision ask for products of full precision.
  const bool full = config.dtype == "fp32" || (storage.dtype == at::kFloat && storage.quantize == Quantize::kNone);
  storage.compute = chosen<at::ScalarType>(
      "base.compute", config.compute,
      {{"auto", !full && kernels::bfloat16_pays() ? at::kBFloat16 : at::kFloat}, {"bf16", at::kBFloat16}, {"fp32", at::kFloat}});
  return storage;
}

}  // namespace graft::pipelines
