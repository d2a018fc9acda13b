#include "pipelines/cloud/shapes/surface.h"

#include <algorithm>
#include <numbers>

#include "kernels/base/error.h"

namespace graft::pipelines::shapes {
namespace {

constexpr float kTurn = 2 * std::numbers::pi_v<float>;

Point minus(const Point& a, const Point& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }
Point cross(const Point& a, const Point& b) { return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}; }
float length_of(const Point& a) { return std::sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]); }
Point unit(const Point& a) {
  const float length = std::max(length_of(a), 1e-12f);
  return {a[0] / length, a[1] / length, a[2] / length};
}
/// The point i of n on a circle about `middle`, spanned by u and v.
Point on_circle(const Point& middle, const Point& u, const Point& v, float radius, int64_t i, int64_t n) {
  const float angle = kTurn * static_cast<float>(i) / static_cast<float>(n), c = radius * std::cos(angle), s = radius * std::sin(angle);
  return {middle[0] + c * u[0] + s * v[0], middle[1] + c * u[1] + s * v[1], middle[2] + c * u[2] + s * v[2]};
}

}  // namespace

float Dice::normal() {
  const double u = 1.0 - stream_.uniform(), v = stream_.uniform();  // u is in (0, 1]
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

void Surface::triangle(const Point& a, const Point& b, const Point& c) { triangles_.push_back({a, b, c}); }

void Surface::quad(const Point& a, const Point& b, const Point& c, const Point& d) { triangle(a, b, c), triangle(a, c, d); }

void Surface::box(float x, float y, float bottom, float length, float width, float height) {
  const auto corner = [&](int i) {
    return Point{x + ((i & 1) != 0 ? length : -length) / 2, y + ((i & 2) != 0 ? width : -width) / 2, bottom + ((i & 4) != 0 ? height : 0.0f)};
  };
  for (const auto& face : {std::array{0, 1, 3, 2}, {4, 5, 7, 6}, {0, 1, 5, 4}, {2, 3, 7, 6}, {0, 2, 6, 4}, {1, 3, 7, 5}})
    quad(corner(face[0]), corner(face[1]), corner(face[2]), corner(face[3]));
}

void Surface::frustum(const Point& from, const Point& to, float radius_from, float radius_to, int64_t sides) {
  const auto axis = unit(minus(to, from));
  const auto u = unit(cross(axis, std::abs(axis[2]) < 0.9f ? Point{0, 0, 1} : Point{1, 0, 0})), v = cross(axis, u);
  for (int64_t i = 0; i < sides; ++i) {
    const auto a = on_circle(from, u, v, radius_from, i, sides), b = on_circle(from, u, v, radius_from, i + 1, sides);
    const auto c = on_circle(to, u, v, radius_to, i, sides), d = on_circle(to, u, v, radius_to, i + 1, sides);
    quad(a, b, d, c), triangle(from, a, b), triangle(to, c, d);
  }
}

void Surface::ellipsoid(const Point& middle, float rx, float ry, float rz) {
  constexpr int64_t kRings = 8, kSides = 12;
  const auto at = [&](int64_t ring, int64_t side) {
    const float down = kTurn / 2 * static_cast<float>(ring) / kRings, around = kTurn * static_cast<float>(side) / kSides;
    return Point{middle[0] + rx * std::sin(down) * std::cos(around), middle[1] + ry * std::sin(down) * std::sin(around),
                 middle[2] + rz * std::cos(down)};
  };
  for (int64_t ring = 0; ring < kRings; ++ring)
    for (int64_t side = 0; side < kSides; ++side) quad(at(ring, side), at(ring + 1, side), at(ring + 1, side + 1), at(ring, side + 1));
}

void Surface::torus(const Point& middle, float ring, float tube) {
  constexpr int64_t kAround = 20, kSides = 8;
  const auto at = [&](int64_t i, int64_t j) {
    const float a = kTurn * static_cast<float>(i) / kAround, b = kTurn * static_cast<float>(j) / kSides, r = ring + tube * std::cos(b);
    return Point{middle[0] + r * std::cos(a), middle[1] + r * std::sin(a), middle[2] + tube * std::sin(b)};
  };
  for (int64_t i = 0; i < kAround; ++i)
    for (int64_t j = 0; j < kSides; ++j) quad(at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1));
}

void Surface::ridge_roof(float x, float y, float bottom, float length, float width, float height, float hip) {
  const float l = length / 2, w = width / 2, ridge = std::max(0.0f, l - hip);
  const Point a{x - l, y - w, bottom}, b{x + l, y - w, bottom}, c{x + l, y + w, bottom}, d{x - l, y + w, bottom};
  const Point e{x - ridge, y, bottom + height}, f{x + ridge, y, bottom + height};
  quad(a, b, f, e), quad(d, c, f, e), triangle(a, d, e), triangle(b, c, f);
}

void Surface::leaves(Dice& dice, const Point& middle, float rx, float ry, float rz, int64_t count) {
  const float side = 0.12f * std::max({rx, ry, rz});
  for (int64_t i = 0; i < count;) {
    const Point p{dice.between(-1, 1), dice.between(-1, 1), dice.between(-1, 1)};
    if (length_of(p) > 1) continue;
    const Point at{middle[0] + rx * p[0], middle[1] + ry * p[1], middle[2] + rz * p[2]};
    const auto near = [&] { return Point{at[0] + side * dice.normal(), at[1] + side * dice.normal(), at[2] + side * dice.normal()}; };
    const auto a = near(), b = near();
    triangle(at, a, b), ++i;
  }
}

void Surface::turn(size_t first, float x, float y, float angle) {
  const float c = std::cos(angle), s = std::sin(angle);
  for (size_t i = first; i < triangles_.size(); ++i)
    for (auto& p : triangles_[i]) {
      const float dx = p[0] - x, dy = p[1] - y;
      p[0] = x + c * dx - s * dy, p[1] = y + s * dx + c * dy;
    }
}

std::vector<float> Surface::draw(Dice& dice, int64_t count) const {
  std::vector<double> sums;
  double total = 0;
  for (const auto& [a, b, c] : triangles_) sums.push_back(total += length_of(cross(minus(b, a), minus(c, a))));
  GRAFT_ASSERT(total > 0);
  std::vector<float> points;
  points.reserve(static_cast<size_t>(3 * count));
  for (int64_t i = 0; i < count; ++i) {
    const auto found = std::upper_bound(sums.begin(), sums.end(), total * static_cast<double>(dice.between(0, 1)));
    const auto& [a, b, c] = triangles_[static_cast<size_t>(std::min<ptrdiff_t>(found - sums.begin(), std::ssize(sums) - 1))];
    float u = dice.between(0, 1), v = dice.between(0, 1);
    if (u + v > 1) u = 1 - u, v = 1 - v;
    for (size_t k = 0; k < 3; ++k) points.push_back(a[k] + u * (b[k] - a[k]) + v * (c[k] - a[k]));
  }
  return points;
}

}  // namespace graft::pipelines::shapes
