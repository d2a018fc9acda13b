#include "kernels/depth_views/splat.h"

#include <algorithm>
#include <cmath>

namespace graft::kernels {
namespace {

using Matrix = std::array<double, 9>;

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c{};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j)
      for (size_t k = 0; k < 3; ++k) c[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  return c;
}

Matrix about_x(double a) { return {1, 0, 0, 0, std::cos(a), -std::sin(a), 0, std::sin(a), std::cos(a)}; }
Matrix about_y(double a) { return {std::cos(a), 0, std::sin(a), 0, 1, 0, -std::sin(a), 0, std::cos(a)}; }
Matrix about_z(double a) { return {std::cos(a), -std::sin(a), 0, std::sin(a), std::cos(a), 0, 0, 0, 1}; }

}  // namespace

std::vector<Rotation> standard_views() {
  constexpr double kPi = 3.14159265358979323846;
  std::vector<Rotation> views;
  for (const double x : {0.25, 0.75, 1.25, 1.75, 0.0, 0.5, 1.0, 1.5}) views.push_back(detail::turned(x * kPi, 0, kPi / 2, kPi / 9));
  for (const double y : {-0.5, 0.5}) views.push_back(detail::turned(0, y * kPi, kPi / 2, kPi / 15));
  return views;
}

namespace detail {

Rotation turned(double x, double y, double z, double lean) {
  const auto matrix = product(about_y(lean), product(about_x(x), product(about_y(y), about_z(z))));
  Rotation view;
  std::transform(matrix.begin(), matrix.end(), view.begin(), [](double value) { return static_cast<float>(value); });
  return view;
}

Frame frame_of(std::span<const float> points, const Rotation& view) {
  std::array<float, 3> low{}, high{};
  bool empty = true;
  for (size_t i = 0; i + 2 < points.size(); i += 3) {
    if (!is_point(&points[i])) continue;
    const auto p = rotated(&points[i], view);
    for (size_t a = 0; a < 3; ++a) {
      low[a] = empty ? p[a] : std::min(low[a], p[a]);
      high[a] = empty ? p[a] : std::max(high[a], p[a]);
    }
    empty = false;
  }
  return empty ? Frame() : frame_between(low, high);
}

GaussianTaps gaussian_taps() {
  constexpr double kSigma = 3;
  const double edge = std::exp(-1 / (2 * kSigma * kSigma)), sum = 1 + 2 * edge;
  return {1 / sum, edge / sum};
}

void stretch(const float* image, int64_t stride, int64_t side, float* picture) {
  std::vector<Place> places;
  for (int64_t i = 0; i < side; ++i) places.push_back(place_of(i, side));
  std::vector<float> between(static_cast<size_t>(kDepthImage));
  for (int64_t y = 0; y < side; ++y) {
    const auto& row = places[static_cast<size_t>(y)];
    const float *above = image + row.first * stride, *below = image + row.second * stride;
    for (int64_t x = 0; x < kDepthImage; ++x) between[static_cast<size_t>(x)] = above[x] + row.share * (below[x] - above[x]);
    for (int64_t x = 0; x < side; ++x) {
      const auto& column = places[static_cast<size_t>(x)];
      const float left = between[static_cast<size_t>(column.first)], right = between[static_cast<size_t>(column.second)];
      picture[y * side + x] = left + column.share * (right - left);
    }
  }
}

}  // namespace detail
}  // namespace graft::kernels
