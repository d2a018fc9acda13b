#pragma once

// Private to the CUDA variant and its test.

#include "kernels/base/block_program.h"
#include "kernels/base/error.h"
#include "kernels/depth_views/depth_views_cuda.h"
#include "kernels/depth_views/splat.h"

namespace graft::kernels::detail {

/// A block draws a band of a picture, so that all its grids lie in shared memory and one cloud still fills several multiprocessors.
constexpr int kDepthBand = 22, kDepthBands = static_cast<int>(kDepthImage) / kDepthBand;
static_assert(kDepthBands * kDepthBand == kDepthImage);

using ThreeFloats = std::array<float, 3>;
struct Lowest {
  GRAFT_HOST_DEVICE ThreeFloats operator()(const ThreeFloats& a, const ThreeFloats& b) const {
    return {std::min(a[0], b[0]), std::min(a[1], b[1]), std::min(a[2], b[2])};
  }
};
struct Highest {
  GRAFT_HOST_DEVICE float operator()(float a, float b) const { return std::max(a, b); }
  GRAFT_HOST_DEVICE ThreeFloats operator()(const ThreeFloats& a, const ThreeFloats& b) const {
    return {std::max(a[0], b[0]), std::max(a[1], b[1]), std::max(a[2], b[2])};
  }
};

/// First stage: image[picture] = the largest of the pooled and smoothed slices, most[picture, band] = its largest value. A block has a band
/// of a picture and takes the slices in turn; the rows that its windows need beyond the band are computed by the neighbours too.
struct DrawDepthBands {
  static constexpr int kThreads = 256;
  static constexpr int kGrid = static_cast<int>(kDepthGrid), kImage = static_cast<int>(kDepthImage);
  static constexpr int kPooled = kDepthBand + 2, kCells = kPooled + 6;  // rows for the Gaussian, rows for the pooling
  /// Two grids change places: cells -> largest of columns -> pooled -> smoothed along columns -> the band.
  struct Shared {
    float first[kCells][kGrid], second[kPooled][kGrid], band[kDepthBand][kImage];
  };

  DeviceClouds clouds;
  const float* views;
  int64_t view_count;
  float middle, edge;  // the Gaussian's taps
  float* image;        // (pictures, 110, 110)
  float* most;         // (pictures, bands)

  /// What a block works at.
  struct Work {
    const float* points;
    int64_t count;
    Rotation view;
    int top;  // the band's first row
  };

  GRAFT_HOST_DEVICE Work work_of(int64_t picture, int band) const {
    const int64_t cloud = picture / view_count, begin = clouds.starts[cloud];
    Work work{clouds.points + 3 * begin, clouds.starts[cloud + 1] - begin, {}, band * kDepthBand};
    for (size_t i = 0; i < 9; ++i) work.view[i] = views[picture % view_count * 9 + static_cast<int64_t>(i)];
    return work;
  }

  /// Calls f(row, column) for this thread's places of a grid.
  template <class F>
  static GRAFT_HOST_DEVICE void over_grid(int thread, int rows, int columns, const F& f) {
    for (int i = thread; i < rows * columns; i += kThreads) f(i / columns, i % columns);
  }

  template <class Block>
  GRAFT_HOST_DEVICE Frame frame(Block& block, const Work& work) const {
    typename Block::template PerThread<ThreeFloats> lows, highs;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    block.each([&](int thread) {
      ThreeFloats low{kInfinity, kInfinity, kInfinity}, high{-kInfinity, -kInfinity, -kInfinity};
      for (int64_t i = thread; i < work.count; i += kThreads) {
        if (!is_point(work.points + 3 * i)) continue;
        const auto p = rotated(work.points + 3 * i, work.view);
        low = Lowest()(low, p), high = Highest()(high, p);
      }
      lows[thread] = low, highs[thread] = high;
    });
    const auto low = block.reduce(lows, Lowest()), high = block.reduce(highs, Highest());
    return low[0] <= high[0] ? frame_between(low, high) : Frame();
  }

  /// The cells of one slice in shared.first. False, for all threads, if none of its points fall there.
  template <class Block>
  GRAFT_HOST_DEVICE bool splat(Block& block, Shared& shared, const Work& work, const Frame& frame, int slice) const {
    typename Block::template PerThread<float> seen;
    block.each([&](int thread) { over_grid(thread, kCells, kGrid, [&](int r, int c) { shared.first[r][c] = 0; }); });
    block.each([&](int thread) {
      float any = 0;
      for (int64_t i = thread; i < work.count; i += kThreads) {
        if (!is_point(work.points + 3 * i)) continue;
        const auto at = splat_of(rotated(work.points + 3 * i, work.view), frame);
        const int row = at.row - work.top + 3;  // one for the Gaussian, two for the pooling
        if (at.slice != slice || row < 0 || row >= kCells) continue;
        keep_larger(&shared.first[row][at.column], at.depth);
        any = 1;
      }
      seen[thread] = any;
    });
    return block.reduce(seen, Highest()) > 0;
  }

