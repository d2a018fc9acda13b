#pragma once

#include <ATen/core/Tensor.h>

namespace graft::peft {

/// Takes the tensor's values to `device`, where whoever holds the tensor finds them: it stays the same tensor, and a leaf stays one. Its gradient
/// is dropped, and its version counts on, so that what is kept beside a version is made anew. Views of its old memory stay behind. Not while an
/// autograd graph holds it.
void move_in_place(const at::Tensor& tensor, at::Device device);

/// Gives up its own memory for that of `part`, of the same sizes; again it stays the same tensor. For a leaf that is a part of something that moved.
void become_view(const at::Tensor& tensor, const at::Tensor& part);

}  // namespace graft::peft
