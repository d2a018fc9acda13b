#include "pipelines/cloud/shapes/scan.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace graft::pipelines::shapes {
namespace {

constexpr size_t kCells = 20;  // of the grid in which one point hides another, a side
constexpr float kOutdoors = 3;  // square metres seen from above: smaller things are scanned from near by, as close as one likes
constexpr float kFewestReturns = 8, kMostReturns = 60;  // a square metre, of surveys from aircraft

/// Bounding box of a cloud.
struct Box {
  Point low, high;
  float side() const { return std::max({high[0] - low[0], high[1] - low[1], high[2] - low[2], 1e-6f}); }
};

Box box_of(const std::vector<float>& points) {
  Box box{{points[0], points[1], points[2]}, {points[0], points[1], points[2]}};
  for (size_t i = 0; i < points.size(); ++i)
    box.low[i % 3] = std::min(box.low[i % 3], points[i]), box.high[i % 3] = std::max(box.high[i % 3], points[i]);
  return box;
}

struct Seen {
  std::vector<float> points;
  float area;  ///< that it covers, in the unit of the points squared
};

/// Looks along axis `depth` from its large end: of each cell of the other two axes the nearest points stay, of the hidden ones a share.
Seen seen_along(const std::vector<float>& points, size_t depth, float share, Dice& dice) {
  const auto box = box_of(points);
  const float side = box.side(), skin = side * 0.06f;
  const size_t u = (depth + 1) % 3, v = (depth + 2) % 3;
  const auto cell = [&](const float* p) {
    const auto index = [&](size_t axis) { return std::min(kCells - 1, static_cast<size_t>((p[axis] - box.low[axis]) / side * kCells)); };
    return index(u) * kCells + index(v);
  };
  std::vector<float> nearest(kCells * kCells, -std::numeric_limits<float>::infinity()), kept;
  for (size_t i = 0; i < points.size(); i += 3) nearest[cell(&points[i])] = std::max(nearest[cell(&points[i])], points[i + depth]);
  for (size_t i = 0; i < points.size(); i += 3)
    if (points[i + depth] >= nearest[cell(&points[i])] - skin || dice.chance(share)) kept.insert(kept.end(), &points[i], &points[i] + 3);
  const auto covered = std::count_if(nearest.begin(), nearest.end(), [](float z) { return std::isfinite(z); });
  const float edge = side / kCells;
  return {std::move(kept), static_cast<float>(covered) * edge * edge};
}

/// `count` of the points without replacement; all where there are not more.
std::vector<float> thinned(std::vector<float> points, int64_t count, Dice& dice) {
  const int64_t all = std::ssize(points) / 3, keep = std::min(all, count);
  for (int64_t i = 0; i < keep; ++i) {
    const auto other = static_cast<size_t>(dice.number(i, all - 1)), here = static_cast<size_t>(i);
    for (size_t k = 0; k < 3; ++k) std::swap(points[3 * here + k], points[3 * other + k]);
  }
  points.resize(static_cast<size_t>(3 * keep));
  return points;
}

}  // namespace

std::vector<float> scanned(std::vector<float> points, int64_t most, Dice& dice) {
  const float share = dice.chance(0.3) ? 1.0f : dice.scale(0.02f, 0.6f);  // leaves and poles let a beam through, walls do not
  const bool above = dice.chance(0.75);
  auto seen = seen_along(points, above ? 2 : 0, share, dice);
  const auto fewest = static_cast<float>(kFewestPoints), all = static_cast<float>(most) + 0.5f;
  const float count = above && seen.area > kOutdoors ? std::clamp(seen.area * dice.scale(kFewestReturns, kMostReturns), fewest, all) : dice.scale(fewest, all);
  points = thinned(std::move(seen.points), static_cast<int64_t>(count), dice);
  const auto box = box_of(points);
  const float noise = box.side() * dice.scale(0.001f, 0.015f);
  for (auto& x : points) x += noise * dice.normal();
  for (int64_t strays = dice.chance(0.4) ? std::ssize(points) / 3 / 50 : 0; strays > 0; --strays)
    for (size_t k = 0; k < 3; ++k) points.push_back(dice.between(box.low[k], box.high[k]));
  return points;
}

}  // namespace graft::pipelines::shapes
