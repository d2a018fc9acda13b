#include "peft_core/methods/low_rank/row_bank.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

constexpr int64_t kRounds = 100;

/// Row numbers by group and squared distances (out, clusters) to all centres, up to a term that is the same along a row.
struct Groups {
  std::vector<int64_t> of_row;
  at::Tensor distances;

  double distance(int64_t row, int64_t group) const { return distances.const_data_ptr<double>()[row * distances.size(1) + group]; }
  std::vector<int64_t> sizes() const {
    std::vector<int64_t> sizes(static_cast<size_t>(distances.size(1)), 0);
    for (const auto group : of_row) ++sizes[static_cast<size_t>(group)];
    return sizes;
  }
};

int64_t drawn_by(const at::Tensor& chances, at::Generator& random) {
  const double target = at::rand({1}, random, at::TensorOptions(at::kDouble)).item<double>() * chances.sum().item<double>();
  const auto* chance = chances.const_data_ptr<double>();
  double sum = 0;
  for (int64_t i = 0; i < chances.numel(); ++i)
    if ((sum += chance[i]) > target) return i;
  return chances.numel() - 1;
}

at::Tensor spread_centres(const at::Tensor& points, int64_t clusters, at::Generator& random) {
  auto centres = at::empty({clusters, points.size(1)}, at::kDouble);
  auto chances = at::ones({points.size(0)}, at::kDouble);
  for (int64_t c = 0; c < clusters; ++c) {
    const auto centre = points[drawn_by(chances, random)];
    centres[c].copy_(centre);
    const auto squares = (points - centre).square_().sum({1});
    chances = c == 0 ? squares : at::minimum(chances, squares);
  }
  return centres;
}

Groups nearest(const at::Tensor& points, const at::Tensor& centres) {
  Groups groups;
  groups.distances = (centres.square().sum({1}) - at::mm(points, centres.t()) * 2).contiguous();
  const auto* distance = groups.distances.const_data_ptr<double>();
  for (int64_t i = 0; i < points.size(0); ++i, distance += centres.size(0))
    groups.of_row.push_back(std::min_element(distance, distance + centres.size(0)) - distance);
  return groups;
}

/// The mean of each group; an empty one keeps its centre.
at::Tensor centres_of(const Groups& groups, const at::Tensor& points, const at::Tensor& before) {
  const auto members = at::zeros({before.size(0), points.size(0)}, at::kDouble);
  auto* member = members.mutable_data_ptr<double>();
  for (int64_t i = 0; i < points.size(0); ++i) member[groups.of_row[static_cast<size_t>(i)] * points.size(0) + i] = 1;
  const auto sizes = members.sum({1}, /*keepdim=*/true);
  return at::where(sizes > 0, at::mm(members, points) / sizes.clamp_min(1), before);
}

/// Moves the row that loses least by it into each group that is too small, one by one.
void fill_small_groups(Groups& groups, int64_t smallest) {
  auto sizes = groups.sizes();
  for (size_t small = 0; small < sizes.size(); ++small)
    while (sizes[small] < smallest) {
      int64_t best = -1;
      double least = 0;
      for (int64_t i = 0; i < static_cast<int64_t>(groups.of_row.size()); ++i) {
        const auto own = groups.of_row[static_cast<size_t>(i)];
        if (sizes[static_cast<size_t>(own)] <= smallest) continue;
        const double loss = groups.distance(i, static_cast<int64_t>(small)) - groups.distance(i, own);
        if (best < 0 || loss < least) best = i, least = loss;
      }
      GRAFT_ASSERT(best >= 0);  // clusters · rows <= out leaves a group above its share
      --sizes[static_cast<size_t>(groups.of_row[static_cast<size_t>(best)])], ++sizes[small];
      groups.of_row[static_cast<size_t>(best)] = static_cast<int64_t>(small);
    }
}

}  // namespace

at::Tensor clustered_rows(const at::Tensor& weight, int64_t clusters, int64_t rows, at::Generator& random) {
  GRAFT_ASSERT(clusters >= 1 && rows >= 1 && clusters * rows <= weight.size(0));
  at::NoGradGuard no_gradient;
  const auto points = weight.to(at::kDouble), squares = points.square().sum({1});
  auto centres = spread_centres(points, clusters, random);
  auto groups = nearest(points, centres);
  for (int64_t round = 0; round < kRounds; ++round) {
    centres = centres_of(groups, points, centres);
    auto next = nearest(points, centres);
    const bool settled = next.of_row == groups.of_row;
    groups = std::move(next);
    if (settled) break;
  }
  fill_small_groups(groups, rows);
  auto bank = at::empty({clusters, rows}, at::kLong);
  for (int64_t c = 0; c < clusters; ++c) {
    std::vector<std::pair<double, int64_t>> members;
    for (int64_t i = 0; i < points.size(0); ++i)
      if (groups.of_row[static_cast<size_t>(i)] == c) members.emplace_back(groups.distance(i, c) + squares.const_data_ptr<double>()[i], i);
    std::sort(members.begin(), members.end());
    for (int64_t j = 0; j < rows; ++j) bank.mutable_data_ptr<int64_t>()[c * rows + j] = members[static_cast<size_t>(j)].second;
  }
  return bank;
}

at::Tensor random_rows(int64_t out, int64_t clusters, int64_t rows, at::Generator& random) {
  return at::randperm(out, random, at::TensorOptions(at::kLong)).narrow(0, 0, clusters * rows).clone().view({clusters, rows});
}

}  // namespace graft::peft
