#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft::bench {

/// How fast memory is at one distance from the cores; bytes a second, all threads together.
struct MemoryLevel {
  std::string name;        ///< "L2", "L3", "DRAM"
  int64_t holds = 0;       ///< working sets up to this many bytes stay there
  int64_t measured_at = 0; ///< bytes that the measurement went through
  double read = 0, write = 0, write_past_caches = 0;
};

/// What this machine can do at most, measured with as many threads as LibTorch has.
struct Ceilings {
  double tiles_bf16 = 0;    ///< AMX, random operands in the L1 cache, FLOP/s; 0: has none
  double vectors_bf16 = 0;  ///< AVX512-BF16 dot products, operands in registers; 0: has none
  double vectors_fp32 = 0;  ///< fused multiply-adds of the widest vectors, operands in registers
  std::vector<MemoryLevel> memory;  ///< nearest first

  /// FLOP/s of products in bf16 where that is the fast type here, else in fp32.
  double products() const;
  /// Least time for reading and writing so many bytes one after the other, where all of them together fit. Machines that read and write at
  /// the same time may stay below it.
  double memory_seconds(double read, double written) const;
};

Ceilings measure_ceilings();

// The parts, each in a file of its own.
void measure_arithmetic(Ceilings& ceilings);
void measure_memory(Ceilings& ceilings);

}  // namespace graft::bench
