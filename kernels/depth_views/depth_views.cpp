#include "kernels/depth_views/depth_views.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/depth_views/depth_views.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "kernels/depth_views/splat.h"

#ifndef GRAFT_DEPTH_VIEWS_SCRATCH
#define GRAFT_DEPTH_VIEWS_SCRATCH
namespace graft::kernels::detail {

// Rows are longer than the pictures, so that whole vectors can be read at every place; what they hold behind the pictures is never used.
constexpr int64_t kStride = 128, kPad = 2, kRows = kDepthGrid + 2 * kPad + 1;

/// Memory of one thread, one picture at a time.
struct Scratch {
  std::vector<float> slices = std::vector<float>(static_cast<size_t>(kDepthSlices * kRows * kStride));  // zero between pictures
  std::vector<float> pooled = std::vector<float>(static_cast<size_t>(kRows * kStride));  // with a row and a column of zeros before it
  std::vector<float> row = std::vector<float>(static_cast<size_t>(2 * kStride));
  std::vector<float> image = std::vector<float>(static_cast<size_t>(kRows * kStride));

  float* slice(int64_t number) { return slices.data() + number * kRows * kStride; }
};

}  // namespace graft::kernels::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;  // 112 is a multiple of every such vector
using detail::kStride;

template <class Body>
HWY_INLINE void along_row(const Body& body) {
  for (int64_t c = 0; c < kDepthGrid; c += static_cast<int64_t>(hn::Lanes(D()))) body(c);
}

/// to[c] = the largest of seven rows, then of seven columns: three maxima each, as max(7) = max of two fours that overlap.
HWY_INLINE void pool_row(const float* slice, float* columns, float* to) {
  const D d;
  along_row([&](int64_t c) HWY_ATTR {
    auto most = hn::LoadU(d, slice + c);
    for (int64_t i = 1; i < 7; ++i) most = hn::Max(most, hn::LoadU(d, slice + i * kStride + c));
    hn::StoreU(most, d, columns + c);
  });
  for (int64_t c = kDepthGrid; c < kStride; ++c) {  // the grid's last columns and the padding behind them
    float most = 0;
    for (int64_t i = 0; i < 7; ++i) most = std::max(most, slice[i * kStride + c]);
    columns[c] = most;
  }
  along_row([&](int64_t c) HWY_ATTR {
    auto most = hn::LoadU(d, columns + c);
    for (int64_t j = 1; j < 7; ++j) most = hn::Max(most, hn::LoadU(d, columns + c + j));
    hn::StoreU(most, d, to + c);
  });
  for (int64_t c = kDepthImage; c < kDepthGrid; ++c) to[c] = 0;
}

/// The picture's rows keep the larger of themselves and the smoothed slice. `pooled` has a row of zeros before and behind and a column of
/// zeros before and behind.
HWY_INLINE void smooth_into(const float* pooled, float middle, float edge, float* columns, float* image) {
  const D d;
  const auto m = hn::Set(d, middle), e = hn::Set(d, edge);
  for (int64_t r = 0; r < kDepthImage; ++r) {
    const float *above = pooled + r * kStride, *here = above + kStride, *below = here + kStride;
    along_row([&](int64_t c) HWY_ATTR {
      const auto sides = hn::Add(hn::LoadU(d, above + c), hn::LoadU(d, below + c));
      hn::StoreU(hn::MulAdd(m, hn::LoadU(d, here + c), hn::Mul(e, sides)), d, columns + c);
    });
    std::fill(columns + kDepthGrid, columns + kStride, 0.0f);
    float* row = image + r * kStride;
    along_row([&](int64_t c) HWY_ATTR {
      const auto sides = hn::Add(hn::LoadU(d, columns + c), hn::LoadU(d, columns + c + 2));
      const auto value = hn::MulAdd(m, hn::LoadU(d, columns + c + 1), hn::Mul(e, sides));
      hn::StoreU(hn::Max(hn::LoadU(d, row + c), value), d, row + c);
    });
  }
}

/// The slices' cells -> the picture in scratch.image, 1 - value / largest.
void draw(detail::Scratch& scratch, const bool* used, float middle, float edge) {
  std::fill(scratch.image.begin(), scratch.image.end(), 0.0f);
  for (int64_t s = 0; s < kDepthSlices; ++s) {
    if (!used[s]) continue;
    // One column further right than it is read, so that the column before the picture is the zero of the row's first place.
    for (int64_t r = 0; r < kDepthImage; ++r) pool_row(scratch.slice(s) + r * kStride, scratch.row.data(), scratch.pooled.data() + (r + 1) * kStride + 1);
    smooth_into(scratch.pooled.data(), middle, edge, scratch.row.data(), scratch.image.data());
  }
  float most = 0;
  for (int64_t r = 0; r < kDepthImage; ++r)
    for (int64_t c = 0; c < kDepthImage; ++c) most = std::max(most, scratch.image[static_cast<size_t>(r * kStride + c)]);
  const float scale = most > 0 ? 1 / most : 0;
  for (int64_t r = 0; r < kDepthImage; ++r)
    for (int64_t c = 0; c < kDepthImage; ++c) {
      auto& value = scratch.image[static_cast<size_t>(r * kStride + c)];
      value = std::max(0.0f, 1 - value * scale);
    }
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/rows/highway_targets.h"

namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(draw);

void picture_of(std::span<const float> points, const Rotation& view, int64_t side, Scratch& scratch, float* picture) {
  const auto frame = frame_of(points, view);
  const auto taps = gaussian_taps();
  bool used[kDepthSlices] = {};
  std::vector<float*> cells;
  cells.reserve(points.size() / 3);
  for (size_t i = 0; i + 2 < points.size(); i += 3) {
    if (!is_point(&points[i])) continue;
    const auto splat = splat_of(rotated(&points[i], view), frame);
    float* cell = scratch.slice(splat.slice) + (splat.row + kPad) * kStride + splat.column + kPad;
    *cell = std::max(*cell, splat.depth);
    cells.push_back(cell);
    used[splat.slice] = true;
  }
  HWY_DYNAMIC_DISPATCH(draw)(scratch, used, static_cast<float>(taps.middle), static_cast<float>(taps.edge));
  for (float* cell : cells) *cell = 0;  // far fewer than the grid has
  stretch(scratch.image.data(), kStride, side, picture);
}

}  // namespace

void depth_views(const PointClouds& clouds, std::span<const Rotation> views, int64_t side, float* pictures) {
  choose_highway_targets();
  const auto count = static_cast<int64_t>(views.size());
#pragma omp parallel
  {
    Scratch scratch;
#pragma omp for schedule(dynamic, 4)
    for (int64_t i = 0; i < clouds.count() * count; ++i) {
      const auto cloud = static_cast<size_t>(i / count);
      const auto begin = clouds.starts[cloud], end = clouds.starts[cloud + 1];
      const auto points = clouds.points.subspan(static_cast<size_t>(3 * begin), static_cast<size_t>(3 * (end - begin)));
      picture_of(points, views[static_cast<size_t>(i % count)], side, scratch, pictures + i * side * side);
    }
  }
}

}  // namespace graft::kernels
#endif
