#include "apps/cloud_clip/cloud_input.h"

#include <algorithm>

#include "data_loaders/cloud/sampling.h"
#include "data_loaders/cloud/up_axis.h"
#include "kernels/base/error.h"

namespace graft::apps::cloud {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWitnesses = 64;      // clouds that are asked for the axis that is up, spread over all
constexpr int64_t kWitnessPoints = 20000;
constexpr size_t kLeastWitnesses = 8;  // fewer are wrong too often: one cloud of real-dales in five, of cad-urban in four

std::vector<fs::path> cloud_paths(const fs::path& input) {
  std::error_code problem;
  if (!fs::exists(input, problem)) throw InvalidArgument({.where = "--input", .what = "there is no file or folder " + input.string()});
  if (!fs::is_directory(input)) return {input};
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(input, fs::directory_options::skip_permission_denied))
    if (entry.is_regular_file(problem) && data::has_cloud_extension(entry.path())) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  if (paths.empty()) throw InvalidArgument({.where = "--input", .what = "holds no point cloud: " + input.string(), .expected = "PLY, PCD, LAS, OBJ, OFF, STL, XYZ, NPY, HDF5, ..."});
  return paths;
}

}  // namespace

CloudInput::CloudInput(const fs::path& input, const InputConfig& config, uint64_t seed) : config_(config), seed_(seed) {
  for (const auto& path : cloud_paths(input)) {
    try {
      const auto count = data::count_clouds(path);
      if (count == 1) files_.push_back({path, -1});
      for (int64_t i = 0; count > 1 && i < count; ++i) files_.push_back({path, i});
    } catch (const Error& problem) {
      lines_.push_back({.file = path.string(), .up = "", .notes = {}, .reason = problem.what()});
    }
  }
  up_.resize(files_.size());
}

CloudInput::CloudInput(std::vector<data::CloudFile> files, const InputConfig& config, uint64_t seed)
    : config_(config), seed_(seed), files_(std::move(files)), up_(files_.size()) {}

data::PointCloud CloudInput::read_file(const data::CloudFile& file) const {
  return data::read_cloud(file, {.mesh_points = config_.mesh_points, .seed = seed_, .frame_columns = 0});
}

data::UpAxis CloudInput::up_axis(const data::PointCloud& cloud) {
  if (config_.preparation.up != "auto") return data::up_axis_named(config_.preparation.up);
  if (cloud.up != data::UpAxis::kUnknown) return cloud.up;
  if (common_up_) return *common_up_;
  std::vector<data::PointCloud> witnesses;
  const size_t asked = std::min(kWitnesses, files_.size());
  for (size_t i = 0; i < asked; ++i) {
    try {
      auto witness = read_file(files_[i * files_.size() / asked]);
      if (witness.up == data::UpAxis::kUnknown) witnesses.push_back(data::random_points(witness, kWitnessPoints, seed_));
    } catch (const Error&) {  // told about when its turn comes
    }
  }
  common_up_ = witnesses.size() < kLeastWitnesses ? data::UpAxis::kZ : data::detect_up_axis(witnesses).axis;
  return *common_up_;
}

std::optional<data::PointCloud> CloudInput::read(int64_t index) {
  const auto& file = files_[static_cast<size_t>(index)];
  InputLine line{.file = file.name(), .up = "", .notes = {}, .reason = ""};
  std::optional<data::PointCloud> cloud;
  try {
    auto raw = read_file(file);
    const auto up = up_[static_cast<size_t>(index)] = up_axis(raw);
    line.dropped = raw.dropped;
    line.points = raw.size();
    line.notes = raw.notes;
    line.up = data::name_of(up);
    cloud = data::prepared(std::move(raw), up, config_.preparation, seed_);
  } catch (const Error& problem) {
    line.reason = problem.what();
  }
  lines_.push_back(std::move(line));
  return cloud;
}

int64_t CloudInput::skipped() const {
  return std::count_if(lines_.begin(), lines_.end(), [](const auto& line) { return !line.reason.empty(); });
}

void CloudInput::expect_some() const {
  if (skipped() == static_cast<int64_t>(lines_.size()) && !lines_.empty())
    throw IoError({.where = lines_.front().file, .what = lines_.size() == 1 ? "cannot be read: " + lines_.front().reason
                                                                           : "no cloud of " + std::to_string(lines_.size()) + " can be read; the first: " + lines_.front().reason});
}

}  // namespace graft::apps::cloud
