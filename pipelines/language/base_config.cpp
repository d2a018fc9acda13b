#include "pipelines/language/base_config.h"

#include <map>

#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
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

peft::BaseStorage base_storage(const BaseConfig& config) {
  peft::BaseStorage storage;
  storage.dtype = chosen<at::ScalarType>("base.dtype", config.dtype, {{"bf16", at::kBFloat16}, {"fp32", at::kFloat}});
  storage.quantize = chosen<peft::Quantize>("base.quantize", config.quantize,
                                            {{"none", peft::Quantize::kNone}, {"nf4", peft::Quantize::kNf4}, {"keep", peft::Quantize::kKeep}});
  const auto automatic = storage.dtype == at::kBFloat16 && kernels::has_fast_bfloat16() ? at::kBFloat16 : at::kFloat;
  storage.compute = chosen<at::ScalarType>("base.compute", config.compute,
                                           {{"auto", automatic}, {"bf16", at::kBFloat16}, {"fp32", at::kFloat}});
  return storage;
}

}  // namespace graft::pipelines
