#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "data_loaders/cloud/cloud_folder.h"
#include "data_loaders/cloud/preparation.h"
#include "pipelines/cloud/projection.h"

namespace graft::pipelines {

/// Clouds in memory: z up, mean in the origin, farthest point at distance 1.
struct CloudSet {
  std::vector<data::PointCloud> clouds;
  std::vector<int64_t> labels;      ///< one a cloud; empty for a target
  std::vector<std::string> classes; ///< that labels count; empty for a target
  std::string up;                   ///< which axis of the files was up, and why

  int64_t size() const { return static_cast<int64_t>(clouds.size()); }
};

/// Reads and prepares clouds. Throws what read_cloud() throws, InvalidArgument for a list without files.
CloudSet read_clouds(const std::vector<data::CloudFile>& files, const data::PreparationSettings& preparation, uint64_t seed);
CloudSet read_clouds(const data::LabelledClouds& listed, const data::PreparationSettings& preparation, uint64_t seed);

/// What a model is given of some clouds.
struct CloudBatch {
  at::Tensor views;   ///< (B, M, S, S)
  at::Tensor points;  ///< (B, N, 3); undefined if not wanted
  at::Tensor labels;  ///< (B) int64; undefined for a target
};

struct BatchOptions {
  int64_t side = 224;    ///< S
  Projection projection = Projection::kPointclipV2;
  int64_t points = 0;    ///< N; 0: none are wanted
  bool augment = false;  ///< turned about the vertical at random, and points moved a little (deviation 0.01, at most 0.05)
  double scanned = 0;    ///< share of the clouds that are seen as a sensor sees them (as_scanned()), if `augment`
  uint64_t seed = 0;     ///< of what is drawn; the same batch for the same seed
};

CloudBatch cloud_batch(const CloudSet& set, std::span<const int64_t> indices, const BatchOptions& options);

/// Indices of labelled clouds: all as they are, then those of rarer classes again until every class comes as often as the commonest.
std::vector<int64_t> balanced(const std::vector<int64_t>& labels);

/// N points of each cloud, drawn without replacement, repeated where there are fewer: (B, N, 3).
at::Tensor points_of(std::span<const data::PointCloud> clouds, int64_t count, uint64_t seed);

}  // namespace graft::pipelines
