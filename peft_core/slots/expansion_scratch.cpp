#include "peft_core/slots/expansion_scratch.h"

#include "kernels/base/error.h"

namespace graft::peft {

ExpansionScratch& ExpansionScratch::shared() {
  static ExpansionScratch scratch;
  return scratch;
}

at::Tensor ExpansionScratch::expanded(const void* owner, int64_t begin, int64_t rows, int64_t columns, const at::TensorOptions& where,
                                      const std::function<void(at::Tensor&)>& fill) {
  const auto dtype = at::typeMetaToScalarType(where.dtype());
  GRAFT_ASSERT(dtype == at::kFloat || dtype == at::kBFloat16);
  auto& buffer = dtype == at::kFloat ? fp32_ : bf16_;
  if (!buffer.storage.defined() || buffer.storage.numel() < rows * columns || buffer.storage.device() != where.device()) {
    buffer.storage = at::empty({rows * columns}, where);
    buffer.owner = nullptr;
  }
  auto view = buffer.storage.narrow(0, 0, rows * columns).view({rows, columns});
  if (buffer.owner == owner && buffer.begin == begin && buffer.rows == rows) return view;
  buffer.owner = nullptr;  // if fill throws, nothing is held
  fill(view);
  buffer.owner = owner, buffer.begin = begin, buffer.rows = rows;
  return view;
}

void ExpansionScratch::forget() { fp32_.owner = bf16_.owner = nullptr; }

int64_t ExpansionScratch::bytes() const {
  int64_t total = 0;
  for (const auto* buffer : {&fp32_, &bf16_})
    if (buffer->storage.defined()) total += buffer->storage.numel() * buffer->storage.element_size();
  return total;
}

}  // namespace graft::peft
