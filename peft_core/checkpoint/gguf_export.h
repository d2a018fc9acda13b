#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "peft_core/checkpoint/merged_weights.h"
#include "peft_core/formats/gguf.h"

namespace graft::peft {

struct GgufExport {
  kernels::GgmlType type = kernels::GgmlType::kF16;   ///< of matrices: F32, F16, BF16 or Q8_0; norms and biases are always F32
  std::string name;                                   ///< general.name
  std::vector<formats::GgufEntry> tokenizer;          ///< tokenizer.*, as they go into the file
  std::function<void(const std::string& name)> before_tensor;  ///< progress; may throw to stop
  Rounding rounding = Rounding::kNearest;             ///< of matrices that the adapter changes
};

/// The model with its adapter folded in, as one GGUF file that llama.cpp reads; each weight is rounded once, and one tensor stands in
/// memory at a time. A matrix whose rows do not fill blocks of Q8_0 is stored as F16. Returns what the rounding did.
/// Throws   InvalidArgument for a shape that llama.cpp has no keys for and for values that F16 cannot hold; IoError if the disk refuses.
/// Source   the GGUF specification and the tensor names of the `gguf` package.
std::vector<TensorRounding> write_gguf_model(const std::filesystem::path& file, const CausalLm& model, const GgufExport& options);

/// Rows of a query or key weight, bias or LoRA B (out, …) from Hugging Face's order into the file's; other tensors as they are.
at::Tensor in_gguf_row_order(const std::string& published, const at::Tensor& tensor, const DecoderConfig& config);

/// The bytes of a tensor in a GGUF type. F32, F16 and BF16 round to nearest even.
std::vector<std::byte> gguf_bytes(const at::Tensor& tensor, kernels::GgmlType type);

/// "f16", "bf16", "q8_0": as --type spells it.
std::string gguf_type_option(kernels::GgmlType type);

/// `wanted`, or F16 where the rows do not fill its blocks.
kernels::GgmlType gguf_type_for_rows(kernels::GgmlType wanted, int64_t row_length);

}  // namespace graft::peft
