#include "kernels/nf4/dynamic_map.h"

#include <algorithm>
#include <array>

#include "kernels/nf4/nf4.h"

namespace graft::kernels {
namespace {

/// Point `index` of `count` evenly spaced ones from 0.1 to 1: from the nearer end and with one rounding, as torch.linspace has it.
/// A product of two floats is exact in double.
float spaced_point(int index, int count) {
  constexpr float kFirst = 0.1f, kLast = 1.0f;
  const double step = (kLast - kFirst) / static_cast<float>(count - 1);
  return static_cast<float>(index < count / 2 ? kFirst + step * index : kLast - step * (count - 1 - index));
}

}  // namespace

std::vector<float> dynamic_map_8bit() {
  // Seven decades; the decade 10^-6 has one fraction a sign, each further one twice as many.
  constexpr std::array<double, 7> kDecades = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0};
  std::vector<float> map = {0.0f, 1.0f};
  for (size_t d = 0; d < kDecades.size(); ++d) {
    const int points = (1 << d) + 1;
    for (int i = 0; i + 1 < points; ++i) {
      const float middle = (spaced_point(i, points) + spaced_point(i + 1, points)) / 2.0f;
      const float value = static_cast<float>(kDecades[d]) * middle;
      map.push_back(value);
      map.push_back(-value);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

namespace detail {

DynamicCoder::DynamicCoder() : map_(dynamic_map_8bit()) {
  for (size_t i = 0; i < borders_.size(); ++i) borders_[i] = (map_[i] + map_[i + 1]) * 0.5f;
}

uint8_t DynamicCoder::code(float value) const {
  // The value is first rounded to one of 65,536 even steps over [-1, 1]; the product and the sum with one rounding, hence in double.
  const float unit = (std::clamp(value, -1.0f, 1.0f) + 1.0f) * 0.5f;
  const auto step = static_cast<int>(static_cast<float>(65535.0 * static_cast<double>(unit) + 0.5));
  const float stepped = 2.0f * static_cast<float>(step) / 65535.0f - 1.0f;
  return static_cast<uint8_t>(std::lower_bound(borders_.begin(), borders_.end(), stepped) - borders_.begin());
}

namespace {

constexpr size_t kRows = 4, kMostLanes = 8, kLevels = 4;
using Partial = std::array<float, kRows * kMostLanes>;

void add(Partial& to, const float* from, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] += from[i];
}

/// Sums of `steps` rows of `stride` values each. They cascade: level 0 is emptied into level 1 every 2^power steps, level 1 into level 2
/// every 2^(2 power), ...
Partial cascaded_sums(const float* values, size_t steps, size_t stride) {
  size_t ceil_log2 = 0;
  while ((size_t{1} << ceil_log2) < steps) ++ceil_log2;
  const size_t power = std::max<size_t>(4, ceil_log2 / kLevels), level_step = size_t{1} << power;
  std::array<Partial, kLevels> levels{};
  for (size_t step = 0; step < steps;) {
    const size_t until = std::min(step + level_step, steps);
    const bool full = until - step == level_step;
    for (; step < until; ++step) add(levels[0], values + step * stride, stride);
    for (size_t level = 1; full && level < kLevels; ++level) {
      add(levels[level], levels[level - 1].data(), stride);
      levels[level - 1].fill(0.0f);
      if (((step >> (level * power)) & (level_step - 1)) != 0) break;
    }
  }
  for (size_t level = 1; level < kLevels; ++level) add(levels[0], levels[level].data(), stride);
  return levels[0];
}

}  // namespace

float mean_in_torch_order(std::span<const float> values) {
  if (values.empty()) return 0.0f;
  const size_t lanes = values.size() < kMostLanes ? 1 : kMostLanes;
  const size_t vectors = values.size() / lanes, steps = vectors / kRows;
  auto sums = cascaded_sums(values.data(), steps, lanes * kRows);
  for (size_t v = steps * kRows; v < vectors; ++v) add(sums, &values[v * lanes], lanes);
  for (size_t row = 1; row < kRows; ++row) add(sums, &sums[row * lanes], lanes);
  float sum = 0.0f;
  for (size_t i = vectors * lanes; i < values.size(); ++i) sum += values[i];
  for (size_t lane = 0; lane < lanes; ++lane) sum += sums[lane];
  return sum / static_cast<float>(values.size());
}

}  // namespace detail
}  // namespace graft::kernels
