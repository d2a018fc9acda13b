#include "peft_core/operations/update_rounding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/gguf_blocks/gguf_blocks.h"
#include "peft_core/operations/low_rank_updates.h"

namespace graft::peft {
namespace {

constexpr int kWalks = 2;  // over a row; the second finds little left to mend

/// V (in, r) orthonormal columns, double.
at::Tensor basis_of(const at::Tensor& directions) { return std::get<0>(at::linalg_qr(directions.to(at::kDouble).t())).contiguous(); }

/// A type without blocks: every value by itself.
template <class Number>
struct PlainGrid {
  float nearest(int64_t /*row*/, int64_t /*column*/, float x) const { return static_cast<float>(static_cast<Number>(x)); }
  /// The next value of the type above or below; zero has none here.
  float neighbour(int64_t /*row*/, int64_t /*column*/, float value, bool up) const {
    Number number(value);
    if (value == 0) return value;  // zeros stay
    number.x = static_cast<uint16_t>(number.x + ((value > 0) == up ? 1 : -1));
    return static_cast<float>(number);
  }
  bool fixed(int64_t /*row*/, int64_t /*column*/) const { return false; }
};

/// Q8_0: steps of largest / 127 in half precision. A block's largest value keeps its code of ±127, so that the block's scale stays.
class Q8Grid {
 public:
  explicit Q8Grid(const at::Tensor& merged) : columns_(merged.size(1)), values_(merged.const_data_ptr<float>()) {
    scales_.resize(static_cast<size_t>(merged.numel() / kBlock));
    for (size_t block = 0; block < scales_.size(); ++block) {
      float largest = 0;
      for (int64_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(values_[static_cast<int64_t>(block) * kBlock + i]));
      scales_[block] = kernels::half_to_float(kernels::float_to_half(largest / 127.0f));
    }
  }
  float nearest(int64_t row, int64_t column, float x) const {
    const float scale = scale_of(row, column);
    return scale == 0 ? 0 : std::clamp(std::round(x / scale), -127.0f, 127.0f) * scale;
  }
  float neighbour(int64_t row, int64_t column, float value, bool up) const {
    const float scale = scale_of(row, column);
    return nearest(row, column, value + (up ? scale : -scale));
  }
  bool fixed(int64_t row, int64_t column) const {
    const float scale = scale_of(row, column);
    return scale == 0 || std::fabs(values_[row * columns_ + column]) >= 126.5f * scale;
  }

 private:
  static constexpr int64_t kBlock = 32;
  float scale_of(int64_t row, int64_t column) const { return scales_[static_cast<size_t>((row * columns_ + column) / kBlock)]; }

  int64_t columns_;
  const float* values_;
  std::vector<float> scales_;
};

/// NF4: sixteen values times the scale of a block, which may run over the end of a row.
class Nf4Grid {
 public:
  Nf4Grid(const kernels::Nf4Weight& plain, int64_t columns) : columns_(columns), block_(plain.block_size) {
    const auto blocks = (plain.count + block_ - 1) / block_;
    auto one = plain;  // all codes 15, whose value is 1: what comes out are the scales
    std::fill(one.codes.begin(), one.codes.end(), uint8_t{0xff});
    std::vector<float> expanded(static_cast<size_t>(plain.count));
    kernels::dequantize_nf4(one, 0, std::span<float>(expanded));
    for (int64_t block = 0; block < blocks; ++block) scales_.push_back(expanded[static_cast<size_t>(block * block_)]);
  }
  float nearest(int64_t row, int64_t column, float x) const {
    const float scale = scales_[static_cast<size_t>((row * columns_ + column) / block_)];
    return kernels::nf4_table()[code(x, scale)] * scale;
  }
  float neighbour(int64_t row, int64_t column, float value, bool up) const {
    const float scale = scales_[static_cast<size_t>((row * columns_ + column) / block_)];
    const auto at = static_cast<int64_t>(code(value, scale)) + (up ? 1 : -1);
    return kernels::nf4_table()[static_cast<size_t>(std::clamp<int64_t>(at, 0, 15))] * scale;
  }
  bool fixed(int64_t /*row*/, int64_t /*column*/) const { return false; }
  uint8_t code_at(int64_t place, float value) const { return static_cast<uint8_t>(code(value, scales_[static_cast<size_t>(place / block_)])); }

 private:
  static size_t code(float x, float scale) {
    const auto table = kernels::nf4_table();
    if (!(scale > 0)) return 7;  // the code of zero
    const float scaled = x / scale;
    const auto above = std::lower_bound(table.begin(), table.end(), scaled);
    if (above == table.begin()) return 0;
    if (above == table.end()) return 15;
    return static_cast<size_t>(above - table.begin()) - (scaled - *(above - 1) < *above - scaled ? 1 : 0);
  }

  int64_t columns_, block_;
  std::vector<float> scales_;
};

/// What all rows share.
struct Directions {
  const double* of_column;          ///< (in, r)
  std::vector<double> squares;      ///< ‖v_j‖²
  int64_t columns, rank;
  double weight;

