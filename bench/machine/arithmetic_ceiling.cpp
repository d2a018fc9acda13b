#include <array>
#include <random>

#include "bench/machine/ceilings.h"
#include "bench/machine/timing.h"
#include "kernels/base/bfloat16.h"
#include "kernels/tiles/amx_tiles.h"

#include <omp.h>

// Loops that do nothing but multiply and add. Operands are random: on some processors the clock depends on them, and zeros run faster.
namespace graft::bench {
namespace {

/// Long enough for the system to move two threads that woke up on one core apart: before it did, half the rate was measured now and then.
constexpr double kSeconds = 0.2;

/// FLOP/s of all threads, when `loop` does `flops` on each of them.
template <class Loop>
double rate(double flops, const Loop& loop) {
  const double seconds = best_within(kSeconds, [&] {
#pragma omp parallel
    loop();
  });
  return flops * omp_get_max_threads() / seconds;
}

/// Keeps the compiler from leaving out what nobody reads.
template <class T>
void use(T& value) {
  __asm__ volatile("" : : "r"(&value) : "memory");
}

#if GRAFT_HAS_TILES

constexpr int kDepth = 8;  // pairs of tiles on each side: 32 KiB, which the L1 cache holds

struct TileOperands {
  alignas(64) std::array<uint16_t, kDepth * 2 * 512> left, right;
  TileOperands() {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (auto* side : {&left, &right})
      for (auto& value : *side) value = kernels::float_to_bfloat16(normal(random));
  }
};

/// The block of 2 x 2 tiles that products are made of: four loads for four tile products.
GRAFT_TILES void multiply_tiles(const TileOperands& operands, int repeats) {
  const kernels::AmxTiles tiles;
  alignas(64) std::array<float, 256> result;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (int k = 0; k < kDepth; ++k) {
      const uint16_t *a = operands.left.data() + k * 1024, *b = operands.right.data() + k * 1024;
      _tile_loadd(4, a, 64);
      _tile_loadd(5, a + 512, 64);
      _tile_loadd(6, b, 64);
      _tile_loadd(7, b + 512, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, result.data(), 64);
  use(result);
}

double tile_rate() {
  constexpr int kRepeats = 2000;
  constexpr double kFlopsOfATile = 2.0 * 16 * 16 * 32;
  return rate(kRepeats * kDepth * 4 * kFlopsOfATile, [] {
    static thread_local const TileOperands operands;
    multiply_tiles(operands, kRepeats);
  });
}

constexpr int kSums = 12;        // independent sums that hide the latency of an instruction
constexpr int kSteps = 200'000;

struct VectorOperands {
  alignas(64) std::array<float, 32> values;
  VectorOperands() {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> uniform(0.9f, 1.1f);
    for (auto& value : values) value = uniform(random);
  }
};

__attribute__((target("avx512f"))) void add_products_512(const VectorOperands& operands) {
  __m512 sums[kSums], a = _mm512_load_ps(operands.values.data()), b = _mm512_load_ps(operands.values.data() + 16);
  for (auto& sum : sums) sum = a;
  for (int step = 0; step < kSteps; ++step) {
    __asm__ volatile("" : "+v"(a), "+v"(b));
    for (auto& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  }
  use(sums);
}

GRAFT_TILES void add_dot_products_512(const VectorOperands& operands) {
  __m512 sums[kSums], start = _mm512_load_ps(operands.values.data());
  auto a = _mm512_cvtne2ps_pbh(start, start), b = _mm512_cvtne2ps_pbh(start, _mm512_load_ps(operands.values.data() + 16));
  for (auto& sum : sums) sum = start;
  for (int step = 0; step < kSteps; ++step) {
    __asm__ volatile("" : "+v"(a), "+v"(b));
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  }
  use(sums);
}

__attribute__((target("avx2,fma"))) void add_products_256(const VectorOperands& operands) {
  __m256 sums[kSums], a = _mm256_load_ps(operands.values.data()), b = _mm256_load_ps(operands.values.data() + 8);
  for (auto& sum : sums) sum = a;
  for (int step = 0; step < kSteps; ++step) {
    __asm__ volatile("" : "+x"(a), "+x"(b));
    for (auto& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
  }
  use(sums);
}

#endif

/// As the compiler makes it for any processor.
void add_products_anywhere(const std::array<float, 64>& factors, int steps) {
  std::array<float, 64> sums = factors;
  for (int step = 0; step < steps; ++step)
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = factors[i] * sums[i] + factors[i];
  use(sums);
}

double portable_rate() {
  std::array<float, 64> factors;
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-0.9f, 0.9f);
  for (auto& factor : factors) factor = uniform(random);
  constexpr int kLoops = 100'000;
  return rate(2.0 * 64 * kLoops, [&] { add_products_anywhere(factors, kLoops); });
}

}  // namespace

void measure_arithmetic(Ceilings& ceilings) {
#if GRAFT_HAS_TILES
  const auto& cpu = kernels::cpu_features();
  const VectorOperands operands;
  if (kernels::amx_tiles_supported()) ceilings.tiles_bf16 = tile_rate();
  if (cpu.avx512_bf16) ceilings.vectors_bf16 = rate(2.0 * 32 * kSums * kSteps, [&] { add_dot_products_512(operands); });
  if (cpu.avx512) ceilings.vectors_fp32 = rate(2.0 * 16 * kSums * kSteps, [&] { add_products_512(operands); });
  else if (cpu.avx2) ceilings.vectors_fp32 = rate(2.0 * 8 * kSums * kSteps, [&] { add_products_256(operands); });
#endif
  if (ceilings.vectors_fp32 == 0) ceilings.vectors_fp32 = portable_rate();
}

}  // namespace graft::bench
