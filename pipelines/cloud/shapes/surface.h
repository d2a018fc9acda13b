#pragma once

// Internal to pipelines/cloud/shapes: bodies put together from simple parts, z up, and points drawn from their surface.

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "peft_core/base/rng.h"

namespace graft::pipelines::shapes {

using Point = std::array<float, 3>;

/// Random proportions of one object.
class Dice {
 public:
  explicit Dice(RandomStream stream) : stream_(stream) {}
  float between(float low, float high) { return low + (high - low) * static_cast<float>(stream_.uniform()); }
  bool chance(double probability) { return stream_.uniform() < probability; }
  int64_t number(int64_t low, int64_t high) { return low + static_cast<int64_t>(stream_.below(static_cast<uint64_t>(high - low + 1))); }
  float normal();
  /// A number of a range that is spread evenly on a logarithmic scale.
  float scale(float low, float high) { return std::exp(between(std::log(low), std::log(high))); }

 private:
  RandomStream stream_;
};

/// A bag of triangles.
class Surface {
 public:
  void triangle(const Point& a, const Point& b, const Point& c);
  void quad(const Point& a, const Point& b, const Point& c, const Point& d);
  /// A box that stands on `bottom` around (x, y).
  void box(float x, float y, float bottom, float length, float width, float height);
  /// A cone cut off, closed at both ends; equal radii make a cylinder, a radius of 0 a point.
  void frustum(const Point& from, const Point& to, float radius_from, float radius_to, int64_t sides = 14);
  void ellipsoid(const Point& middle, float rx, float ry, float rz);
  void torus(const Point& middle, float ring, float tube);
  /// A roof over (x, y) with its ridge along x; `hip` is how far the ridge ends stand in from the walls (0: gable).
  void ridge_roof(float x, float y, float bottom, float length, float width, float height, float hip);
  /// Small leaves strewn within an ellipsoid.
  void leaves(Dice& dice, const Point& middle, float rx, float ry, float rz, int64_t count);

  /// Turns all triangles from `first` on about the vertical through (x, y).
  void turn(size_t first, float x, float y, float angle);
  size_t size() const { return triangles_.size(); }

  /// `count` points, each area alike. The surface has at least one triangle with an area.
  std::vector<float> draw(Dice& dice, int64_t count) const;

 private:
  std::vector<std::array<Point, 3>> triangles_;
};

}  // namespace graft::pipelines::shapes
