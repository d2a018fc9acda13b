#include "pipelines/cloud/class_texts.h"

#include <nlohmann/json.hpp>

#include <fstream>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

std::string filled(const std::string& text, const std::string& name) {
  const auto place = text.find("{}");
  return text.substr(0, place) + name + text.substr(place + 2);
}

std::vector<int32_t> joined(std::initializer_list<std::vector<int32_t>> parts) {
  std::vector<int32_t> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// What `text` is filled with for one class: its name, or its name with each attribute.
std::vector<std::string> described(const std::string& name, const nlohmann::json& attributes, const std::string& file) {
  if (attributes.is_null()) return {name};
  const auto found = attributes.find(name);
  if (found == attributes.end() || !found->is_array() || found->empty())
    throw IoError({.where = file, .what = "has no attributes for the class '" + name + "'", .expected = "\"" + name + "\": [\"...\", ...]"});
  std::vector<std::string> all;
  for (const auto& attribute : *found) all.push_back(name + " which has " + attribute.get<std::string>());
  return all;
}

nlohmann::json read_attributes(const std::string& file) {
  if (file.empty()) return nullptr;
  std::ifstream stream(file);
  auto json = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw IoError({.where = file, .what = "cannot be read", .expected = "a JSON object class -> list of attributes"});
  return json;
}

}  // namespace

TextEncoder text_encoder(const data::Tokenizer& tokenizer, const peft::ClipConfig& config) {
  auto start = tokenizer.specials().bos;
  if (!start) start = tokenizer.id_of("<|startoftext|>");
  if (!start) throw InvalidArgument({.where = "tokenizer", .what = "knows no start token", .expected = "a bos_token or <|startoftext|>"});
  return {.encode = [&tokenizer](const std::string& text) { return tokenizer.encode(text, data::SpecialText::kPlain); },
          .start = *start, .end = static_cast<int32_t>(config.end_token)};
}

ClassTexts class_texts(const std::vector<std::string>& classes, const TextEncoder& encoder, const CloudConfig& config) {
  if (classes.empty()) throw InvalidArgument({.where = "classes", .what = "are missing"});
  const auto attributes = read_attributes(config.attributes);
  const auto place = config.text.find("{}");
  ClassTexts texts;
  const bool written = config.mode == CloudMode::kOurs || !in_text(config.prompts);
  texts.context = written ? encoder.encode(config.text.substr(0, place))
                          : std::vector<int32_t>(static_cast<size_t>(config.context_tokens), encoder.start);
  for (const auto& name : classes) {
    const auto rest = encoder.encode(name + (written ? config.text.substr(place + 2) : " ."));
    texts.names.push_back(joined({{encoder.start}, texts.context, rest, {encoder.end}}));
    auto& descriptions = texts.descriptions.emplace_back();
    for (const auto& what : described(name, attributes, config.attributes))
      descriptions.push_back(joined({{encoder.start}, encoder.encode(filled(config.description, what)), {encoder.end}}));
  }
  return texts;
}

}  // namespace graft::pipelines
