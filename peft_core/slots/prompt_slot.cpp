#include "peft_core/slots/prompt_slot.h"

#include <ATen/ATen.h>

#include "kernels/base/error.h"

namespace graft::peft {

at::Tensor with_rows_before(const at::Tensor& x, const at::Tensor& head, std::span<const int32_t> lengths) {
  if (lengths.empty()) return x;
  const auto rows = head.to(x.scalar_type());
  std::vector<at::Tensor> parts;
  int64_t start = 0;
  for (const auto length : lengths) {
    parts.push_back(rows);
    parts.push_back(x.narrow(0, start, length));
    start += length;
  }
  GRAFT_ASSERT(start == x.size(0));
  return at::cat(parts);
}

at::Tensor without_rows_before(const at::Tensor& x, int64_t count, std::span<const int32_t> lengths) {
  if (lengths.empty() || count == 0) return x;
  std::vector<at::Tensor> parts;
  int64_t start = 0;
  for (const auto length : lengths) {
    parts.push_back(x.narrow(0, start + count, length));
    start += count + length;
  }
  GRAFT_ASSERT(start == x.size(0));
  return at::cat(parts);
}

std::vector<int32_t> lengthened(std::span<const int32_t> lengths, int64_t count) {
  std::vector<int32_t> longer(lengths.begin(), lengths.end());
  for (auto& length : longer) length += static_cast<int32_t>(count);
  return longer;
}

}  // namespace graft::peft
