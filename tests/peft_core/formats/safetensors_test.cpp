#include "peft_core/formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft::formats {
namespace {

using ::testing::HasSubstr;
using TestDir = graft::testing::TempDir;
using graft::testing::write_text;

/// A file from its two parts: the header's length is put before them.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::string complaint_about(const std::string& content) {
  const TestDir dir;
  write_text(dir / "bad.safetensors", content);
  try {
    SafetensorsFile::open(dir / "bad.safetensors");
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr("bad.safetensors"));
    return error.what();
  }
  return "accepted";
}

std::string complaint_about_header(const std::string& header) { return complaint_about(file_of(header, std::string(8, 'x'))); }

template <class T>
TensorBytes tensor(DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  return {dtype, std::move(shape), std::as_bytes(std::span(values))};
}

TEST(Safetensors, WhatIsWrittenIsReadAgain) {
  const TestDir dir;
  const std::vector<float> floats = {1.5f, -2.0f, 0.0f, 3.25f, 4.0f, 5.0f};
  const std::vector<uint8_t> bytes = {7, 8, 9};
  const std::vector<int64_t> wide = {-1};
  const Metadata metadata = {{"format", "pt"}, {"note", "quote \" and Größe"}};
  write_safetensors(dir / "a.safetensors",
                    {{"z.weight", tensor(DType::kF32, {2, 3}, floats)}, {"a", tensor(DType::kU8, {3}, bytes)},
                     {"scalar", tensor(DType::kI64, {}, wide)}, {"empty", tensor(DType::kF16, {0, 5}, std::vector<uint16_t>())}},
                    metadata);
  const auto file = SafetensorsFile::open(dir / "a.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), 4u);
  const auto& weight = file.tensors().at("z.weight");
  EXPECT_EQ(weight.dtype, DType::kF32);
  EXPECT_THAT(weight.shape, ::testing::ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(weight.bytes.data(), floats.data(), weight.bytes.size()), 0);
  EXPECT_EQ(file.tensors().at("empty").bytes.size(), 0u);
  EXPECT_TRUE(file.tensors().at("scalar").shape.empty());
  for (const auto& [name, entry] : file.tensors()) {
    if (entry.bytes.empty()) continue;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(entry.bytes.data()) % size_of(entry.dtype), 0u) << name << " is not aligned";
  }
}

TEST(Safetensors, TheSameTensorsGiveTheSameBytes) {
  const TestDir dir;
  const std::vector<float> values = {1, 2};
  const std::map<std::string, TensorBytes> tensors = {{"b", tensor(DType::kF32, {2}, values)}, {"a", tensor(DType::kF32, {2}, values)}};
  write_safetensors(dir / "1.safetensors", tensors, {{"k", "v"}});
  write_safetensors(dir / "2.safetensors", tensors, {{"k", "v"}});
  EXPECT_EQ(graft::testing::read_text(dir / "1.safetensors"), graft::testing::read_text(dir / "2.safetensors"));
}

TEST(Safetensors, DamagedFilesAreNamedErrors) {
  EXPECT_THAT(complaint_about(""), HasSubstr("too short"));
  EXPECT_THAT(complaint_about("1234567"), HasSubstr("too short"));
  EXPECT_THAT(complaint_about(std::string(8, '\xff')), HasSubstr("too large"));
  EXPECT_THAT(complaint_about(file_of("{}", "").replace(0, 1, "\x64")), HasSubstr("truncated"));
  EXPECT_THAT(complaint_about(file_of("[]", "")), HasSubstr("start with {"));
  EXPECT_THAT(complaint_about_header("{"), HasSubstr("JSON"));
  EXPECT_THAT(complaint_about_header("{} x"), HasSubstr("JSON"));
  EXPECT_THAT(complaint_about_header(R"({"a": 5})"), HasSubstr("plain value"));
  EXPECT_THAT(complaint_about_header("{\"a\":" + std::string(1 << 20, '[')), HasSubstr("array"));
  EXPECT_THAT(complaint_about_header(R"({"a":{"b":{"c":{}}}})"), HasSubstr("\"a\""));
  EXPECT_EQ(complaint_about(file_of("{}  ", "")), "accepted");
}