  /// The largest of 7 x 7 cells, from two before to four behind; zeros outside of the picture. From shared.first to shared.first.
  template <class Block>
  GRAFT_HOST_DEVICE void pool(Block& block, Shared& shared, int top) const {
    block.each([&](int thread) {
      over_grid(thread, kPooled, kGrid, [&](int r, int c) {
        float most_of_column = 0;
        for (int i = 0; i < 7; ++i) most_of_column = std::max(most_of_column, shared.first[r + i][c]);
        shared.second[r][c] = most_of_column;
      });
    });
    block.each([&](int thread) {
      over_grid(thread, kPooled, kImage, [&](int r, int c) {
        const int row = top - 1 + r;
        float value = 0;
        for (int j = c < 2 ? 0 : c - 2; j < c + 5 && j < kGrid; ++j) value = std::max(value, shared.second[r][j]);
        shared.first[r][c] = row >= 0 && row < kImage ? value : 0;
      });
    });
  }

  /// The band keeps the larger of itself and the smoothed slice in shared.first.
  template <class Block>
  GRAFT_HOST_DEVICE void smooth(Block& block, Shared& shared) const {
    block.each([&](int thread) {
      over_grid(thread, kDepthBand, kImage, [&](int r, int c) {
        shared.second[r][c] = middle * shared.first[r + 1][c] + edge * (shared.first[r][c] + shared.first[r + 2][c]);
      });
    });
    block.each([&](int thread) {
      over_grid(thread, kDepthBand, kImage, [&](int r, int c) {
        const float left = c > 0 ? shared.second[r][c - 1] : 0, right = c + 1 < kImage ? shared.second[r][c + 1] : 0;
        shared.band[r][c] = std::max(shared.band[r][c], middle * shared.second[r][c] + edge * (left + right));
      });
    });
  }

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared& shared) const {
    const int64_t picture = block.index() / kDepthBands;
    const Work work = work_of(picture, static_cast<int>(block.index() % kDepthBands));
    const Frame around = frame(block, work);
    block.each([&](int thread) { over_grid(thread, kDepthBand, kImage, [&](int r, int c) { shared.band[r][c] = 0; }); });
    for (int slice = 1; slice <= kDepthSlices - 2; ++slice) {  // depths are 1 to 6
      if (!splat(block, shared, work, around, slice)) continue;
      pool(block, shared, work.top);
      smooth(block, shared);
    }
    typename Block::template PerThread<float> largest;
    block.each([&](int thread) {
      float own = 0;
      over_grid(thread, kDepthBand, kImage, [&](int r, int c) {
        own = std::max(own, shared.band[r][c]);
        image[(picture * kImage + work.top + r) * kImage + c] = shared.band[r][c];
      });
      largest[thread] = own;
    });
    const float of_band = block.reduce(largest, Highest());
    block.each([&](int thread) {
      if (thread == 0) most[block.index()] = of_band;
    });
  }
};

/// Second stage: pictures = 1 - image / its largest value, stretched. A thread has four pixels of a picture.
struct StretchDepthImages {
  static constexpr int kThreads = 256, kPixels = 4 * kThreads;
  struct Shared {};

  const float* image;
  const float* most;
  int64_t side;
  float* pictures;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t pixels = side * side, tiles = ceil_divide(pixels, kPixels), picture = block.index() / tiles;
    const int64_t begin = block.index() % tiles * kPixels, end = begin + kPixels < pixels ? begin + kPixels : pixels;
    const float* from = image + picture * kDepthImage * kDepthImage;
    block.each([&](int thread) {
      float nearest = 0;
      for (int band = 0; band < kDepthBands; ++band) nearest = std::max(nearest, most[picture * kDepthBands + band]);
      const float scale = nearest > 0 ? 1 / nearest : 0;
      const auto at = [&](int64_t row, int64_t column) { return std::max(0.0f, 1 - from[row * kDepthImage + column] * scale); };
      for (int64_t i = begin + thread; i < end; i += kThreads) {
        const Place row = place_of(i / side, side), column = place_of(i % side, side);
        const auto between = [&](int64_t c) {
          const float above = at(row.first, c);
          return above + row.share * (at(row.second, c) - above);
        };
        const float left = between(column.first);
        pictures[picture * pixels + i] = left + column.share * (between(column.second) - left);
      }
    });
  }
};

inline int64_t depth_scratch(int64_t pictures) { return pictures * (kDepthImage * kDepthImage + kDepthBands); }

template <class Launcher>
void launch_depth_views(const Launcher& launch, const DeviceClouds& clouds, const float* views, int64_t view_count, int64_t side,
                        float* pictures, float* scratch) {
  if (clouds.count < 0 || view_count < 0 || side < 0) {
    throw InvalidArgument({.where = "depth views on CUDA", .what = "cannot draw a negative number of clouds, views or pixels"});
  }
  const int64_t count = clouds.count * view_count;
  float *image = scratch, *most = scratch + count * kDepthImage * kDepthImage;
  const auto taps = gaussian_taps();
  launch(count * kDepthBands, DrawDepthBands{clouds, views, view_count, static_cast<float>(taps.middle), static_cast<float>(taps.edge), image, most});
  launch(count * ceil_divide(side * side, StretchDepthImages::kPixels), StretchDepthImages{image, most, side, pictures});
}

}  // namespace graft::kernels::detail
