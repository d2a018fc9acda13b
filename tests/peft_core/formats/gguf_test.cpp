#include "peft_core/formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace graft::formats {
namespace {

using kernels::GgmlType;
using ::testing::HasSubstr;
using TestDir = graft::testing::TempDir;

/// Puts a GGUF file together piece by piece, right or wrong.
struct Pieces {
  std::string bytes = "GGUF";
  template <class T>
  Pieces& add(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Pieces& text(const std::string& value) {
    add<uint64_t>(value.size());
    bytes += value;
    return *this;
  }
  Pieces& head(uint64_t tensors, uint64_t entries, uint32_t version = 3) { return add(version).add(tensors).add(entries); }
  Pieces& tensor(const std::string& name, std::vector<uint64_t> extents, uint32_t type, uint64_t offset) {
    text(name).add(static_cast<uint32_t>(extents.size()));
    for (const auto extent : extents) add(extent);
    return add(type).add(offset);
  }
  Pieces& data(size_t size) {
    bytes.resize((bytes.size() + 31) / 32 * 32 + size, 'd');
    return *this;
  }
};

std::string complaint_about(const Pieces& pieces) {
  const TestDir dir;
  graft::testing::write_text(dir / "bad.gguf", pieces.bytes);
  try {
    GgufFile::open(dir / "bad.gguf");
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr("bad.gguf"));
    return error.what();
  }
  return "accepted";
}

std::vector<GgufEntry> all_kinds() {
  return {{"u32", GgufScalar::kU32, int64_t{4000000000}},
          {"i32", GgufScalar::kI32, int64_t{-5}},
          {"u64", GgufScalar::kU64, uint64_t{1} << 63},
          {"f32", GgufScalar::kF32, 0.5},
          {"flag", GgufScalar::kBool, true},
          {"text", GgufScalar::kString, std::string("Größe")},
          {"texts", GgufScalar::kString, std::vector<std::string>{"a", "", std::string("\0\xff", 2)}},
          {"ints", GgufScalar::kI32, std::vector<int64_t>{1, -2}},
          {"floats", GgufScalar::kF32, std::vector<double>{1.5, -2.5}},
          {"flags", GgufScalar::kBool, std::vector<bool>{true, false, true}},
          {"none", GgufScalar::kString, std::vector<std::string>{}}};
}

TEST(Gguf, WhatIsWrittenIsReadAgain) {
  const TestDir dir;
  const auto entries = all_kinds();
  const std::vector<float> floats = {1, 2, 3, 4, 5, 6};
  std::vector<std::byte> blocks(34 * 4, std::byte{1});
  const std::vector<GgufTensor> tensors = {{"f", GgmlType::kF32, {2, 3}, std::as_bytes(std::span(floats))}, {"q", GgmlType::kQ8_0, {2, 64}, blocks}};
  write_gguf(dir / "a.gguf", entries, tensors);
  const auto file = GgufFile::open(dir / "a.gguf");
  ASSERT_EQ(file.metadata().size(), entries.size());
  for (const auto& entry : entries) EXPECT_EQ(file.metadata().at(entry.key), entry.value) << entry.key;
  EXPECT_EQ(file.integer("i32"), -5);
  EXPECT_EQ(file.number("u32"), 4e9);
  EXPECT_EQ(file.text("text"), "Größe");
  EXPECT_THAT(file.texts("texts"), ::testing::SizeIs(3));
  EXPECT_THAT(file.integers("ints"), ::testing::ElementsAre(1, -2));
  EXPECT_THAT(file.numbers("ints"), ::testing::ElementsAre(1.0, -2.0));
  EXPECT_THAT(file.tensors().at("f").shape, ::testing::ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(file.tensors().at("f").bytes.data(), floats.data(), 24), 0);
  EXPECT_EQ(file.tensors().at("q").bytes.size(), blocks.size());
}

TEST(Gguf, AccessOfTheWrongKindNamesKeyAndKinds) {
  const TestDir dir;
  const auto entries = all_kinds();
  write_gguf(dir / "a.gguf", entries, {});
  const auto file = GgufFile::open(dir / "a.gguf");
  const auto complaint = [&](auto access) -> std::string {
    try {
      access();
    } catch (const IoError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(complaint([&] { file.text("u32"); }), ::testing::AllOf(HasSubstr("\"u32\""), HasSubstr("text"), HasSubstr("integer"), HasSubstr("a.gguf")));
  EXPECT_THAT(complaint([&] { file.integer("absent"); }), HasSubstr("absent"));
  EXPECT_THAT(complaint([&] { file.integer("u64"); }), HasSubstr("63 bits"));
  EXPECT_THAT(complaint([&] { file.number("text"); }), HasSubstr("number"));
  EXPECT_THAT(complaint([&] { file.integers("floats"); }), HasSubstr("list of integers"));
  EXPECT_THAT(complaint([&] { file.texts("ints"); }), HasSubstr("list of texts"));
}

TEST(Gguf, WritingWhatIsWrongIsRefused) {
  const TestDir dir;
  const std::vector<float> floats(64);
  const auto bytes = std::as_bytes(std::span(floats));
  const auto write = [&](std::vector<GgufEntry> entries, std::vector<GgufTensor> tensors) { write_gguf(dir / "x.gguf", entries, tensors); };
  EXPECT_THROW(write({{"a", GgufScalar::kU32, int64_t{-1}}}, {}), InvalidArgument);
  EXPECT_THROW(write({{"a", GgufScalar::kI32, int64_t{1} << 31}}, {}), InvalidArgument);
  EXPECT_THROW(write({{"a", GgufScalar::kU32, std::string("x")}}, {}), InvalidArgument);
  EXPECT_THROW(write({{"a", GgufScalar::kU32, int64_t{1}}, {"a", GgufScalar::kU32, int64_t{1}}}, {}), InvalidArgument);
  EXPECT_THROW(write({}, {{"t", GgmlType::kF32, {63}, bytes}}), InvalidArgument);
  EXPECT_THROW(write({}, {{"t", GgmlType::kQ8_0, {16, 16}, bytes}}), InvalidArgument);
  EXPECT_THROW(write({}, {{"t", GgmlType::kF32, {64}, bytes}, {"t", GgmlType::kF32, {64}, bytes}}), InvalidArgument);
  EXPECT_THROW(write({}, {{std::string(64, 'n'), GgmlType::kF32, {64}, bytes}}), InvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(dir / "x.gguf"));
}

TEST(Gguf, DamagedHeadsAreNamedErrors) {
  EXPECT_EQ(complaint_about(Pieces().head(0, 0)), "accepted");
  EXPECT_EQ(complaint_about(Pieces().head(0, 0, 2)), "accepted");
  EXPECT_THAT(complaint_about({.bytes = ""}), HasSubstr("truncated"));
  EXPECT_THAT(complaint_about({.bytes = "GGML1234"}), HasSubstr("not a GGUF"));
  EXPECT_THAT(complaint_about(Pieces().head(0, 0, 1)), HasSubstr("version 1"));
  EXPECT_THAT(complaint_about(Pieces().head(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_THAT(complaint_about(Pieces().head(1ull << 60, 0)), HasSubstr("more tensors"));
  EXPECT_THAT(complaint_about(Pieces().head(0, 1ull << 60)), HasSubstr("more metadata"));
}

TEST(Gguf, DamagedMetadataNamesItsKey) {
  const auto entry = [](const std::string& key, uint32_t type) {
    Pieces pieces;
    pieces.head(0, 1).text(key).add(type);
    return pieces;
  };
  EXPECT_THAT(complaint_about(Pieces().head(0, 1).text("").add<uint32_t>(0).add<uint8_t>(1)), HasSubstr("without a key"));
  EXPECT_THAT(complaint_about(entry("k", 13).add<uint64_t>(1)), ::testing::AllOf(HasSubstr("\"k\""), HasSubstr("unknown type 13")));
  EXPECT_THAT(complaint_about(entry("k", 7).add<uint8_t>(2)), HasSubstr("neither 0 nor 1"));
  EXPECT_THAT(complaint_about(entry("k", 8).add<uint64_t>(1000)), HasSubstr("truncated"));
  EXPECT_THAT(complaint_about(entry("k", 8).add<uint64_t>(~0ull)), HasSubstr("too long"));
  EXPECT_THAT(complaint_about(entry("k", 9).add<uint32_t>(8).add<uint64_t>(1ull << 40)), HasSubstr("array elements"));
  EXPECT_THAT(complaint_about(entry("k", 9).add<uint32_t>(9).add<uint64_t>(0)), HasSubstr("array of arrays"));
  EXPECT_THAT(complaint_about(Pieces().head(0, 2).text("k").add<uint32_t>(7).add<uint8_t>(1).text("k").add<uint32_t>(7).add<uint8_t>(1)),
              HasSubstr("twice"));
  for (const uint32_t alignment : {0u, 24u, 1u << 30}) {
    EXPECT_THAT(complaint_about(entry("general.alignment", 4).add(alignment)), HasSubstr("alignment")) << alignment;
  }
}

TEST(Gguf, DamagedTensorsAreNamed) {
  const auto one = [](std::vector<uint64_t> extents, uint32_t type, uint64_t offset, size_t data) {
    return complaint_about(Pieces().head(1, 0).tensor("t", std::move(extents), type, offset).data(data));
  };
  EXPECT_EQ(one({32}, 8, 0, 34), "accepted");
  EXPECT_EQ(one({32}, 8, 0, 64), "accepted");
  EXPECT_THAT(one({32}, 8, 0, 65), HasSubstr("after its last"));
  EXPECT_THAT(one({32}, 8, 0, 33), ::testing::AllOf(HasSubstr("\"t\""), HasSubstr("beyond the end")));
  EXPECT_THAT(one({16, 2}, 8, 0, 34), HasSubstr("whole blocks"));
  EXPECT_THAT(one({32}, 10, 0, 34), ::testing::AllOf(HasSubstr("type 10"), HasSubstr("Q4_K")));
  EXPECT_THAT(one({0}, 0, 0, 34), HasSubstr("extent"));
  EXPECT_THAT(one({1ull << 63}, 0, 0, 34), HasSubstr("extent"));
  EXPECT_THAT(one({1ull << 40, 1ull << 40}, 0, 0, 34), HasSubstr("too large"));
  EXPECT_THAT(one({1ull << 62}, 0, 0, 34), HasSubstr("too large"));
  EXPECT_THAT(one({1, 1, 1, 1, 1}, 0, 0, 34), HasSubstr("5 dimensions"));
  EXPECT_THAT(one({8}, 0, 32, 64), HasSubstr("does not follow"));
  EXPECT_THAT(one({8}, 0, ~0ull - 8, 64), HasSubstr("beyond the end"));
  EXPECT_THAT(complaint_about(Pieces().head(2, 0).tensor("a", {16}, 0, 0).tensor("b", {16}, 0, 32).data(128)),
              ::testing::AllOf(HasSubstr("\"b\""), HasSubstr("overlaps")));
  EXPECT_THAT(complaint_about(Pieces().head(2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32).data(64)), HasSubstr("twice"));
  EXPECT_THAT(complaint_about(Pieces().head(1, 0).tensor("t", {8}, 0, 0)), HasSubstr("beyond the end"));
}

TEST(Gguf, SmolLM2HasTheRecordedTensors) {
  const auto golden_file = graft::testing::shared_dir() / "weights" / "smollm2-golden.json";
  GRAFT_SKIP_UNLESS_EXISTS(golden_file);
  GRAFT_SKIP_UNLESS_EXISTS(graft::testing::smollm2_gguf());
  const auto golden = nlohmann::json::parse(graft::testing::read_text(golden_file)).at("tensor_checks").at("tensors");
  const auto model = GgufFile::open(graft::testing::smollm2_gguf());
  EXPECT_EQ(model.tensors().size(), 272u);
  EXPECT_EQ(model.text("general.architecture"), "llama");
  ASSERT_FALSE(golden.empty());
  for (const auto& check : golden) {
    const auto& tensor = model.tensors().at(check.at("gguf_name").get<std::string>());
    EXPECT_EQ(kernels::block_layout(tensor.type).name, check.at("type").get<std::string>());
    EXPECT_EQ(tensor.shape, check.at("shape").get<std::vector<int64_t>>());
    std::vector<float> values(static_cast<size_t>(tensor.shape[0] * tensor.shape[1]));
    kernels::dequantize_blocks(tensor.type, tensor.bytes, values);
    const auto row = check.at("gguf_row1_first8").get<std::vector<float>>();
    for (size_t i = 0; i < row.size(); ++i) EXPECT_EQ(values[static_cast<size_t>(tensor.shape[1]) + i], row[i]) << tensor.name << " " << i;
    double sum = 0, squares = 0;
    for (const double value : values) {
      sum += value;
      squares += value * value;
    }
    // Sums of up to 28 million doubles in another order: relative error below n * 2^-53 of the sum of magnitudes, far under 1e-9 * l2 * sqrt(n).
    const double bound = 1e-9 * check.at("l2").get<double>() * std::sqrt(static_cast<double>(values.size()));
    EXPECT_NEAR(sum, check.at("sum").get<double>(), bound) << tensor.name;
    EXPECT_NEAR(std::sqrt(squares), check.at("l2").get<double>(), bound) << tensor.name;
  }
}

}  // namespace
}  // namespace graft::formats
