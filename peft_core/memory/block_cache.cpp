#include "peft_core/memory/block_cache.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

namespace graft::peft {
namespace {

constexpr size_t kSmallest = 256 << 10, kLargePage = 2 << 20;
constexpr int64_t kSlackShare = 16, kSlack = 32 << 20;  // live and cached blocks may exceed the largest need so far by a sixteenth and 32 MiB

/// Four sizes between two powers of two, so that batches of nearly equal length find each other's blocks. The pages of a block's end cost
/// nothing until they are touched.
size_t rounded_up(size_t bytes) {
  const size_t step = std::bit_floor(bytes) / 4;
  return (bytes + step - 1) / step * step;
}

void* map_pages(size_t size) {
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  return address;
}

/// New pages from the system, large ones as far as `used` fills them: a product's tiles touch 32 rows at once, each on a small page of its own.
void* mapped(size_t size, size_t used) {
  if (size < kLargePage) return map_pages(size);
  auto* start = static_cast<std::byte*>(map_pages(size + kLargePage));
  const size_t before = (kLargePage - reinterpret_cast<uintptr_t>(start) % kLargePage) % kLargePage;
  if (before > 0) ::munmap(start, before);
  ::munmap(start + before + size, kLargePage - before);
  ::madvise(start + before, used / kLargePage * kLargePage, MADV_HUGEPAGE);  // a refusal costs speed only
  return start + before;
}

class BlockCache {
 public:
  /// Page-aligned memory of at least `bytes`. Throws std::bad_alloc.
  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    const size_t wanted = rounded_up(bytes);
    auto found = by_size_.lower_bound(wanted);
    const bool hit = found != by_size_.end() && found->first <= wanted + wanted / 4;
    hit ? ++figures_.hits : ++figures_.misses;
    const auto [address, size] = hit ? uncache(found) : from_system(wanted, bytes);
    live_.emplace(address, size);
    figures_.live_bytes += static_cast<int64_t>(size);
    return address;
  }

  /// False if the address is none of its blocks.
  bool put_back(void* address) {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(address);
    if (found == live_.end()) return false;
    const size_t size = found->second;
    live_.erase(found);
    figures_.live_bytes -= static_cast<int64_t>(size);
    figures_.cached_bytes += static_cast<int64_t>(size);
    unused_.push_back({address, size, {}});
    unused_.back().place = by_size_.emplace(size, std::prev(unused_.end()));
    return true;
  }

  BlockCacheFigures figures() {
    const std::lock_guard lock(mutex_);
    return figures_;
  }

 private:
  struct Unused;
  using BySize = std::multimap<size_t, std::list<Unused>::iterator>;
  struct Unused {
    void* address;
    size_t size;
    BySize::iterator place;
  };
  struct Block {
    void* address;
    size_t size;
  };

  Block uncache(BySize::iterator place) {
    const auto unused = place->second;
    const Block block{unused->address, unused->size};
    figures_.cached_bytes -= static_cast<int64_t>(block.size);
    by_size_.erase(place);
    unused_.erase(unused);
    return block;
  }

  Block from_system(size_t size, size_t used) {
    const int64_t wanted = static_cast<int64_t>(size);
    most_live_ = std::max(most_live_, figures_.live_bytes + wanted);
    while (!unused_.empty() && figures_.live_bytes + figures_.cached_bytes + wanted > most_live_ + most_live_ / kSlackShare + kSlack) {
      const auto oldest = uncache(unused_.front().place);
      ::munmap(oldest.address, oldest.size);
    }
    return {mapped(size, used), size};
  }

  std::mutex mutex_;
  std::list<Unused> unused_;  // longest unused first
  BySize by_size_;
  std::unordered_map<void*, size_t> live_;
  int64_t most_live_ = 0;
  BlockCacheFigures figures_;
};

/// Never destroyed: tensors with static lifetime come back later than any static object of ours would live.
BlockCache& cache() {
  static auto* the_cache = new BlockCache;
  return *the_cache;
}

void free_any(void* address) {
  if (address != nullptr && !cache().put_back(address)) c10::free_cpu(address);
}

class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* address = bytes >= kSmallest ? cache().take(bytes) : c10::alloc_cpu(bytes);
    return {address, address, &free_any, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_any; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

}  // namespace

void use_block_cache() {
  static CachingAllocator allocator;
  constexpr uint8_t kPriority = 50;  // above LibTorch's own
  c10::SetCPUAllocator(&allocator, kPriority);
}

BlockCacheFigures block_cache_figures() { return cache().figures(); }

}  // namespace graft::peft