  Directions(const at::Tensor& basis, double chosen) : of_column(basis.const_data_ptr<double>()), columns(basis.size(0)), rank(basis.size(1)), weight(chosen) {
    for (int64_t j = 0; j < columns; ++j) squares.push_back(std::inner_product(at(j), at(j) + rank, at(j), 0.0));
  }
  const double* at(int64_t column) const { return of_column + column * rank; }
};

/// The columns that may move, those first whose target is nearest to the middle between two values: they cost least noise.
template <class Grid>
std::vector<int64_t> visiting_order(const Grid& grid, int64_t row, const float* target, const float* q, int64_t columns) {
  std::vector<int64_t> order;
  std::vector<float> nearness(static_cast<size_t>(columns), 0.0f);
  for (int64_t j = 0; j < columns; ++j) {
    if (grid.fixed(row, j)) continue;
    const float error = target[j] - q[j], step = std::fabs(grid.neighbour(row, j, q[j], error > 0) - q[j]);
    if (step == 0) continue;
    nearness[static_cast<size_t>(j)] = std::fabs(error) / step;
    order.push_back(j);
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return nearness[static_cast<size_t>(x)] > nearness[static_cast<size_t>(y)]; });
  return order;
}

template <class Grid>
void round_row(const Grid& grid, const Directions& directions, int64_t row, const float* target, float* q) {
  std::vector<double> leftover(static_cast<size_t>(directions.rank), 0.0);  // (t − q) Vᵀ
  const auto shift = [&](int64_t j, double by) {
    const auto* v = directions.at(j);
    for (int64_t k = 0; k < directions.rank; ++k) leftover[static_cast<size_t>(k)] += by * v[k];
  };
  for (int64_t j = 0; j < directions.columns; ++j) {
    q[j] = grid.nearest(row, j, target[j]);
    shift(j, static_cast<double>(target[j]) - q[j]);
  }
  const auto order = visiting_order(grid, row, target, q, directions.columns);
  for (int walk = 0; walk < kWalks; ++walk)
    for (const auto j : order) {
      const auto* v = directions.at(j);
      const double along = std::inner_product(v, v + directions.rank, leftover.begin(), 0.0), error = static_cast<double>(target[j]) - q[j];
      // Only the two values between which the target lies: a value further off costs more than it mends.
      const float other = grid.neighbour(row, j, q[j], error > 0);
      const double move = static_cast<double>(other) - q[j];
      const double change = move * (move - 2 * error) + directions.weight * move * (move * directions.squares[static_cast<size_t>(j)] - 2 * along);
      if (!(change < 0)) continue;
      shift(j, -move);
      q[j] = other;
    }
}

template <class Grid>
at::Tensor round_rows(const Grid& grid, const at::Tensor& merged, const at::Tensor& directions, double weight) {
  const auto basis = basis_of(directions);
  const Directions shared(basis, weight);
  auto rounded = at::empty_like(merged);
  const auto* target = merged.const_data_ptr<float>();
  auto* q = rounded.mutable_data_ptr<float>();
  const auto columns = merged.size(1);
  at::parallel_for(0, merged.size(0), 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) round_row(grid, shared, row, target + row * columns, q + row * columns);
  });
  return rounded;
}

void expect_matrices(const at::Tensor& merged, const at::Tensor& directions) {
  GRAFT_ASSERT(merged.dim() == 2 && directions.dim() == 2 && directions.size(1) == merged.size(1) && merged.scalar_type() == at::kFloat);
}

}  // namespace

at::Tensor rounded_for_update(const at::Tensor& merged, const at::Tensor& directions, StoredType type, double weight) {
  at::NoGradGuard no_gradient;
  expect_matrices(merged, directions);
  const auto values = merged.contiguous();
  switch (type) {
    case StoredType::kBf16: return round_rows(PlainGrid<c10::BFloat16>{}, values, directions, weight);
    case StoredType::kF16: return round_rows(PlainGrid<c10::Half>{}, values, directions, weight);
    case StoredType::kQ8_0: break;
  }
  GRAFT_ASSERT(merged.size(1) % 32 == 0);
  return round_rows(Q8Grid(values), values, directions, weight);
}

kernels::Nf4Weight nf4_for_update(const at::Tensor& merged, const at::Tensor& directions, int64_t block_size, double weight) {
  at::NoGradGuard no_gradient;
  expect_matrices(merged, directions);
  const auto values = merged.contiguous();
  auto stored = kernels::quantize_nf4({values.const_data_ptr<float>(), static_cast<size_t>(values.numel())}, block_size);
  const Nf4Grid grid(stored, merged.size(1));
  const auto rounded = round_rows(grid, values, directions, weight);
  const auto* q = rounded.const_data_ptr<float>();
  for (int64_t i = 0; i < rounded.numel(); ++i) {
    auto& both = stored.codes[static_cast<size_t>(i / 2)];
    const auto code = grid.code_at(i, q[i]);
    both = i % 2 == 0 ? static_cast<uint8_t>((both & 0x0f) | code << 4) : static_cast<uint8_t>((both & 0xf0) | code);
  }
  return stored;
}

at::Tensor update_directions(const Adapter& adapter, const FrozenLinear& base) {
  constexpr int64_t kDirections = 16;
  at::NoGradGuard no_gradient;
  if (const auto update = adapter.low_rank()) return update->a.detach();
  return nearest_low_rank(adapter.merged_weight(base) - base.weight(), kDirections).a;
}

void KeptUpdate::add(const at::Tensor& merged, const at::Tensor& stored, const at::Tensor& base) {
  const auto delta = merged.to(at::kFloat) - base.to(at::kFloat);
  product += ((stored.to(at::kFloat) - base.to(at::kFloat)) * delta).sum(at::kDouble).item<double>();
  squared_update += delta.square().sum(at::kDouble).item<double>();
}

}  // namespace graft::peft
