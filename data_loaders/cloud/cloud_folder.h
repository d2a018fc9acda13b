#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data_loaders/cloud/read_cloud.h"

namespace graft::data {

/// Which part of a data folder is meant. Empty: whatever there is, as long as there is no choice to make.
struct FolderChoice {
  std::string split;                 ///< train, test, ...
  std::string domain;                ///< modelnet, shapenet, scannet (PointDA-10); real, synthetic (GraspNetPC-10)
  std::string camera;                ///< kinect, realsense; empty: both together, as GraspNetPC-10 does for its synthetic part
  std::vector<std::string> classes;  ///< only these, the others are passed over; also the names of the numbers in HDF5 files
};

struct LabelledClouds {
  std::vector<std::string> classes;  ///< sorted
  std::vector<CloudFile> files;
  std::vector<int64_t> labels;  ///< index into classes, one for each file

  int64_t size() const { return static_cast<int64_t>(files.size()); }
};

/// Lists the clouds of a folder with their classes, in the order of their names. No cloud is read.
///
/// Read are
///   an index.csv with columns `file` and `label` (and `split`, if any), at the folder's root; it goes before all else;
///   folders that name the class, with folders for split, domain and camera above or below it in any order:
///     <class>/<file>, <split>/<class>/<file>, <class>/<split>/<file> (PointDA-10's modelnet and shapenet),
///     <split>/<domain>/<camera>/<class>/<file> and <domain>/<split>/<camera>/<class>/<file> (GraspNetPC-10);
///   HDF5 files whose dataset `label` gives numbers (ModelNet40, ScanObjectNN, BIMNet10, PointDA-10's scannet), chosen for a split by
///     <split>_files.txt or by their names; the names of the numbers stand in classes.txt, shape_names.txt, or in `choice.classes`.
/// A level of folders is one of splits (domains, cameras) if all folders in it bear such a name.
/// Throws   InvalidArgument if there is a choice to make (the possibilities listed), for a wanted class or part that is not there, and for
///          a folder without clouds; IoError for an index.csv or HDF5 file that is wrong, with its line.
LabelledClouds labelled_clouds(const std::filesystem::path& folder, const FolderChoice& choice = {});

/// The clouds without their classes: index.csv is not opened, `label` in HDF5 files is not read, folders named like classes are only walked
/// through (choice.classes passes none over). For a target domain whose labels must not be known.
///
/// All cloud files of the folder, in the order of their names; or those that a files.txt at its root lists, one path a line, in its order.
std::vector<CloudFile> unlabelled_clouds(const std::filesystem::path& folder, const FolderChoice& choice = {});

/// Up to `shots` clouds of each class, drawn by seed; in the order of `all`. More shots contain the fewer. Throws InvalidArgument unless
/// shots > 0.
LabelledClouds draw_shots(const LabelledClouds& all, int64_t shots, uint64_t seed);

/// The ten classes that the sets' labels count, in their order.
const std::vector<std::string>& point_da_classes();
const std::vector<std::string>& grasp_net_classes();

}  // namespace graft::data
