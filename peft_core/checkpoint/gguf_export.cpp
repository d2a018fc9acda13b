#include "peft_core/checkpoint/gguf_export.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstring>

#include "kernels/base/error.h"
#include "peft_core/checkpoint/gguf_metadata_entries.h"
#include "peft_core/checkpoint/gguf_source.h"

namespace graft::peft {
namespace {

using formats::GgufTensor;
using kernels::GgmlType;

std::span<const float> floats(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

/// Rows in parallel: `blocks` of one row each.
std::vector<std::byte> quantized_rows(const at::Tensor& values) {
  const auto row = values.size(-1), rows = values.numel() / row;
  const auto layout = kernels::block_layout(GgmlType::kQ8_0);
  const auto row_bytes = static_cast<size_t>(row) / layout.elements * layout.bytes;
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * row_bytes);
  const auto all = floats(values);
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r)
      kernels::quantize_q8_0(all.subspan(r * static_cast<size_t>(row), static_cast<size_t>(row)),
                             std::span(bytes).subspan(r * row_bytes, row_bytes));
  });
  return bytes;
}

at::Tensor expanded(std::span<const std::byte> bytes, GgmlType type, at::IntArrayRef shape) {
  auto values = at::empty(shape, at::kFloat);
  kernels::dequantize_blocks(type, bytes, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

StoredType stored_type(GgmlType type) {
  return type == GgmlType::kQ8_0 ? StoredType::kQ8_0 : type == GgmlType::kBF16 ? StoredType::kBf16 : StoredType::kF16;
}

/// The file's tensors and, when asked, the bytes of one.
class ModelTensors {
 public:
  ModelTensors(const CausalLm& model, const GgufExport& options) : model_(model), options_(options), merged_(merged_tensors(model)) {
    if (auto divisors = gguf_frequency_divisors(model.config()); !divisors.empty()) {
      const auto count = static_cast<int64_t>(divisors.size());
      const auto tensor = at::tensor(at::ArrayRef<float>(divisors), at::kFloat);
      merged_.push_back({"rope_freqs.weight", {count}, [tensor] { return tensor; }});
    }
    for (const auto& tensor : merged_) layout_.push_back({file_name(tensor.name), type_of(tensor), tensor.shape, {}});
    roundings_.resize(merged_.size());
  }

  std::span<const GgufTensor> layout() const { return layout_; }
  std::vector<TensorRounding> roundings() && { return std::move(roundings_); }

  std::span<const std::byte> bytes_of(size_t index) {
    const auto& tensor = merged_[index];
    if (options_.before_tensor) options_.before_tensor(tensor.name);
    at::NoGradGuard no_gradient;
    const auto exact = in_gguf_row_order(tensor.name, tensor.value(), model_.config()).to(at::kFloat).contiguous();
    const auto type = layout_[index].type;
    bytes_ = gguf_bytes(type == GgmlType::kF32 ? exact : before_rounding(tensor, exact, options_.rounding, stored_type(type)), type);
    const auto back = type == GgmlType::kF32 ? exact : expanded(bytes_, type, exact.sizes());
    if (type != GgmlType::kF32) expect_finite(tensor.name, back, gguf_type_option(type));
    roundings_[index] = rounding_of(tensor.name, exact, back);
    if (tensor.base) roundings_[index].kept.add(exact, back, in_gguf_row_order(tensor.name, tensor.base(), model_.config()));
    return bytes_;
  }

 private:
  static std::string file_name(const std::string& published) {
    if (published == "rope_freqs.weight") return published;
    const auto name = gguf_tensor_name(published);
    if (name.empty()) throw InvalidArgument({.where = published, .what = "has no name in GGUF files"});
    return name;
  }

  GgmlType type_of(const MergedTensor& tensor) const {
    return tensor.shape.size() == 1 ? GgmlType::kF32 : gguf_type_for_rows(options_.type, tensor.shape.back());
  }

  const CausalLm& model_;
  const GgufExport& options_;
  std::vector<MergedTensor> merged_;
  std::vector<GgufTensor> layout_;
  std::vector<TensorRounding> roundings_;
  std::vector<std::byte> bytes_;
};

}  // namespace

at::Tensor in_gguf_row_order(const std::string& published, const at::Tensor& tensor, const DecoderConfig& config) {
  if (!gguf_reorders_rows(published, config)) return tensor;
  const auto order = llama_row_order(tensor.size(0) / config.head_size, config.head_size);
  return at::empty_like(tensor).index_copy_(0, at::tensor(at::ArrayRef<int64_t>(order), at::kLong), tensor);
}

std::string gguf_type_option(GgmlType type) {
  switch (type) {
    case GgmlType::kF32: return "f32";
    case GgmlType::kBF16: return "bf16";
    case GgmlType::kQ8_0: return "q8_0";
    default: return "f16";
  }
}

GgmlType gguf_type_for_rows(GgmlType wanted, int64_t row_length) {
  return row_length % static_cast<int64_t>(kernels::block_layout(wanted).elements) == 0 ? wanted : GgmlType::kF16;
}

std::vector<std::byte> gguf_bytes(const at::Tensor& tensor, GgmlType type) {
  if (type == GgmlType::kQ8_0) return quantized_rows(tensor.to(at::kFloat).contiguous());
  GRAFT_ASSERT(type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16);
  const auto dtype = type == GgmlType::kF32 ? at::kFloat : type == GgmlType::kF16 ? at::kHalf : at::kBFloat16;
  const auto stored = tensor.to(dtype).contiguous();
  std::vector<std::byte> bytes(static_cast<size_t>(stored.nbytes()));
  if (!bytes.empty()) std::memcpy(bytes.data(), stored.const_data_ptr(), bytes.size());
  return bytes;
}

std::vector<TensorRounding> write_gguf_model(const std::filesystem::path& file, const CausalLm& model, const GgufExport& options) {
  auto entries = gguf_model_entries(model.config(), options.type, options.name);
  entries.insert(entries.end(), options.tokenizer.begin(), options.tokenizer.end());
  ModelTensors tensors(model, options);
  formats::write_gguf(file, entries, tensors.layout(), [&](size_t index) { return tensors.bytes_of(index); });
  return std::move(tensors).roundings();
}

}  // namespace graft::peft
