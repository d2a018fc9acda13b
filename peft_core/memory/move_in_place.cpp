#include "peft_core/memory/move_in_place.h"

#include <torch/csrc/autograd/variable.h>

#include "kernels/base/error.h"

namespace graft::peft {

void become_view(const at::Tensor& tensor, const at::Tensor& part) {
  GRAFT_ASSERT(tensor.sizes() == part.sizes() && tensor.scalar_type() == part.scalar_type());
  if (auto* autograd = torch::autograd::impl::get_autograd_meta(tensor)) {
    autograd->grad_.reset();
    autograd->grad_accumulator_.reset();  // it knows the device that it was made for
  }
  // Tensor::set_data does this too, but for the kinds of devices only that LibTorch knows by name.
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->shallow_copy_from(part.detach().getIntrusivePtr());
  impl->bump_version();  // what was made from it lies where it lay
}

void move_in_place(const at::Tensor& tensor, at::Device device) {
  if (tensor.defined() && tensor.device() != device) become_view(tensor, tensor.detach().to(device));
}

}  // namespace graft::peft
