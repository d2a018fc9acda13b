// Stands in for the files that use PCL where a build has none.
#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/clusters.h"
#include "data_loaders/cloud/pcd_header.h"

namespace graft::data {
namespace {

[[noreturn]] void lacking(const std::string& where, const std::string& what) {
  throw Unavailable({.where = where,
                     .what = what + " needs the library PCL, which this build lacks",
                     .hint = "Debian: apt-get install libpcl-dev, then build again"});
}

}  // namespace

PointCloud read_pcd(const FileContent& file) {
  // A damaged or empty file is called so on any machine.
  if (read_pcd_header(file).points() == 0) return to_cloud({}, file.name);
  lacking(file.name, "PCD");
}

PointCloud without_outliers(const PointCloud& cloud, const OutlierSettings&) { lacking(cloud.source, "removing outliers"); }
GroundSplit split_ground(const PointCloud& cloud, const GroundSettings&) { lacking(cloud.source, "removing the ground"); }
std::vector<CloudCluster> euclidean_clusters(const PointCloud& cloud, const ClusterSettings&) { lacking(cloud.source, "clustering"); }

}  // namespace graft::data
