#include "kernels/depth_views/perspective_views.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "kernels/base/error.h"
#include "kernels/depth_views/splat.h"

namespace graft::kernels {
namespace {

using Point = std::array<double, 3>;

constexpr double kTurn = std::numbers::pi / 2;

/// All views stand on the same quarter turn about z, which makes rows run down the cloud's y axis.
Rotation view_from(double x, double y) { return detail::turned(x, y, kTurn, 0); }

void check(const PerspectiveEye& eye) {
  const auto expect = [](bool good, const char* what, const char* expected, double got) {
    if (!good) throw InvalidArgument({.where = "perspective_views", .what = what, .expected = expected, .got = std::to_string(got), .hint = ""});
  };
  expect(eye.distance > 1 && std::isfinite(eye.distance), "distance of the eye", "a number above 1, outside the cloud", eye.distance);
  expect(eye.grid > 0, "grid", "at least one pixel", static_cast<double>(eye.grid));
  expect(eye.patch == 1 || (eye.patch > 0 && eye.patch % 2 == 0), "patch", "1 or an even number of pixels", static_cast<double>(eye.patch));
}

/// Mean of a cloud and the distance of its furthest point from there.
struct Extent {
  Point mean{};
  double radius = 0;
};

template <class Body>
void for_each_point(std::span<const float> points, const Body& body) {
  for (size_t i = 0; i + 2 < points.size(); i += 3)
    if (detail::is_point(&points[i])) body(Point{points[i], points[i + 1], points[i + 2]});
}

Extent extent_of(std::span<const float> points) {
  Extent extent;
  double count = 0;
  for_each_point(points, [&](const Point& p) {
    for (size_t a = 0; a < 3; ++a) extent.mean[a] += p[a];
    ++count;
  });
  if (count == 0) return extent;
  for (auto& value : extent.mean) value /= count;
  for_each_point(points, [&](const Point& p) {
    extent.radius = std::max(extent.radius, std::hypot(p[0] - extent.mean[0], p[1] - extent.mean[1], p[2] - extent.mean[2]));
  });
  // The mean of equal points may miss them by its rounding; fp32 points that are not equal lie 6e-8 of their size apart.
  if (extent.radius < 1e-9 * std::hypot(extent.mean[0], extent.mean[1], extent.mean[2])) extent.radius = 0;
  return extent;
}

Point placed(const Point& p, const Extent& extent, const Rotation& r) {
  const double scale = extent.radius > 0 ? 1 / extent.radius : 0;
  Point unit, result;
  for (size_t a = 0; a < 3; ++a) unit[a] = (p[a] - extent.mean[a]) * scale;
  for (size_t a = 0; a < 3; ++a) result[a] = r[3 * a] * unit[0] + r[3 * a + 1] * unit[1] + r[3 * a + 2] * unit[2];
  return result;
}

/// What has fallen on each pixel. Memory of one thread, one picture at a time.
struct Canvas {
  explicit Canvas(int64_t side_) : side(side_), count(static_cast<size_t>(side_ * side_)), nearness(count.size()) {}
  void clear() {
    std::fill(count.begin(), count.end(), 0.0);
    std::fill(nearness.begin(), nearness.end(), 0.0);
  }
  void add(int64_t row, int64_t column, double z) {
    if (row < 0 || column < 0 || row >= side || column >= side) return;
    const auto at = static_cast<size_t>(row * side + column);
    count[at] += 1;
    nearness[at] += 1 / z;
  }
  int64_t side;
  std::vector<double> count, nearness;  // points, and the sum of 1 / z
};

void draw(std::span<const float> points, const Rotation& view, const PerspectiveEye& eye, Canvas& canvas, float* picture) {
  canvas.clear();
  const auto extent = extent_of(points);
  const double half = static_cast<double>(eye.grid) / 2, before = static_cast<double>(eye.patch) / 2;
  for_each_point(points, [&](const Point& point) {
    const auto p = placed(point, extent, view);
    const double z = p[2] + eye.distance;
    const auto first = [&](double across) { return static_cast<int64_t>(std::ceil(half * (across / z + 1) - before)); };
    const int64_t row = first(p[0]), column = first(p[1]);
    for (int64_t i = 0; i < eye.patch; ++i)
      for (int64_t j = 0; j < eye.patch; ++j) canvas.add(row + i, column + j, z);
  });
  for (size_t i = 0; i < canvas.count.size(); ++i) picture[i] = canvas.count[i] > 0 ? static_cast<float>(canvas.count[i] / canvas.nearness[i]) : 0.0f;
}

}  // namespace

PerspectiveEye pointclip_zero_shot_eye() {
  PerspectiveEye eye{.views = {}, .distance = 1.6, .grid = 128};
  for (int turn = 0; turn < 4; ++turn) eye.views.push_back(view_from(turn * kTurn, 0));
  for (const double pole : {-kTurn, kTurn}) eye.views.push_back(view_from(0, pole));
  return eye;
}

PerspectiveEye pointclip_few_shot_eye() {
  auto eye = pointclip_zero_shot_eye();
  eye.distance = 1.4;
  eye.grid = 224;
  std::vector<Rotation> tilted;
  for (const double turn : {2.5, 3.5})
    for (const double lean : {-0.5, 0.5}) tilted.push_back(view_from(turn * kTurn, lean * kTurn));
  eye.views.insert(eye.views.begin() + 4, tilted.begin(), tilted.end());
  return eye;
}

void perspective_views(const PointClouds& clouds, const PerspectiveEye& eye, float* pictures) {
  check(eye);
  const auto count = static_cast<int64_t>(eye.views.size());
#pragma omp parallel
  {
    Canvas canvas(eye.grid);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < clouds.count() * count; ++i) {
      const auto cloud = static_cast<size_t>(i / count);
      const auto begin = clouds.starts[cloud], end = clouds.starts[cloud + 1];
      const auto points = clouds.points.subspan(static_cast<size_t>(3 * begin), static_cast<size_t>(3 * (end - begin)));
      draw(points, eye.views[static_cast<size_t>(i % count)], eye, canvas, pictures + i * eye.grid * eye.grid);
    }
  }
}

}  // namespace graft::kernels
