#include "peft_core/memory/block_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

namespace graft::peft {
namespace {

constexpr int64_t kMebibyte = 1 << 20;

at::Tensor block(int64_t bytes) { return at::empty({bytes}, at::kByte); }

class BlockCache : public testing::Test {
 protected:
  void SetUp() override { use_block_cache(); }
};

TEST_F(BlockCache, AFreedBlockServesTheNextRequestOfNearlyItsSize) {
  const void* first = block(8 * kMebibyte).data_ptr();
  const auto before = block_cache_figures();
  EXPECT_EQ(block(8 * kMebibyte).data_ptr(), first);
  EXPECT_EQ(block(7 * kMebibyte + 1).data_ptr(), first);
  EXPECT_EQ(block_cache_figures().hits, before.hits + 2);
  EXPECT_EQ(block_cache_figures().misses, before.misses);
}

TEST_F(BlockCache, ABlockInUseIsNeverHandedOutAgain) {
  const auto one = block(6 * kMebibyte), two = block(6 * kMebibyte);
  EXPECT_NE(one.data_ptr(), two.data_ptr());
}

TEST_F(BlockCache, AMuchLargerBlockIsLeftAlone) {
  const void* large = block(40 * kMebibyte).data_ptr();
  const auto small = block(3 * kMebibyte);
  EXPECT_NE(small.data_ptr(), large);
}

TEST_F(BlockCache, SmallRequestsPassItBy) {
  const auto before = block_cache_figures();
  const auto small = block(1000);
  EXPECT_EQ(block_cache_figures().live_bytes, before.live_bytes);
  EXPECT_EQ(block(0).numel(), 0);
}

TEST_F(BlockCache, LiveAndCachedStayNearTheLargestNeed) {
  int64_t most = 0;
  for (int round = 0; round < 40; ++round) {
    // Ever other sizes, so that hardly any block fits the next round.
    std::vector<at::Tensor> held;
    for (int i = 0; i < 10; ++i) held.push_back(block((1 + (round * 7 + i * 3) % 23) * kMebibyte));
    most = std::max(most, block_cache_figures().live_bytes);
    const auto figures = block_cache_figures();
    EXPECT_LE(figures.live_bytes + figures.cached_bytes, most + most / 8 + 33 * kMebibyte) << round;
  }
}

/// Pages of these bytes that the machine has given memory to.
int64_t resident_bytes(const std::byte* from, int64_t bytes) {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  std::vector<unsigned char> pages(static_cast<size_t>((bytes + page - 1) / page));
  EXPECT_EQ(::mincore(const_cast<std::byte*>(from), static_cast<size_t>(bytes), pages.data()), 0);
  return page * std::count_if(pages.begin(), pages.end(), [](unsigned char state) { return (state & 1) != 0; });
}

TEST_F(BlockCache, TheUnusedEndOfABlockTakesNoMemory) {
  constexpr int64_t kUsed = 67 * kMebibyte, kWhole = 80 * kMebibyte;  // rounded up to four steps between powers of two
  auto new_block = block(kUsed);
  new_block.fill_(1);
  const auto* start = static_cast<const std::byte*>(new_block.data_ptr());
  EXPECT_EQ(resident_bytes(start, kUsed), kUsed);
  EXPECT_EQ(resident_bytes(start + kUsed, kWhole - kUsed), 0) << "a large page reaches beyond the used part";
}

TEST_F(BlockCache, ThreadsMayTakeAndFreeAtOnce) {
  const auto before = block_cache_figures();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 200; ++i) {
        auto mine = block((1 + (t + i) % 5) * kMebibyte);
        mine.fill_(t);
        ASSERT_EQ(mine[mine.numel() - 1].item<uint8_t>(), t);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(block_cache_figures().live_bytes, before.live_bytes);
}

}  // namespace
}  // namespace graft::peft
