#include "apps/agri_tune/chosen_adapters.h"

#include <charconv>
#include <cmath>

#include "kernels/base/error.h"
#include "pipelines/language/row_adapters.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;

double weight_of(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(value)) return value;
  throw InvalidArgument({.where = "--weights", .what = "has a value of the wrong kind", .expected = "numbers", .got = "\"" + text + "\""});
}

/// "wheat=runs/1" or "runs/wheat". A folder whose own name holds a "=" is taken as it stands.
peft::MixturePart part_of(const std::string& text) {
  const auto equals = text.find('=');
  if (equals != std::string::npos && !std::filesystem::exists(text)) return {.name = text.substr(0, equals), .folder = text.substr(equals + 1)};
  const auto folder = std::filesystem::absolute(text).lexically_normal();
  return {.name = (folder.has_filename() ? folder : folder.parent_path()).filename().string(), .folder = text};
}

}  // namespace

std::vector<peft::MixturePart> chosen_adapters(const Invocation& call) {
  if (!call.weights.empty() && call.weights.size() != call.adapters.size())
    throw InvalidArgument({.where = "--weights", .what = "need one number for each of --adapters", .expected = std::to_string(call.adapters.size()),
                           .got = std::to_string(call.weights.size())});
  std::vector<peft::MixturePart> parts;
  for (size_t i = 0; i < call.adapters.size(); ++i) {
    parts.push_back(part_of(call.adapters[i]));
    if (!call.weights.empty()) parts.back().weight = weight_of(call.weights[i]);
    peft::expect_adapter_name(parts.back().name);
    for (size_t j = 0; j < i; ++j)
      if (parts[j].name == parts[i].name)
        throw InvalidArgument({.where = "--adapters", .what = "two are called '" + parts[i].name + "'", .hint = "write NAME=DIR"});
  }
  return parts;
}

void load_chosen_adapters(LanguageModel& language, const Invocation& call, const Settings& settings) {
  if (!call.adapter.empty() && !call.adapters.empty())
    throw InvalidArgument({.where = "--adapters", .what = "cannot stand beside --adapter", .hint = "give all of them to --adapters"});
  if (!call.weights.empty() && call.adapters.empty()) throw InvalidArgument({.where = "--weights", .what = "belong to --adapters"});
  if (!call.adapters.empty()) return load_adapters(language, chosen_adapters(call), settings.base);
  if (!call.adapter.empty()) load_adapter(language, call.adapter, settings.base);
}

std::function<peft::AdapterWeights(const data::Record&)> adapters_of_rows(const LanguageModel& language, const std::vector<data::Record>& records) {
  if (language.mixture == nullptr) return {};
  // All rows are asked before the first is answered, so that a wrong name shows now.
  for (const auto& record : records) (void)adapters_of_row(*language.mixture, record);
  return [mixture = language.mixture](const data::Record& record) { return adapters_of_row(*mixture, record); };
}

}  // namespace graft::apps::agri
