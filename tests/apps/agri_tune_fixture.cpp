#include "tests/apps/agri_tune_fixture.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/agri_tune/agri_tune.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "tests/data_loaders/text/small_tokenizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"

namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json config_json(const peft::DecoderConfig& config, const std::string& model_type) {
  return {{"model_type", model_type}, {"hidden_size", config.hidden_size}, {"num_hidden_layers", config.layers},
          {"num_attention_heads", config.heads}, {"num_key_value_heads", config.key_value_heads}, {"head_dim", config.head_size},
          {"intermediate_size", config.intermediate_size}, {"vocab_size", config.vocabulary},
          {"max_position_embeddings", config.max_positions}, {"rms_norm_eps", config.norm_epsilon},
          {"rope_theta", config.rope_theta}, {"tie_word_embeddings", config.tied_head}};
}

const Words kCrops = {"wheat", "rice", "maize", "barley", "cotton", "potato"};
const Words kNeeds = {"two bags of urea", "a dry seed bed", "water each week", "shade at noon"};

template <class Row>
fs::path write_json_rows(const fs::path& file, int first, int count, Row row) {
  std::string text;
  for (int i = first; i < first + count; ++i) text += row(i).dump() + "\n";
  write_text(file, text);
  return file;
}

std::string pick(const Words& words, int i) { return words[static_cast<size_t>(i) % words.size()]; }

}  // namespace

std::string Outcome::error() const {
  std::istringstream lines(err);
  std::string found;
  for (std::string line; std::getline(lines, line);) {
    const auto at = line.find("error: ");
    if (at == std::string::npos) continue;
    if (!found.empty()) return {};
    found = line.substr(at);
  }
  return found;
}

Outcome agri_tune(const Words& arguments) {
  std::ostringstream out, err;
  const int code = pipelines::run_app(apps::agri_tune(), arguments, out, err);
  return {code, out.str(), err.str()};
}

fs::path TinyFolder::write(const fs::path& folder) const {
  auto config = tiny_config("llama");
  config.vocabulary = vocabulary;
  TinyWeights weights(config, seed);
  if (spoil) {
    auto& weight = weights.tensors().at("model.layers.0.mlp.down_proj.weight");
    spoil(weight.mutable_data_ptr<float>(), static_cast<size_t>(weight.numel()));
  }
  fs::create_directories(folder);
  peft::write_tensors(folder / "model.safetensors", weights.tensors(), {{"format", "pt"}});
  write_text(folder / "config.json", config_json(config, model_type).dump());
  write_text(folder / "tokenizer.json", byte_level_json({}, {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}));
  write_text(folder / "tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
  return folder;
}

fs::path write_rows(const fs::path& file, int first, int count) {
  return write_json_rows(file, first, count, [](int i) {
    return Json{{"instruction", "What does the " + pick(kCrops, i) + " of field " + std::to_string(i) + " need?"},
                {"output", "It needs " + pick(kNeeds, i) + "."}};
  });
}

fs::path write_choice_rows(const fs::path& file, int count) {
  return write_json_rows(file, 0, count, [](int i) {
    return Json{{"question", "Which one grows in field " + std::to_string(i) + "?"},
                {"choices", {kCrops[0], kCrops[1], kCrops[2], kCrops[3]}},
                {"answer", std::string(1, static_cast<char>('A' + i % 4))}};
  });
}

Words quick_settings() {
  Words words;
  for (const char* setting : {"train.max_steps=6", "train.batch_size=2", "train.max_length=128", "train.learning_rate=0.01",
                              "method.rank=4", "base.dtype=fp32", "data.cache=false", "run.threads=1"}) {
    words.emplace_back("--set");
    words.emplace_back(setting);
  }
  return words;
}

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string timeless_metrics(const fs::path& run) {
  std::string text;
  for (auto& line : json_lines_of(run / "metrics.jsonl")) {
    for (const char* key : {"seconds", "tokens_per_second", "peak_memory_bytes"}) line.erase(key);
    text += line.dump() + "\n";
  }
  return text;
}

Json json_of(const fs::path& file) { return Json::parse(read_text(file)); }

std::vector<Json> json_lines_of(const fs::path& file) {
  std::istringstream text(read_text(file));
  std::vector<Json> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

}  // namespace graft::testing
