#include "peft_core/checkpoint/tensor_bytes.h"

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

using formats::DType;

constexpr std::pair<DType, at::ScalarType> kTypes[] = {
    {DType::kBool, at::kBool}, {DType::kU8, at::kByte},      {DType::kI8, at::kChar},  {DType::kI16, at::kShort}, {DType::kF16, at::kHalf},
    {DType::kBF16, at::kBFloat16}, {DType::kI32, at::kInt},  {DType::kF32, at::kFloat}, {DType::kF64, at::kDouble}, {DType::kI64, at::kLong},
};

at::ScalarType scalar_type(DType type) {
  for (const auto& [stored, torch] : kTypes)
    if (stored == type) return torch;
  throw InvalidArgument({.where = "dtype", .what = std::string(formats::name_of(type)) + " is not supported for weights"});
}

DType stored_type(at::ScalarType type) {
  for (const auto& [stored, torch] : kTypes)
    if (torch == type) return stored;
  throw InvalidArgument({.where = "dtype", .what = std::string(at::toString(type)) + " cannot be written to safetensors"});
}

}  // namespace

at::Tensor as_tensor(const formats::TensorBytes& stored, std::shared_ptr<const void> owner) {
  const auto options = at::TensorOptions().dtype(scalar_type(stored.dtype));
  // The mapping is read-only, and so are all our uses of a frozen weight; torch has no type for that.
  auto* data = const_cast<std::byte*>(stored.bytes.data());
  const auto width = formats::size_of(stored.dtype);
  if (stored.bytes.empty()) return at::empty(stored.shape, options);
  if (reinterpret_cast<uintptr_t>(data) % width != 0) {
    auto copy = at::empty(stored.shape, options);
    std::memcpy(copy.mutable_data_ptr(), data, stored.bytes.size());
    return copy;
  }
  return at::from_blob(data, stored.shape, [owner = std::move(owner)](void*) {}, options);
}

formats::TensorBytes as_bytes(const at::Tensor& tensor) {
  GRAFT_ASSERT(tensor.is_contiguous() && tensor.device().is_cpu());
  return {stored_type(tensor.scalar_type()), tensor.sizes().vec(),
          {static_cast<const std::byte*>(tensor.const_data_ptr()), static_cast<size_t>(tensor.nbytes())}};
}

void write_tensors(const std::filesystem::path& file, const std::map<std::string, at::Tensor>& tensors,
                   const formats::Metadata& metadata) {
  std::vector<at::Tensor> contiguous;
  std::map<std::string, formats::TensorBytes> bytes;
  for (const auto& [name, tensor] : tensors) {
    contiguous.push_back(tensor.detach().cpu().contiguous());
    bytes[name] = as_bytes(contiguous.back());
  }
  formats::write_safetensors(file, bytes, metadata);
}

}  // namespace graft::peft
