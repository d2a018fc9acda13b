#include "peft_core/slots/prompt_slot.h"

#include <ATen/ATen.h>

namespace graft::peft {

// Both split once: a narrow() for each sequence would make a gradient of the whole size for each.

at::Tensor with_rows_before(const at::Tensor& x, const at::Tensor& head, std::span<const int32_t> lengths) {
  if (lengths.empty()) return x;
  const auto rows = head.to(x.scalar_type());
  std::vector<at::Tensor> parts;
  for (const auto& own : x.split_with_sizes(std::vector<int64_t>(lengths.begin(), lengths.end()))) {
    parts.push_back(rows);
    parts.push_back(own);
  }
  return at::cat(parts);
}

at::Tensor without_rows_before(const at::Tensor& x, int64_t count, std::span<const int32_t> lengths) {
  if (lengths.empty() || count == 0) return x;
  std::vector<int64_t> sizes;
  for (const auto length : lengths) sizes.insert(sizes.end(), {count, length});
  const auto all = x.split_with_sizes(sizes);
  std::vector<at::Tensor> parts;
  for (size_t i = 1; i < all.size(); i += 2) parts.push_back(all[i]);
  return at::cat(parts);
}

std::vector<int32_t> lengthened(std::span<const int32_t> lengths, int64_t count) {
  std::vector<int32_t> longer(lengths.begin(), lengths.end());
  for (auto& length : longer) length += static_cast<int32_t>(count);
  return longer;
}

}  // namespace graft::peft
