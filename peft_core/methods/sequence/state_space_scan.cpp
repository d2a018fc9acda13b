#include "peft_core/methods/sequence/state_space_scan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <map>
#include <vector>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

/// Sequences that share a transform.
struct Group {
  std::vector<int64_t> rows;    // in v
  std::vector<int64_t> places;  // in the padded buffer, sequence · size + step
  int64_t sequences = 0, longest = 0;
};

/// By size of transform: the power of two that holds a sequence twice.
std::map<int64_t, Group> groups_of(std::span<const int32_t> lengths) {
  std::map<int64_t, Group> groups;
  int64_t row = 0;
  for (const int64_t length : lengths) {
    if (length == 0) continue;
    const auto size = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * length)));
    auto& group = groups[size];
    for (int64_t t = 0; t < length; ++t) {
      group.rows.push_back(row++);
      group.places.push_back(group.sequences * size + t);
    }
    ++group.sequences;
    group.longest = std::max(group.longest, length);
  }
  return groups;
}

at::Tensor indices(const std::vector<int64_t>& values, const at::Tensor& beside) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong).to(beside.device());
}

at::Tensor convolved(const at::Tensor& v, const at::Tensor& log_decay, const Group& group, int64_t size) {
  const auto places = indices(group.places, v);
  const auto padded = at::zeros({group.sequences * size, v.size(1)}, v.options().requires_grad(false)).index_copy(0, places, v.index_select(0, indices(group.rows, v)));
  const auto steps = at::arange(group.longest, v.options().requires_grad(false)).unsqueeze(1);
  const auto kernel = at::fft_rfft(at::exp(steps * log_decay), size, 0);  // beyond the longest sequence it is zero
  const auto signal = at::fft_rfft(padded.view({group.sequences, size, -1}), size, 1);
  return at::fft_irfft(signal * kernel, size, 1).reshape({group.sequences * size, -1}).index_select(0, places);
}

}  // namespace

at::Tensor state_space_scan(const at::Tensor& v, const at::Tensor& log_decay, std::span<const int32_t> lengths) {
  if (std::all_of(lengths.begin(), lengths.end(), [](int32_t length) { return length <= 1; })) return v;
  std::vector<at::Tensor> parts;
  std::vector<int64_t> order;
  for (const auto& [size, group] : groups_of(lengths)) {
    parts.push_back(convolved(v, log_decay, group, size));
    order.insert(order.end(), group.rows.begin(), group.rows.end());
  }
  GRAFT_ASSERT(static_cast<int64_t>(order.size()) == v.size(0));
  if (parts.size() == 1) return parts.front();
  return at::empty_like(v).index_copy(0, indices(order, v), at::cat(parts));
}

at::Tensor carried_states(const at::Tensor& initial, const at::Tensor& log_decay, std::span<const int32_t> lengths) {
  std::vector<at::Tensor> parts;
  for (size_t s = 0; s < lengths.size(); ++s) {
    const auto steps = at::arange(1, lengths[s] + 1, initial.options()).unsqueeze(1);
    parts.push_back(at::exp(steps * log_decay) * initial[static_cast<int64_t>(s)]);
  }
  return parts.empty() ? initial : at::cat(parts);
}

}  // namespace graft::peft
