#include "tests/data_loaders/text/small_tokenizers.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "data_loaders/text/unicode_text.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

using Json = nlohmann::ordered_json;

Json added(const std::string& content, size_t id) {
  return {{"id", id}, {"content", content}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}};
}

std::string joined(const std::string& merge) {
  std::string out = merge;
  out.erase(out.find(' '), 1);
  return out;
}

std::string byte_piece(unsigned byte) {
  char text[8];
  std::snprintf(text, sizeof text, "<0x%02X>", byte);
  return text;
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_message(std::string& out, unsigned field, const std::string& bytes) {
  put_varint(out, field << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string piece_message(const std::string& text, float score, unsigned type) {
  std::string out;
  put_message(out, 1, text);
  out += '\x15';
  char raw[4];
  std::memcpy(raw, &score, 4);
  out.append(raw, 4);
  out += '\x18';
  put_varint(out, type);
  return out;
}

}  // namespace

std::string byte_level_json(const std::vector<std::string>& merges, const std::vector<std::string>& specials, const std::string& extra) {
  Json vocab, list = Json::array(), tokens = Json::array();
  for (size_t b = 0; b < 256; ++b) vocab[data::byte_characters()[b]] = b;
  for (const auto& merge : merges) {
    vocab[joined(merge)] = vocab.size();
    list.push_back(merge);
  }
  for (const auto& special : specials) tokens.push_back(added(special, vocab.size() + tokens.size()));
  if (!extra.empty())
    for (const auto& token : Json::parse(extra)) tokens.push_back(token);
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json root = {{"version", "1.0"},
                     {"added_tokens", tokens},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", byte_level},
                     {"post_processor", nullptr},
                     {"decoder", byte_level},
                     {"model", {{"type", "BPE"}, {"unk_token", nullptr}, {"vocab", vocab}, {"merges", list}}}};
  return root.dump();
}

std::string llama_json(const std::vector<std::string>& merges) {
  Json vocab, list = Json::array(), tokens = Json::array();
  for (const char* name : {"<unk>", "<s>", "</s>"}) {
    tokens.push_back(added(name, vocab.size()));
    vocab[name] = vocab.size();
  }
  for (unsigned b = 0; b < 256; ++b) vocab[byte_piece(b)] = vocab.size();
  for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = vocab.size();
  vocab["\u2581"] = vocab.size();
  for (const auto& merge : merges) {
    vocab[joined(merge)] = vocab.size();
    list.push_back(merge);
  }
  const Json space = {{"String", " "}}, mark = {{"String", "\u2581"}};
  const Json root = {
      {"version", "1.0"},
      {"added_tokens", tokens},
      {"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}, {{"type", "Replace"}, {"pattern", space}, {"content", "\u2581"}}}}}},
      {"pre_tokenizer", nullptr},
      {"post_processor", {{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}}}},
      {"decoder", {{"type", "Sequence"}, {"decoders", {{{"type", "Replace"}, {"pattern", mark}, {"content", " "}}, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}, {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"fuse_unk", true}, {"byte_fallback", true}, {"vocab", vocab}, {"merges", list}}}};
  return root.dump();
}

std::string sentencepiece_bytes(const std::vector<std::string>& pieces) {
  std::string model;
  put_message(model, 1, piece_message("<unk>", 0, 2));
  put_message(model, 1, piece_message("<s>", 0, 3));
  put_message(model, 1, piece_message("</s>", 0, 3));
  for (unsigned b = 0; b < 256; ++b) put_message(model, 1, piece_message(byte_piece(b), 0, 6));
  for (size_t i = 0; i < pieces.size(); ++i) put_message(model, 1, piece_message(pieces[i], -static_cast<float>(i), 1));
  put_message(model, 2, std::string("\x18\x02\x98\x02\x01", 5));                     // model_type = BPE, byte_fallback (field 35) = true
  put_message(model, 3, std::string("\x0A\x08identity\x18\x01\x20\x00\x28\x01", 16));  // dummy prefix, spaces kept, escaped
  return model;
}

std::shared_ptr<const data::Tokenizer> load_json(const std::string& json, const std::string& config) {
  const TempDir folder;
  write_text(folder / "tokenizer.json", json);
  if (!config.empty()) write_text(folder / "tokenizer_config.json", config);
  return data::load_tokenizer(folder.path());
}

}  // namespace graft::testing
