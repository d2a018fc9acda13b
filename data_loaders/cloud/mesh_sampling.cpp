#include "data_loaders/cloud/mesh_sampling.h"

#include <algorithm>
#include <cmath>

#include "data_loaders/cloud/read_cloud.h"
#include "peft_core/base/rng.h"

namespace graft::data {
namespace {

using Vector = std::array<double, 3>;

Vector vertex(const Mesh& mesh, int64_t i) {
  const double* p = mesh.vertices.data() + 3 * i;
  return {p[0], p[1], p[2]};
}

double area_of(const Vector& a, const Vector& b, const Vector& c) {
  const Vector u = {b[0] - a[0], b[1] - a[1], b[2] - a[2]}, v = {c[0] - a[0], c[1] - a[1], c[2] - a[2]};
  const double x = u[1] * v[2] - u[2] * v[1], y = u[2] * v[0] - u[0] * v[2], z = u[0] * v[1] - u[1] * v[0];
  return std::sqrt(x * x + y * y + z * z) / 2;
}

/// Sums of the areas up to each triangle. What is no finite area counts as none.
std::vector<double> area_sums(const Mesh& mesh) {
  std::vector<double> sums;
  sums.reserve(mesh.triangles.size());
  double sum = 0;
  for (const auto& [a, b, c] : mesh.triangles) {
    const double area = area_of(vertex(mesh, a), vertex(mesh, b), vertex(mesh, c));
    if (std::isfinite(area) && std::isfinite(sum + area)) sum += area;
    sums.push_back(sum);
  }
  return sums;
}

void add_sample(const Mesh& mesh, const std::array<int64_t, 3>& triangle, RandomStream& random, RawPoints& raw) {
  // The root makes the place uniform in the triangle (Osada et al. 2002).
  const double root = std::sqrt(random.uniform()), along = random.uniform();
  const std::array<double, 3> weights = {1 - root, root * (1 - along), root * along};
  for (size_t axis = 0; axis < 3; ++axis) {
    double sum = 0;
    for (size_t corner = 0; corner < 3; ++corner) sum += weights[corner] * vertex(mesh, triangle[corner])[axis];
    raw.xyz.push_back(sum);
  }
  if (mesh.colours.empty()) return;
  const auto nearest = static_cast<size_t>(std::max_element(weights.begin(), weights.end()) - weights.begin());
  const auto colour = mesh.colours.begin() + 3 * triangle[nearest];
  raw.colours.insert(raw.colours.end(), colour, colour + 3);
}

}  // namespace

void add_polygon(Mesh& mesh, const std::vector<int64_t>& corners) {
  for (size_t i = 2; i < corners.size(); ++i) mesh.triangles.push_back({corners[0], corners[i - 1], corners[i]});
}

PointCloud cloud_of_mesh(Mesh mesh, const std::string& source, const ReadOptions& options) {
  const auto sums = area_sums(mesh);
  if (sums.empty() || sums.back() <= 0) {
    const bool flat = !sums.empty();
    auto cloud = to_cloud({.xyz = std::move(mesh.vertices), .colours = std::move(mesh.colours)}, source);
    if (flat) cloud.notes.push_back("no triangle has an area; the vertices are the points");
    return cloud;
  }
  RawPoints raw;
  raw.xyz.reserve(static_cast<size_t>(options.mesh_points) * 3);
  RandomStream random(options.seed, "mesh points");
  for (int64_t i = 0; i < options.mesh_points; ++i) {
    const auto place = std::upper_bound(sums.begin(), sums.end(), random.uniform() * sums.back());
    const auto triangle = std::min<int64_t>(place - sums.begin(), static_cast<int64_t>(sums.size()) - 1);
    add_sample(mesh, mesh.triangles[static_cast<size_t>(triangle)], random, raw);
  }
  auto cloud = to_cloud(std::move(raw), source);
  cloud.notes.push_back(std::to_string(options.mesh_points) + " points drawn from " + std::to_string(mesh.triangles.size()) + " triangles, seed " +
                        std::to_string(options.seed));
  return cloud;
}

}  // namespace graft::data
