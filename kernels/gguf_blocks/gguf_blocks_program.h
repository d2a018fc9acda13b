#pragma once

// Private to the CUDA variant and its test.

#include <cstdint>
#include <string>

#include "kernels/base/block_program.h"
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/block_values.h"

namespace graft::kernels::detail {

/// A thread expands eight weights: of one group, or eight plain ones.
template <GgmlType kType, class Out>
struct DequantizeBlocks {
  using Values = BlockValues<kType>;
  static constexpr int kThreads = 256;
  struct Shared {};

  const uint8_t* blocks;
  int64_t size;          // weights
  bool aligned, packed;  // blocks for their unit, out for packs
  Out* out;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    block.each([&](int thread) {
      const int64_t begin = (block.index() * kThreads + thread) * kEight;
      if (begin >= size) return;
      const int count = count_of_eight(begin, size);
      const uint8_t* first = blocks + begin / Values::kElements * Values::kBytes;
      const int within = static_cast<int>(begin % Values::kElements);
      float values[kEight];
      aligned ? expand<true>(first, within, count, values) : expand<false>(first, within, count, values);
      store_eight(values, count, packed, out + begin);
    });
  }

 private:
  GRAFT_HOST_DEVICE static void copy_bytes(const uint8_t* from, int bytes, void* to) {
    for (int i = 0; i < kEight * Values::kBytes; ++i)
      if (i < bytes) static_cast<uint8_t*>(to)[i] = from[i];
  }

  template <bool kAligned>
  GRAFT_HOST_DEVICE static void expand(const uint8_t* first, int within, int count, float (&values)[kEight]) {
    if constexpr (Values::kElements == 1) {  // eight plain weights are eight blocks
      Pack<typename Values::Stored> stored{};
      if (kAligned && count == kEight) {
        stored = read_aligned<decltype(stored)>(first);
      } else {
        copy_bytes(first, count * Values::kBytes, stored.values);
      }
      for (int i = 0; i < kEight; ++i) values[i] = Values::value(stored.values[i]);
    } else {
      const auto group = Values::template group<kAligned>(first, within);
      const uint64_t codes = Values::template codes<kAligned>(first, within);
      for (int i = 0; i < kEight; ++i) values[i] = group.value(code_of<Values::kZero>(codes, i));
    }
  }
};

template <GgmlType kType, class Launcher, class Out>
void launch_dequantize_type(const Launcher& launch, const uint8_t* blocks, int64_t block_count, Out* out) {
  using Program = DequantizeBlocks<kType, Out>;
  const int64_t size = block_count * Program::Values::kElements;
  const bool aligned = reinterpret_cast<uintptr_t>(blocks) % Program::Values::kUnit == 0;
  launch(ceil_divide(size, int64_t{Program::kThreads} * kEight), Program{blocks, size, aligned, holds_packs(out), out});
}

template <class Launcher, class Out>
void launch_dequantize_blocks(const Launcher& launch, GgmlType type, const void* data, int64_t count, Out* out) {
  const auto layout = block_layout(type);
  if (count < 0)
    throw InvalidArgument({.where = std::string(layout.name) + " on CUDA", .what = "has a negative number of blocks", .got = std::to_string(count)});
  const auto* blocks = static_cast<const uint8_t*>(data);
  switch (type) {
    case GgmlType::kF32: return launch_dequantize_type<GgmlType::kF32>(launch, blocks, count, out);
    case GgmlType::kF16: return launch_dequantize_type<GgmlType::kF16>(launch, blocks, count, out);
    case GgmlType::kBF16: return launch_dequantize_type<GgmlType::kBF16>(launch, blocks, count, out);
    case GgmlType::kQ8_0: return launch_dequantize_type<GgmlType::kQ8_0>(launch, blocks, count, out);
    case GgmlType::kQ4_0: return launch_dequantize_type<GgmlType::kQ4_0>(launch, blocks, count, out);
    case GgmlType::kQ4_1: return launch_dequantize_type<GgmlType::kQ4_1>(launch, blocks, count, out);
    case GgmlType::kQ5_0: return launch_dequantize_type<GgmlType::kQ5_0>(launch, blocks, count, out);
    case GgmlType::kQ5_1: return launch_dequantize_type<GgmlType::kQ5_1>(launch, blocks, count, out);
    case GgmlType::kQ4_K: return launch_dequantize_type<GgmlType::kQ4_K>(launch, blocks, count, out);
    case GgmlType::kQ5_K: return launch_dequantize_type<GgmlType::kQ5_K>(launch, blocks, count, out);
    case GgmlType::kQ6_K: return launch_dequantize_type<GgmlType::kQ6_K>(launch, blocks, count, out);
  }
}

}  // namespace graft::kernels::detail
