// Readers against damaged files: a graft::Error may come out and nothing else, views stay inside the file, memory stays in bounds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "peft_core/formats/gguf.h"
#include "peft_core/formats/safetensors.h"
#include "tests/support/mutate.h"
#include "tests/support/temp_dir.h"

namespace graft::formats {
namespace {

using graft::testing::fuzz_count;
using graft::testing::fuzz_reader;
using graft::testing::FuzzReport;
using graft::testing::read_text;
using graft::testing::TempDir;
using graft::testing::write_text;

constexpr size_t kUsualCount = 10000;
// The largest damaged file has 0.5 MB (deep nesting); a reader that believed a number in it would want gigabytes.
constexpr long kMostMemory = (128L << 20) + graft::testing::kQuarantine;

void expect_sound(const FuzzReport& report, size_t count) {
  EXPECT_THAT(report.failures, ::testing::IsEmpty());
  EXPECT_EQ(report.accepted + report.refused + report.failures.size(), count);
  // A harness whose damage never bites, or always, tests little.
  EXPECT_GT(report.refused, count / 4);
  EXPECT_GT(report.accepted, count / 100);
  EXPECT_LT(report.grown_bytes, kMostMemory);
  ::testing::Test::RecordProperty("grown_bytes", std::to_string(report.grown_bytes));
  ::testing::Test::RecordProperty("accepted", std::to_string(report.accepted));
}

/// Reads every byte, so that a view outside the file cannot go unnoticed.
void touch(std::span<const std::byte> bytes, const std::vector<std::shared_ptr<const MappedFile>>& files) {
  bool inside = bytes.empty();
  for (const auto& file : files) {
    const auto whole = file->bytes();
    inside = inside || (bytes.data() >= whole.data() && bytes.data() + bytes.size() <= whole.data() + whole.size());
  }
  if (!inside) throw std::logic_error("a tensor lies outside its file");
  unsigned sum = 0;
  for (const auto byte : bytes) sum += static_cast<unsigned>(byte);
  asm volatile("" : : "r"(sum));  // so that the loop is not optimised away
}

/// Not over the old file: some file systems flush what is truncated and written again, which takes milliseconds.
void put(const std::filesystem::path& file, const std::string& bytes) {
  std::filesystem::remove(file);
  write_text(file, bytes);
}

std::vector<std::string> safetensors_originals() {
  const TempDir dir;
  const std::vector<float> floats(96, 1.25f);
  const std::vector<uint8_t> small(37, 7);
  const auto bytes = std::as_bytes(std::span(floats));
  const auto rest = std::as_bytes(std::span(small));
  write_safetensors(dir / "a.safetensors", {{"model.a.weight", {DType::kF32, {12, 8}, bytes}}, {"model.a.bias", {DType::kBF16, {3, 64}, bytes}},
                                            {"codes", {DType::kU8, {37}, rest}}, {"none", {DType::kI64, {0}, {}}}},
                    {{"format", "pt"}});
  write_safetensors(dir / "b.safetensors", {{"x", {DType::kF16, {1, 192}, bytes}}});
  return {read_text(dir / "a.safetensors"), read_text(dir / "b.safetensors")};
}

TEST(Fuzz, DamagedSafetensorsAreRefusedOrRead) {
  const TempDir dir;
  const auto count = fuzz_count(kUsualCount);
  const auto report = fuzz_reader(safetensors_originals(), count, 1, {"F32", "BF16", "F16", "U8", "I64", "F8_E4M3", "dtype", "shape", "data_offsets", "__metadata__"},
                                  [&](const std::string& bytes) {
                                    put(dir / "x.safetensors", bytes);
                                    const auto file = SafetensorsFile::open(dir / "x.safetensors");
                                    for (const auto& [name, tensor] : file.tensors()) touch(tensor.bytes, file.files());
                                  });
  expect_sound(report, count);
}

TEST(Fuzz, DamagedIndexesOfShardsAreRefusedOrRead) {
  const TempDir dir;
  const auto originals = safetensors_originals();
  write_text(dir / "model-00001-of-00002.safetensors", originals[0]);
  write_text(dir / "model-00002-of-00002.safetensors", originals[1]);
  std::string index = R"({"metadata": {"total_size": 1189}, "weight_map": {"x": "model-00002-of-00002.safetensors")";
  for (const std::string name : {"model.a.weight", "model.a.bias", "codes", "none"}) index += ", \"" + name + "\": \"model-00001-of-00002.safetensors\"";
  index += "}}";
  const auto count = fuzz_count(kUsualCount);
  const auto report = fuzz_reader({index}, count, 2, {"model-00001-of-00002", "model-00002-of-00002", "../x", "weight_map", "metadata", "codes"},
                                  [&](const std::string& bytes) {
                                    put(dir / "model.safetensors.index.json", bytes);
                                    SafetensorsFile::open_folder(dir.path());
                                  });
  expect_sound(report, count);
}

std::vector<std::string> gguf_originals() {
  const TempDir dir;
  const std::vector<uint8_t> raw(4096, 0x11);
  const auto bytes = std::as_bytes(std::span(raw));
  const std::vector<GgufEntry> entries = {{"general.architecture", GgufScalar::kString, std::string("llama")},
                                          {"llama.block_count", GgufScalar::kU32, int64_t{2}},
                                          {"llama.rope.freq_base", GgufScalar::kF32, 10000.0},
                                          {"tokenizer.ggml.tokens", GgufScalar::kString, std::vector<std::string>{"<s>", "a", "b", "ab"}},
                                          {"tokenizer.ggml.scores", GgufScalar::kF32, std::vector<double>{0, -1, -2, -3}},
                                          {"tokenizer.ggml.token_type", GgufScalar::kI32, std::vector<int64_t>{3, 1, 1, 1}},
                                          {"tokenizer.ggml.add_bos_token", GgufScalar::kBool, true}};
  using kernels::GgmlType;
  const std::vector<GgufTensor> tensors = {{"token_embd.weight", GgmlType::kF32, {4, 8}, bytes.first(128)},
                                           {"blk.0.attn_q.weight", GgmlType::kQ4_K, {2, 256}, bytes.first(288)},
                                           {"blk.0.attn_k.weight", GgmlType::kQ8_0, {3, 32}, bytes.first(102)},
                                           {"blk.0.ffn_up.weight", GgmlType::kQ6_K, {1, 256}, bytes.first(210)},
                                           {"output_norm.weight", GgmlType::kF16, {5}, bytes.first(10)}};
  write_gguf(dir / "a.gguf", entries, tensors);
  write_gguf(dir / "b.gguf", {}, std::span(tensors).subspan(2, 1));
  return {read_text(dir / "a.gguf"), read_text(dir / "b.gguf")};
}

TEST(Fuzz, DamagedGgufFilesAreRefusedOrRead) {
  const TempDir dir;
  const auto count = fuzz_count(kUsualCount);
  const auto report = fuzz_reader(gguf_originals(), count, 3, {"GGUF", "general.architecture", "general.alignment", "attn_q", "attn_k", "tokens"},
                                  [&](const std::string& bytes) {
                                    put(dir / "x.gguf", bytes);
                                    const auto file = GgufFile::open(dir / "x.gguf");
                                    for (const auto& [name, tensor] : file.tensors()) {
                                      touch(tensor.bytes, {file.file()});
                                      const auto layout = kernels::block_layout(tensor.type);
                                      std::vector<float> values(tensor.bytes.size() / layout.bytes * layout.elements);
                                      kernels::dequantize_blocks(tensor.type, tensor.bytes, values);
                                    }
                                  });
  expect_sound(report, count);
}

TEST(Fuzz, TheSameSeedGivesTheSameDamage) {
  graft::testing::Mutator one(5), two(5);
  const std::string original(300, 'a');
  for (int i = 0; i < 50; ++i) EXPECT_EQ(one.mutate(original), two.mutate(original));
}

}  // namespace
}  // namespace graft::formats
