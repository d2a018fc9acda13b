#include "pipelines/report/curve.h"

#include <algorithm>
#include <cmath>

namespace graft::pipelines {

std::vector<CurvePoint> thin_out(const std::vector<CurvePoint>& points, size_t most) {
  if (points.size() <= most || most == 0) return points;
  std::vector<CurvePoint> thin;
  for (size_t bucket = 0; bucket < most; ++bucket) {
    const size_t begin = bucket * points.size() / most, end = (bucket + 1) * points.size() / most;
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += points[i].value;
    thin.push_back({points[end - 1].step, sum / static_cast<double>(end - begin)});
  }
  return thin;
}

std::vector<CurvePoint> smoothed(const std::vector<CurvePoint>& points) {
  const double memory = std::max(4.0, static_cast<double>(points.size()) / 20.0);
  const double keep = 1.0 - 1.0 / memory;
  std::vector<CurvePoint> smooth;
  double sum = 0, weight = 0;
  for (const auto& point : points) {
    if (!std::isfinite(point.value)) continue;
    sum = keep * sum + point.value;
    weight = keep * weight + 1.0;
    smooth.push_back({point.step, sum / weight});
  }
  return smooth;
}

}  // namespace graft::pipelines
