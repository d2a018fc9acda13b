#pragma once

// Private to the CUDA variant and its test.

#include <bit>
#include <cstdint>
#include <limits>
#include <string>

#include "kernels/base/block_program.h"
#include "kernels/base/error.h"
#include "kernels/nf4/nf4.h"
#include "kernels/nf4/nf4_cuda.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels::detail {

/// The absmax of one block, from either form. Blocks are fewer than 2^32, whose division is several times faster than a 64-bit one.
GRAFT_HOST_DEVICE inline float nf4_block_scale(const Nf4DeviceWeight& weight, uint32_t block) {
  if (weight.absmax_codes == nullptr) return weight.absmax[block];
  const float of_nested_block = weight.nested_absmax[block / static_cast<uint32_t>(weight.nested_block_size)];
  return weight.nested_code[weight.absmax_codes[block]] * of_nested_block + weight.nested_offset;
}

/// Code of weight `place`: two a byte, the first in the high nibble.
GRAFT_HOST_DEVICE inline int nf4_code(const uint8_t* codes, int64_t place) {
  return place % 2 == 0 ? codes[place / 2] >> 4 : codes[place / 2] & 15;
}

/// The codes of eight weights from `place` on, a multiple of 8, weight i's in bits 4 i; those past `count` are 0.
GRAFT_HOST_DEVICE inline uint32_t nf4_codes(const uint8_t* codes, int64_t place, int count, bool words) {
  if (words && count == kEight) {
    const auto word = read_aligned<uint32_t>(codes + place / 2);
    return (word >> 4 & 0x0f0f0f0fu) | (word & 0x0f0f0f0fu) << 4;  // the first of a byte stands in its high half
  }
  uint32_t all = 0;
  for (int i = 0; i < kEight; ++i)
    if (i < count) all |= static_cast<uint32_t>(nf4_code(codes, place + i)) << (4 * i);
  return all;
}

/// A thread expands eight weights, which share one scale: blocks are multiples of 32.
template <class Out>
struct DequantizeNf4 {
  static constexpr int kThreads = 256;
  struct Shared {
    float table[16];  // 16 banks: any mixture of codes is read at once
  };

  Nf4DeviceWeight weight;
  int64_t first, size;
  int block_shift;
  bool words, packed;
  Out* out;
  float table[16];

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared& shared) const {
    block.each([&](int thread) {
      if (thread < 16) shared.table[thread] = table[thread];
    });
    block.each([&](int thread) {
      const int64_t begin = (block.index() * kThreads + thread) * kEight;
      if (begin >= size) return;
      const int count = count_of_eight(begin, size);
      const float scale = nf4_block_scale(weight, static_cast<uint32_t>((first + begin) >> block_shift));
      const uint32_t codes = nf4_codes(weight.codes, first + begin, count, words);
      float values[kEight];
      for (int i = 0; i < kEight; ++i) values[i] = shared.table[codes >> (4 * i) & 15] * scale;
      store_eight(values, count, packed, out + begin);
    });
  }
};

/// Throws unless [first, first + size) lies in the weight and begins with a block.
inline void check_nf4_range(const Nf4DeviceWeight& weight, int64_t first, int64_t size) {
  check_nf4_block_size(weight.block_size);
  constexpr int64_t kMostBlocks = std::numeric_limits<uint32_t>::max();
  const bool scales = weight.absmax_codes == nullptr ? weight.absmax != nullptr || weight.count == 0
                                                     : weight.nested_code != nullptr && weight.nested_absmax != nullptr &&
                                                           weight.nested_block_size >= 1 && weight.nested_block_size <= kMostBlocks;
  if (!scales) throw InvalidArgument({.where = "NF4 on CUDA", .what = "has no scales, or a wrong nested block size"});
  if (first >= 0 && size >= 0 && first <= weight.count && size <= weight.count - first && first % weight.block_size == 0 &&
      weight.count / weight.block_size < kMostBlocks)
    return;
  throw InvalidArgument({.where = "NF4 on CUDA", .what = "cannot expand " + std::to_string(size) + " weights from " + std::to_string(first),
                         .expected = "a start at a multiple of " + std::to_string(weight.block_size) + " and an end by " +
                                     std::to_string(weight.count)});
}

template <class Launcher, class Out>
void launch_dequantize_nf4(const Launcher& launch, const Nf4DeviceWeight& weight, int64_t first, int64_t size, Out* out) {
  using Program = DequantizeNf4<Out>;
  check_nf4_range(weight, first, size);
  Program program{weight, first, size, std::countr_zero(static_cast<uint64_t>(weight.block_size)), holds_words(weight.codes),
                  holds_packs(out), out, {}};
  for (size_t code = 0; code < 16; ++code) program.table[code] = nf4_table()[code];
  launch(ceil_divide(size, int64_t{Program::kThreads} * kEight), program);
}

}  // namespace graft::kernels::detail
