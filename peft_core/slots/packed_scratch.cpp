#include "peft_core/slots/packed_scratch.h"

namespace graft::peft {

PackedScratch& PackedScratch::shared() {
  static PackedScratch scratch;
  return scratch;
}

at::Tensor PackedScratch::packed(const void* owner, ops::Side side, int64_t size, const std::function<void(at::Tensor&)>& fill) {
  if (!storage_.defined() || storage_.numel() < size) {
    storage_ = at::empty({size}, at::kBFloat16);
    owner_ = nullptr;
  }
  auto view = storage_.narrow(0, 0, size);
  if (owner_ == owner && side_ == side) return view;
  owner_ = nullptr;  // if fill throws, nothing is held
  fill(view);
  owner_ = owner, side_ = side;
  return view;
}

}  // namespace graft::peft