TEST(Safetensors, DamagedEntriesNameTheirTensor) {
  const auto entry = [](const std::string& body) { return complaint_about_header("{\"t\":{" + body + "}}"); };
  EXPECT_EQ(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), "accepted");
  EXPECT_THAT(entry(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])"), ::testing::AllOf(HasSubstr("\"t\""), HasSubstr("BF16")));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[2])"), HasSubstr("needs"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), HasSubstr("12"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,9])"), HasSubstr("too many"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[2],"data_offsets":[8])"), HasSubstr("begin and end"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), HasSubstr("ends before"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), HasSubstr("beyond the end"));
  EXPECT_THAT(entry(R"("dtype":"U8","shape":[4],"data_offsets":[4,8])"), HasSubstr("gap"));
  EXPECT_THAT(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])"), HasSubstr("after its last"));
  EXPECT_THAT(entry(R"("dtype":"U8","shape":[-8],"data_offsets":[0,8])"), HasSubstr("counts"));
  EXPECT_THAT(entry(R"("dtype":"U8","shape":[8.0],"data_offsets":[0,8])"), HasSubstr("counts"));
  EXPECT_THAT(entry(R"("dtype":"U8","shape":[4294967296,4294967296,8],"data_offsets":[0,8])"), HasSubstr("too large"));
  EXPECT_THAT(entry(R"("dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1)"), HasSubstr("unknown"));
  EXPECT_THAT(entry(R"("dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8])"), HasSubstr("twice"));
  EXPECT_THAT(complaint_about_header(R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})"),
              ::testing::AllOf(HasSubstr("\"b\""), HasSubstr("overlaps")));
  EXPECT_THAT(complaint_about_header(R"({"__metadata__":{"a":1}})"), HasSubstr("not text"));
}

TEST(Safetensors, WritingWhatIsWrongIsRefused) {
  const TestDir dir;
  const std::vector<float> values = {1, 2};
  const auto write = [&](const std::string& name, std::vector<int64_t> shape) {
    write_safetensors(dir / "x.safetensors", {{name, tensor(DType::kF32, std::move(shape), values)}});
  };
  EXPECT_THROW(write("a", {3}), InvalidArgument);
  EXPECT_THROW(write("__metadata__", {2}), InvalidArgument);
  EXPECT_THROW(write("not \xff utf-8", {2}), InvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(dir / "x.safetensors"));
}

class ShardedFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<float> values = {1, 2};
    write_safetensors(dir / "model-00001-of-00002.safetensors", {{"a", tensor(DType::kF32, {2}, values)}});
    write_safetensors(dir / "model-00002-of-00002.safetensors", {{"b", tensor(DType::kF32, {1, 2}, values)}});
    index(R"({"metadata":{"total_size":16,"x":[1]},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
  }
  void index(const std::string& json) { write_text(dir / "model.safetensors.index.json", json); }
  std::string complaint() {
    try {
      SafetensorsFile::open_folder(dir.path());
    } catch (const IoError& error) {
      return error.what();
    }
    return "accepted";
  }
  TestDir dir;
};

TEST_F(ShardedFolder, IsReadAsOne) {
  const auto file = SafetensorsFile::open_folder(dir.path());
  EXPECT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.files().size(), 2u);
  EXPECT_THAT(file.tensors().at("b").shape, ::testing::ElementsAre(1, 2));
}

TEST_F(ShardedFolder, MissingAndStrayPartsAreNamed) {
  index(R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}})");
  EXPECT_THAT(complaint(), HasSubstr("\"c\""));
  index(R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors","x":"model-00002-of-00002.safetensors"}})");
  EXPECT_THAT(complaint(), HasSubstr("\"b\""));
  index(R"({"weight_map":{"a":"model-00001-of-00002.safetensors"}})");
  EXPECT_THAT(complaint(), HasSubstr("model-00002-of-00002"));
  SetUp();
  std::filesystem::remove(dir / "model-00002-of-00002.safetensors");
  EXPECT_THAT(complaint(), HasSubstr("model-00002-of-00002"));
}

TEST_F(ShardedFolder, ShardNamesThatLeaveTheFolderAreRefused) {
  for (const std::string name : {"../a.safetensors", "/etc/a.safetensors", "sub/a.safetensors", "..\\\\a.safetensors", "", ".safetensors", "a.bin",
                                 "a\\u0000.safetensors"}) {
    index(R"({"weight_map":{"a":")" + name + R"("}})");
    EXPECT_THAT(complaint(), HasSubstr("not a file of its folder")) << name;
  }
}

TEST_F(ShardedFolder, ADamagedIndexIsANamedError) {
  for (const std::string json : {"", "[]", "{}", "{\"weight_map\":{}}", "{\"weight_map\":[]}", "{\"weight_map\":{\"a\":1}}", "{\"weight_map\":5}",
                                 "{\"weight_map\":{\"a\":{}}}", "5"}) {
    index(json);
    EXPECT_THAT(complaint(), HasSubstr("index.json")) << json;
  }
  index("{\"metadata\":" + std::string(100000, '['));
  EXPECT_THAT(complaint(), HasSubstr("deeper"));
}

TEST(Safetensors, AFolderWithoutWeightsSaysWhatItLooksFor) {
  const TestDir dir;
  try {
    SafetensorsFile::open_folder(dir.path());
    FAIL();
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr("model.safetensors"));
  }
}

}  // namespace
}  // namespace graft::formats
