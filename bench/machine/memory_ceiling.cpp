#include <algorithm>
#include <cstdint>

#include "bench/machine/ceilings.h"
#include "bench/machine/timing.h"
#include "kernels/base/cpu_features.h"
#include "kernels/tiles/aligned_buffer.h"
#include "peft_core/base/memory_figures.h"

#include <omp.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define GRAFT_ALL_VECTORS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GRAFT_ALL_VECTORS
#endif

// Reads, writes, and writes past the caches, each thread in its own part of one block.
namespace graft::bench {
namespace {

constexpr int64_t kLine = 8;  // of 64-bit words in a cache line

GRAFT_ALL_VECTORS uint64_t sum_of(const uint64_t* words, int64_t count) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += words[i];
  return sum;
}

GRAFT_ALL_VECTORS void fill(uint64_t* words, int64_t count, uint64_t value) {
  for (int64_t i = 0; i < count; ++i) words[i] = value;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) void fill_past_caches_512(uint64_t* words, int64_t count, uint64_t value) {
  const auto line = _mm512_set1_epi64(static_cast<int64_t>(value));
  for (int64_t i = 0; i < count; i += kLine) _mm512_stream_si512(reinterpret_cast<__m512i*>(words + i), line);
  _mm_sfence();
}

void fill_past_caches_128(uint64_t* words, int64_t count, uint64_t value) {
  const auto part = _mm_set1_epi64x(static_cast<int64_t>(value));
  for (int64_t i = 0; i < count; i += 2) _mm_stream_si128(reinterpret_cast<__m128i*>(words + i), part);
  _mm_sfence();
}

void fill_past_caches(uint64_t* words, int64_t count, uint64_t value) {
  kernels::cpu_features().avx512 ? fill_past_caches_512(words, count, value) : fill_past_caches_128(words, count, value);
}
#else
void fill_past_caches(uint64_t* words, int64_t count, uint64_t value) { fill(words, count, value); }
#endif

class Block {
 public:
  explicit Block(int64_t bytes) : words_of_thread_(bytes / 8 / omp_get_max_threads() / kLine * kLine) {
    memory_.reserve(static_cast<size_t>(words_of_thread_ * omp_get_max_threads()));
    each_thread([](uint64_t* words, int64_t count) {
      uint64_t state = 0x9e3779b97f4a7c15u;  // random words: some memory systems compress
      for (int64_t i = 0; i < count; ++i) words[i] = state = state * 6364136223846793005u + 1442695040888963407u;
    });
  }

  /// Bytes a second of `work` on each thread's words; as many passes as a millisecond needs.
  template <class Work>
  double rate(const Work& work) {
    const int64_t bytes = 8 * words_of_thread_ * omp_get_max_threads();
    const int passes = static_cast<int>(std::clamp<int64_t>((int64_t{32} << 20) / bytes, 1, 100));
    const double seconds = best_of(5, [&] {
      each_thread([&](uint64_t* words, int64_t count) {
        for (int pass = 0; pass < passes; ++pass) work(words, count);
      });
    });
    return static_cast<double>(bytes) * passes / seconds;
  }

 private:
  template <class Work>
  void each_thread(const Work& work) {
#pragma omp parallel
    work(memory_.data() + omp_get_thread_num() * words_of_thread_, words_of_thread_);
  }

  int64_t words_of_thread_;
  kernels::AlignedBuffer<uint64_t> memory_;
};

int64_t cache_bytes(int name, int64_t otherwise) {
  const int64_t bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

MemoryLevel measured(std::string name, int64_t holds, int64_t bytes) {
  Block block(bytes);
  MemoryLevel level{.name = std::move(name), .holds = holds, .measured_at = bytes};
  uint64_t seen = 0;
  level.read = block.rate([&](const uint64_t* words, int64_t count) {
    const uint64_t sum = sum_of(words, count);
#pragma omp atomic
    seen += sum;
  });
  level.write = block.rate([&](uint64_t* words, int64_t count) { fill(words, count, seen | 1); });
  level.write_past_caches = block.rate([&](uint64_t* words, int64_t count) { fill_past_caches(words, count, seen | 3); });
  return level;
}

}  // namespace

void measure_memory(Ceilings& ceilings) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  const int64_t threads = omp_get_max_threads();
  const int64_t second = cache_bytes(_SC_LEVEL2_CACHE_SIZE, kMiB) * threads, third = cache_bytes(_SC_LEVEL3_CACHE_SIZE, 32 * kMiB);
  ceilings.memory.push_back(measured("L2", second, second / 2));
  // On a shared machine the third level is others' too; what programs touch at once is some ten MiB.
  if (third > second) ceilings.memory.push_back(measured("L3", third / 2, std::clamp(third / 2, second, 32 * kMiB)));
  const int64_t most = std::max(64 * kMiB, static_cast<int64_t>(read_memory_figures().available) / 4);
  ceilings.memory.push_back(measured("DRAM", INT64_MAX, std::min(most, std::clamp(2 * third, 256 * kMiB, 1024 * kMiB))));
}

}  // namespace graft::bench
