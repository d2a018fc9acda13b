#include "peft_core/slots/device_copy.h"

#include <ATen/ATen.h>

#include "kernels/base/error.h"
#include "kernels/gguf_blocks/gguf_blocks_cuda.h"
#include "kernels/nf4/nf4_cuda.h"
#include "kernels/ops/on_device.h"

namespace graft::peft {
namespace {

/// Copies `values` to the device of `like`; undefined for none.
template <class T>
at::Tensor copied(std::span<const T> values, at::ScalarType dtype, const at::Tensor& like) {
  if (values.empty()) return {};
  auto* data = const_cast<T*>(values.data());  // read only; torch has no type for that
  return at::from_blob(data, {static_cast<int64_t>(values.size())}, at::TensorOptions(dtype)).to(like.device());
}

template <class T>
const T* start_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

/// Calls `kernel(start)` with the start of `to` as the kernels' type.
template <class Kernel>
void into(at::Tensor& to, const Kernel& kernel) {
  GRAFT_ASSERT(to.is_contiguous() && ops::on_device(to));
  if (to.scalar_type() == at::kFloat) {
    kernel(to.mutable_data_ptr<float>());
  } else {
    kernel(reinterpret_cast<uint16_t*>(to.mutable_data_ptr<at::BFloat16>()));
  }
}

}  // namespace

void Nf4OnDevice::expand(const kernels::Nf4Weight& weight, int64_t first, at::Tensor& to) {
  if (!codes_.defined() || codes_.device() != to.device()) {
    codes_ = copied<uint8_t>(weight.codes, at::kByte, to);
    absmax_ = copied<float>(weight.absmax, at::kFloat, to);
    absmax_codes_ = copied<uint8_t>(weight.absmax_codes, at::kByte, to);
    nested_code_ = copied<float>(weight.nested_code, at::kFloat, to);
    nested_absmax_ = copied<float>(weight.nested_absmax, at::kFloat, to);
  }
  const kernels::Nf4DeviceWeight parts{.codes = start_of<uint8_t>(codes_), .count = weight.count, .block_size = weight.block_size,
                                       .absmax = start_of<float>(absmax_), .absmax_codes = start_of<uint8_t>(absmax_codes_),
                                       .nested_code = start_of<float>(nested_code_), .nested_absmax = start_of<float>(nested_absmax_),
                                       .nested_offset = weight.nested_offset, .nested_block_size = weight.nested_block_size};
  into(to, [&](auto* start) { kernels::dequantize_nf4_cuda(parts, first, to.numel(), start, ops::stream_of(to)); });
}

void BlocksOnDevice::expand(kernels::GgmlType type, std::span<const std::byte> weight, size_t first, size_t size, at::Tensor& to) {
  if (!bytes_.defined() || bytes_.device() != to.device()) bytes_ = copied<std::byte>(weight, at::kByte, to);
  const auto blocks = static_cast<int64_t>(size / kernels::block_layout(type).bytes);
  into(to, [&](auto* start) {
    kernels::dequantize_blocks_cuda(type, bytes_.const_data_ptr<uint8_t>() + first, blocks, start, ops::stream_of(to));
  });
}

}  // namespace graft::peft
