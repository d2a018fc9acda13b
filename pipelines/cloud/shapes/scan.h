#pragma once

// Internal to pipelines/cloud/shapes: what a sensor leaves of a surface.

#include "pipelines/cloud/shapes/surface.h"

namespace graft::pipelines::shapes {

constexpr int64_t kFewestPoints = 100;

/// The points as a laser would have met them: from above (as aircraft see things) or from one side, with what is hidden thinned out, noise,
/// a few strays, and between kFewestPoints and `most` points where there are as many. A survey from above has so many returns a square metre:
/// small things get few of them. `points` are in metres.
std::vector<float> scanned(std::vector<float> points, int64_t most, Dice& dice);

}  // namespace graft::pipelines::shapes
