#pragma once

#include <filesystem>
#include <span>

#include "data_loaders/cloud/point_cloud.h"
#include "pipelines/cloud/picture.h"

namespace graft::pipelines {

/// Labels beside the classes' own, which count from 0.
constexpr int32_t kUnlabelled = -1;  ///< ground, and points of no object
constexpr int32_t kNoneOfThese = -2;

/// The colour of a class; ten that people with weak colour sight tell apart, then further turns of the hue. Greys for what is no class.
Colour colour_of_label(int32_t label);

/// The opposite of data::with_z_up(): the cloud as its file has it.
data::PointCloud turned_back(data::PointCloud cloud, data::UpAxis up);

/// Write a cloud, binary little-endian, whose `labels` (one a point) become a field `label` (int32) and the colours, atomically.
/// PLY: positions as float; double where the cloud has an origin of its own, so that they are the file's. PCD, which programs read as float
/// only, then has positions from that origin, which its first comment names.
/// Throws   InvalidArgument without a label for each point, IoError if the disk refuses.
void write_labelled_ply(const std::filesystem::path& file, const data::PointCloud& cloud, std::span<const std::string> classes);
void write_labelled_pcd(const std::filesystem::path& file, const data::PointCloud& cloud, std::span<const std::string> classes);

}  // namespace graft::pipelines
