#pragma once

#include "data_loaders/cloud/cloud_folder.h"

namespace graft::apps::cloud {

/// Which part of a data folder is meant, for folders that hold several: the sections `data` and `target`.
struct FolderConfig {
  std::string split, domain, camera;
  std::vector<std::string> classes;

  template <class V>
  void visit(V& v) {
    v("split", split, "train, test, ...; empty: whatever there is");
    v("domain", domain, "of a folder with several: modelnet, shapenet, scannet, real, synthetic");
    v("camera", camera, "kinect or realsense; empty: both");
    v("classes", classes, "only these classes; also the names of the numbers in HDF5 files");
  }
  data::FolderChoice choice() const { return {.split = split, .domain = domain, .camera = camera, .classes = classes}; }
};

}  // namespace graft::apps::cloud
