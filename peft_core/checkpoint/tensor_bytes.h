#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>

#include "peft_core/formats/safetensors.h"

namespace graft::peft {

/// A view of a file's tensor, kept alive by `owner`; a copy where the file's bytes are not aligned for their type.
at::Tensor as_tensor(const formats::TensorBytes& stored, std::shared_ptr<const void> owner);

/// The bytes of a contiguous CPU tensor, not owned. Throws InvalidArgument for a dtype that safetensors cannot hold.
formats::TensorBytes as_bytes(const at::Tensor& tensor);

/// Writes named tensors; makes contiguous copies only where needed.
void write_tensors(const std::filesystem::path& file, const std::map<std::string, at::Tensor>& tensors,
                   const formats::Metadata& metadata);

}  // namespace graft::peft
