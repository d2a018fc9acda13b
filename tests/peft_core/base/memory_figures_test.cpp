#include "peft_core/base/memory_figures.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/temp_dir.h"

namespace graft {
namespace {

class MemoryFiguresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    put("proc/self/status", "Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n");
    put("proc/meminfo", "MemTotal:       16000 kB\nMemFree: 1 kB\nMemAvailable:    8000 kB\n");
  }
  void put(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    testing::write_text(root_ / file, text);
  }
  testing::TempDir root_;
};

TEST_F(MemoryFiguresTest, ReadsProcessAndMachine) {
  const auto figures = read_memory_figures(root_.path());
  EXPECT_EQ(figures.resident, 1000 * 1024);
  EXPECT_EQ(figures.peak_resident, 2000 * 1024);
  EXPECT_EQ(figures.total, 16000 * 1024);
  EXPECT_EQ(figures.available, 8000 * 1024);
  EXPECT_EQ(figures.limit, std::nullopt);
}

TEST_F(MemoryFiguresTest, TheTightestGroupOfVersionTwoCounts) {
  put("proc/self/cgroup", "0::/outer/inner\n");
  put("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  put("sys/fs/cgroup/outer/inner/memory.current", "5\n");
  put("sys/fs/cgroup/outer/memory.max", "4000000\n");
  put("sys/fs/cgroup/outer/memory.current", "3500000\n");
  put("sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 500000\n");
  const auto figures = read_memory_figures(root_.path());
  EXPECT_EQ(figures.limit, 4000000);
  EXPECT_EQ(figures.available, 1000000) << "cache that can be dropped counts as free";
}

TEST_F(MemoryFiguresTest, VersionOneIsUnderstoodFromInsideAContainer) {
  put("proc/self/cgroup", "4:memory:/docker/abc\n1:cpu:/docker/abc\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000000\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000000\n");
  const auto figures = read_memory_figures(root_.path());
  EXPECT_EQ(figures.limit, 3000000);
  EXPECT_EQ(figures.available, 2000000);
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(read_memory_figures(root_.path()).limit, std::nullopt);
}

TEST(MemoryFigures, ThePeakOfThisProcessGrowsWithUse) {
  const auto before = peak_resident_bytes();
  EXPECT_GT(before, 1 << 20);
  std::vector<char> block(64 << 20);
  for (size_t i = 0; i < block.size(); i += 4096) block[i] = static_cast<char>(i);
  EXPECT_GE(peak_resident_bytes(), before + (32 << 20));
}

}  // namespace
}  // namespace graft
