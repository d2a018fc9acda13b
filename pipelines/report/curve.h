#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace graft::pipelines {

struct CurvePoint {
  int64_t step = 0;
  double value = 0;
};

/// At most `most` points, each the mean of neighbours, at the place of the last one; for drawing long runs.
std::vector<CurvePoint> thin_out(const std::vector<CurvePoint>& points, size_t most);

/// Exponential mean whose memory is about a twentieth of the run; unbiased at its start.
std::vector<CurvePoint> smoothed(const std::vector<CurvePoint>& points);

}  // namespace graft::pipelines
