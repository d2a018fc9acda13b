// Not a test: prints how many weights a second each variant expands on one core, into scratch that stays in the cache.
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/gguf_blocks/variants.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels {
namespace {

constexpr size_t kWeights = 1 << 16;  // about a slice of a projection; 256 KiB in fp32

template <class Work>
double giga_weights_per_second(Work work) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int round = 0; round < 20; ++round) {
    constexpr int kRepeats = 16;
    const auto start = Clock::now();
    for (int i = 0; i < kRepeats; ++i) work();
    const std::chrono::duration<double> took = Clock::now() - start;
    best = std::max(best, kRepeats * static_cast<double>(kWeights) / took.count() * 1e-9);
  }
  return best;
}

void measure_blocks() {
  std::vector<float> wide(kWeights);
  std::vector<uint16_t> narrow(kWeights);
  for (uint32_t number = 0; number < 64; ++number) {
    if (!is_known_ggml_type(number)) continue;
    const auto type = static_cast<GgmlType>(number);
    const auto layout = block_layout(type);
    const size_t count = kWeights / layout.elements;
    const std::vector<uint8_t> blocks(count * layout.bytes, 0x35);
    for (const auto& variant : dequantize_variants()) {
      if (!variant.supported()) continue;
      const double to_float = giga_weights_per_second([&] { variant.to_float(type, blocks.data(), count, wide.data()); });
      const double to_bfloat16 = giga_weights_per_second([&] { variant.to_bfloat16(type, blocks.data(), count, narrow.data()); });
      std::printf("%-5s %-10s %7.2f fp32 %7.2f bf16\n", layout.name.data(), variant.name.data(), to_float, to_bfloat16);
    }
  }
}

void measure_nf4() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> wide(kWeights);
  std::vector<uint16_t> narrow(kWeights);
  for (auto& value : wide) value = normal(random);
  const auto source = wide;
  const auto weight = quantize_nf4(source);
  for (const auto& variant : detail::nf4_variants()) {
    if (!variant.supported()) continue;
    const double to_float = giga_weights_per_second([&] { variant.to_float(weight, 0, wide); });
    const double to_bfloat16 = giga_weights_per_second([&] { variant.to_bfloat16(weight, 0, narrow); });
    std::printf("NF4   %-10s %7.2f fp32 %7.2f bf16\n", variant.name.data(), to_float, to_bfloat16);
  }
  std::printf("NF4   quantise   %7.2f\n", giga_weights_per_second([&] { return quantize_nf4(source); }));
}

}  // namespace
}  // namespace graft::kernels

int main() {
  std::printf("G weights/s on one core\n");
  graft::kernels::measure_blocks();
  graft::kernels::measure_nf4();
}
