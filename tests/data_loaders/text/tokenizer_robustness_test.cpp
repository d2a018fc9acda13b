#include <gtest/gtest.h>

#include <algorithm>

#include "data_loaders/text/clip_tokenizer_writer.h"
#include "data_loaders/text/tokenizer.h"
#include "kernels/base/error.h"
#include "peft_core/formats/gguf.h"
#include "tests/data_loaders/text/small_tokenizers.h"
#include "tests/support/mutate.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace graft::data {
namespace {

using testing::TempDir;

// Reading a damaged file may succeed; what then comes out must still work or complain.
void read_and_use(const std::filesystem::path& file, const std::string& bytes) {
  testing::write_text(file, bytes);
  const auto tokenizer = load_tokenizer(file);
  std::vector<TokenId> ids = tokenizer->encode("The plant's  12 水稻 \xF0\x9F\x8C\xBE<|end|></s> aaaaaaaaaaaaaaaaaaaaaaaa\r\n");
  if (ids.size() > 1000) ids.resize(1000);
  tokenizer->decode(ids);
}

void expect_survival(const std::vector<std::string>& originals, const std::string& name, size_t count, uint64_t seed,
                     const std::vector<std::string>& words) {
  const TempDir folder;
  const size_t tries = testing::fuzz_count(count);
  const auto report = testing::fuzz_reader(originals, tries, seed, words,
                                           [&](const std::string& bytes) { read_and_use(folder / name, bytes); });
  for (const auto& failure : report.failures) ADD_FAILURE() << failure;
  EXPECT_GT(report.refused, tries / 20);
  // A file of some ten kilobytes has no business with more; the allowance covers allocators and the widest permitted id table.
  EXPECT_LT(report.grown_bytes, (256L << 20) + testing::kQuarantine);
}

TEST(TokenizerRobustness, DamagedTokenizerJsonIsRefusedOrUsable) {
  const auto gpt2 = testing::byte_level_json({"t h", "th e", "a a", "aa aa"}, {"<|end|>"});
  std::string split = gpt2;
  const std::string plain = R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";
  ASSERT_NE(split.find(plain), std::string::npos);
  split.replace(split.find(plain), plain.size(),
                R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true},{"type":"Metaspace","replacement":"_","prepend_scheme":"first"},{"type":"ByteLevel","use_regex":false}]})");
  expect_survival({gpt2, split, testing::llama_json({"t h", "th e", "\u2581 t"})}, "tokenizer.json", 1500, 11,
                  {"ByteLevel", "Split", "Sequence", "BPE", "Isolated", "Removed", "Contiguous", "Digits", "Metaspace", "Replace", "Prepend", "Strip", "Fuse",
                   "ByteFallback", "true", "false", "null", "NFC", "Lowercase"});
}

TEST(TokenizerRobustness, DamagedSentencePieceModelIsRefusedOrUsable) {
  expect_survival({testing::sentencepiece_bytes({"\u2581", "t", "h", "e", "th", "the", "\u2581the", "a", "aa", "aaaa"})}, "tokenizer.model", 1500, 12, {});
}

TEST(TokenizerRobustness, DamagedCharacterMapIsRefusedOrUsable) {
  const auto file = testing::shared_dir() / "data" / "tokenizers" / "sentencepiece" / "test_model.model";
  GRAFT_SKIP_UNLESS_EXISTS(file);
  const auto unigram = testing::read_text(file);
  expect_survival({unigram}, "tokenizer.model", 300, 13, {});
}

TEST(TokenizerRobustness, DamagedTiktokenFileIsRefusedOrUsable) {
  std::string lines;
  for (const char* line : {"AA==", "AQ==", "YQ==", "Yg==", "YWI=", "YWFh", "YWE=", "dGhl", "IHQ="}) lines += std::string(line) + " " + std::to_string(std::count(lines.begin(), lines.end(), '\n')) + "\n";
  expect_survival({lines}, "tokenizer.model", 1500, 14, {});
}

TEST(TokenizerRobustness, DamagedClipMergesAreRefusedOrUsable) {
  const std::string list = "\"bpe#version: 0.2\nt h\nth e</w>\na a\naa aa\n\u00E6 \u00B0</w>\np l\npl a\n";
  expect_survival({list}, "list.txt", 1500, 16, {"</w>", "#version"});
}

TEST(TokenizerRobustness, DamagedClipFolderIsRefusedOrUsable) {
  const TempDir made;
  write_small_clip_tokenizer(made.path(), std::vector<std::string>{"the plant", "cat", "12"});
  const auto json = testing::read_text(made / "tokenizer.json");
  expect_survival({json}, "tokenizer.json", 500, 17, {"ByteLevel", "RobertaProcessing", "Split", "Sequence", "</w>", "NFC", "Lowercase", "Replace", "true", "false", "null"});
}

TEST(TokenizerRobustness, DamagedGzipIsRefusedOrUsable) {
  const auto file = testing::shared_dir() / "data" / "tokenizers" / "clip" / "bpe_simple_vocab_16e6.txt.gz";
  GRAFT_SKIP_UNLESS_EXISTS(file);
  expect_survival({testing::read_text(file)}, "list.txt.gz", 60, 18, {});
}

std::string small_gguf(const std::string& kind) {
  using formats::GgufEntry;
  using formats::GgufScalar;
  const TempDir folder;
  const std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "t", "h", "e", "th", "the", "\u2581", "a", "aa"};
  const std::string key = "tokenizer.ggml.";
  const std::vector<GgufEntry> entries = {
      {"general.architecture", GgufScalar::kString, std::string("llama")},
      {key + "model", GgufScalar::kString, kind},
      {key + "pre", GgufScalar::kString, std::string("llama-bpe")},
      {key + "tokens", GgufScalar::kString, tokens},
      {key + "token_type", GgufScalar::kI32, std::vector<int64_t>{2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
      {key + "scores", GgufScalar::kF32, std::vector<double>{0, 0, 0, -1, -2, -3, -4, -5, -6, -7, -8}},
      {key + "merges", GgufScalar::kString, std::vector<std::string>{"t h", "th e", "a a"}},
      {key + "eos_token_id", GgufScalar::kU32, uint64_t{2}},
      {key + "unknown_token_id", GgufScalar::kU32, uint64_t{0}},
      {key + "add_bos_token", GgufScalar::kBool, true}};
  formats::write_gguf(folder / "m.gguf", entries, {});
  return testing::read_text(folder / "m.gguf");
}

TEST(TokenizerRobustness, DamagedGgufMetadataIsRefusedOrUsable) {
  expect_survival({small_gguf("gpt2"), small_gguf("llama")}, "m.gguf", 1500, 15, {"gpt2", "llama", "llama-bpe", "tokens", "merges", "scores"});
}

}  // namespace
}  // namespace graft::data
