#pragma once

#include <cstdint>

namespace graft::kernels {

/// A weight in NF4 whose parts lie in a device's memory; the fields are those of Nf4Weight (nf4.h). Either absmax or, double quantised,
/// absmax_codes, nested_code (256) and nested_absmax; the others are null.
struct Nf4DeviceWeight {
  const uint8_t* codes = nullptr;
  int64_t count = 0;
  int64_t block_size = 64;
  const float* absmax = nullptr;
  const uint8_t* absmax_codes = nullptr;
  const float* nested_code = nullptr;
  const float* nested_absmax = nullptr;
  float nested_offset = 0.0f;
  int64_t nested_block_size = 256;
};

/// Expands weights [first, first + size) on a CUDA stream, without waiting for it; the bits of dequantize_nf4(). `first` must be a multiple
/// of block_size; `out` is device memory, fastest where 16-byte aligned. stream: a cudaStream_t, null for the default one.
/// Throws   InvalidArgument for a wrong range or block size, Unavailable without CUDA kernels or if the launch fails.
void dequantize_nf4_cuda(const Nf4DeviceWeight& weight, int64_t first, int64_t size, float* out, void* stream);
void dequantize_nf4_cuda(const Nf4DeviceWeight& weight, int64_t first, int64_t size, uint16_t* out_bf16, void* stream);

}  // namespace graft::kernels
