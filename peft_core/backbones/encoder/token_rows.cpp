#include "peft_core/backbones/encoder/token_rows.h"

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace graft::peft {

at::Tensor with_rows_replaced(const at::Tensor& x, const at::Tensor& rows, int64_t first, std::span<const int32_t> lengths) {
  if (!rows.defined() || lengths.empty()) return x;
  const int64_t count = rows.size(-2);
  std::vector<int64_t> places;
  int64_t start = 0;
  for (const auto length : lengths) {
    if (length < first + count)
      throw InvalidArgument({.where = "prompt", .what = "a sequence is too short for the prompt's tokens",
                             .expected = "at least " + std::to_string(first + count) + " tokens", .got = std::to_string(length)});
    for (int64_t i = 0; i < count; ++i) places.push_back(start + first + i);
    start += length;
  }
  const auto sequences = static_cast<int64_t>(lengths.size());
  const auto all = (rows.dim() == 2 ? rows.expand({sequences, count, rows.size(1)}) : rows).reshape({sequences * count, x.size(1)});
  return x.index_copy(0, at::tensor(places, at::kLong), all.to(x.scalar_type()));
}

}  // namespace graft::peft
