#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <fstream>

#include "peft_core/checkpoint/safetensors_source.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "tests/support/temp_dir.h"

namespace graft::peft {
namespace {

using testing::TempDir;

constexpr int64_t kSize = 1024;
constexpr size_t kBytes = kSize * kSize * sizeof(float);

/// How much of the mapped file stands in this process's memory, in bytes.
size_t resident(const std::filesystem::path& file) {
  std::ifstream maps("/proc/self/smaps");
  size_t total = 0;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' ')) inside = line.ends_with(file.string());  // a mapping's first line: begin-end ... file
    if (inside && line.starts_with("Rss:")) total += std::stoull(line.substr(4)) << 10;
  }
  return total;
}

class FileMemory : public ::testing::Test {
 protected:
  FileMemory() : file_(folder_ / "model.safetensors"), values_(at::randn({kSize, kSize})) {
    write_tensors(file_, {{"w", values_}}, {});
    source_ = std::make_unique<SafetensorsSource>(formats::SafetensorsFile::open(file_), "model");
  }

  TempDir folder_;
  std::filesystem::path file_;
  at::Tensor values_;
  std::unique_ptr<SafetensorsSource> source_;
};

TEST_F(FileMemory, OfAMatrixHeldAsItStandsIsTheFilesOwn) {
  const auto held = source_->matrix("w", {.dtype = at::kFloat}, true);
  EXPECT_TRUE(held->weight().equal(values_));
  EXPECT_GT(resident(file_), kBytes / 2);
}

TEST_F(FileMemory, IsGivenBackWhenFourBitsHaveTakenOver) {
  const auto held = source_->matrix("w", {.dtype = at::kFloat, .quantize = Quantize::kNf4}, true);
  EXPECT_LT(resident(file_), kBytes / 16);
  EXPECT_TRUE(held->original().equal(values_)) << "is read from the file again";
}

TEST_F(FileMemory, IsGivenBackWhenAnotherDtypeHasTakenOver) {
  const auto held = source_->matrix("w", {.dtype = at::kBFloat16}, true);
  EXPECT_LT(resident(file_), kBytes / 16);
  EXPECT_TRUE(held->weight().equal(values_.to(at::kBFloat16)));
}

}  // namespace
}  // namespace graft::peft
