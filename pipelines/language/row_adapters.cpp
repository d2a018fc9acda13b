#include "pipelines/language/row_adapters.h"

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

constexpr const char* kField = "adapter";

peft::AdapterMixture::Weights weights_in(const nlohmann::json& field) {
  peft::AdapterMixture::Weights weights;
  if (field.is_string() && !field.get<std::string>().empty()) weights[field.get<std::string>()] = 1;
  if (field.is_array())
    for (const auto& name : field) weights[name.get<std::string>()] = 1;
  if (field.is_object())
    for (const auto& [name, weight] : field.items()) weights[name] = weight.get<double>();
  return weights;
}

}  // namespace

bool names_adapter(const data::Record& record) { return record.meta.contains(kField); }

peft::AdapterWeights adapters_of_row(const peft::AdapterMixture& mixture, const data::Record& record) {
  const auto found = record.meta.find(kField);
  if (found == record.meta.end()) return mixture.weights();
  const auto field = nlohmann::json::parse(found->second);
  try {
    if (field.is_number() || field.is_boolean()) throw InvalidArgument({.where = kField, .what = "is " + field.dump(), .expected = "a name, a list of names, or names with weights"});
    return mixture.weights_of(weights_in(field));
  } catch (const nlohmann::json::exception&) {
    throw InvalidArgument({.where = data::place_of(record), .what = "the field adapter is " + field.dump(),
                           .expected = "a name, a list of names, or names with weights"});
  } catch (const InvalidArgument& error) {
    throw InvalidArgument({.where = data::place_of(record), .what = error.what()});
  }
}

}  // namespace graft::pipelines
