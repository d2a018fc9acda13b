#include "data_loaders/text/tokenizer_fingerprint.h"

#include <algorithm>

#include "peft_core/base/files.h"
#include "peft_core/base/sha256.h"
#include "peft_core/formats/gguf.h"

namespace graft::data {
namespace {

namespace fs = std::filesystem;

// Behind the header come the weights, which may be gigabytes and have no say in the ids.
std::string gguf_header_hash(const fs::path& path) {
  const auto file = formats::GgufFile::open(path);
  const auto whole = file.file()->bytes();
  size_t header = whole.size();
  for (const auto& [name, tensor] : file.tensors())
    if (!tensor.bytes.empty()) header = std::min(header, static_cast<size_t>(tensor.bytes.data() - whole.data()));
  return sha256_hex(whole.first(header));
}

}  // namespace

std::string tokenizer_fingerprint(const fs::path& path) {
  if (!fs::is_directory(path)) return path.extension() == ".gguf" ? gguf_header_hash(path) : sha256_of_file(path);
  Sha256 hash;
  const auto add = [&](const char* name) {
    if (!fs::exists(path / name)) return false;
    hash.add(std::string(name) + " " + sha256_of_file(path / name) + "\n");
    return true;
  };
  const bool whole = add("tokenizer.json"), model = add("tokenizer.model");
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}) add(name);
  if (!whole && !model)  // only then does load_tokenizer look at these
    for (const char* name : {"vocab.json", "merges.txt", "bpe_simple_vocab_16e6.txt.gz"}) add(name);
  return hash.hex();
}

}  // namespace graft::data
