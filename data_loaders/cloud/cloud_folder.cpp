#include "data_loaders/cloud/cloud_folder.h"

#include <algorithm>
#include <map>
#include <set>

#include "data_loaders/cloud/folder_index.h"
#include "data_loaders/cloud/folder_levels.h"
#include "data_loaders/cloud/hdf5_file.h"
#include "data_loaders/cloud/number_scanner.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/rng.h"
#include "peft_core/base/text_distance.h"

namespace graft::data {
namespace {

namespace fs = std::filesystem;

/// What the numbers in an HDF5 file's labels are called; empty: nothing says.
std::vector<std::string> number_names(const FoundCloudFile& file, const FolderChoice& choice) {
  for (const char* name : {"classes.txt", "shape_names.txt"}) {
    const auto list = file.path.parent_path() / name;
    if (!fs::exists(list)) continue;
    std::vector<std::string> names;
    const auto text = read_file(list);
    TextScanner lines(text);
    while (const auto line = lines.line()) {
      if (!line->empty()) names.emplace_back(*line);
    }
    return names;
  }
  return file.domain == "scannet" ? point_da_classes() : choice.classes;
}

void add_hdf5(const FoundCloudFile& file, const FolderChoice& choice, std::vector<NamedCloud>& named) {
  const auto mapping = MappedFile::open(file.path);
  const FileContent content{.bytes = mapping->text(), .path = file.path, .name = file.path.string()};
  const auto labels = Hdf5Clouds(content).labels();
  const auto names = number_names(file, choice);
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto label = labels[i];
    if (label < 0 || (!names.empty() && label >= static_cast<int64_t>(names.size()))) {
      throw IoError({.where = file.path.string() + "#" + std::to_string(i),
                     .what = "its label has no name",
                     .expected = "0.." + std::to_string(names.size() - 1),
                     .got = std::to_string(label)});
    }
    named.push_back({{file.path, static_cast<int64_t>(i)}, names.empty() ? std::to_string(label) : names[static_cast<size_t>(label)]});
  }
}

void add_file(const fs::path& path, const std::string& class_name, std::vector<NamedCloud>& named) {
  const int64_t clouds = count_clouds(path);
  for (int64_t i = 0; i < clouds; ++i) named.push_back({{path, clouds == 1 ? -1 : i}, class_name});
}

LabelledClouds with_numbers(const std::vector<NamedCloud>& named, const fs::path& folder, const FolderChoice& choice) {
  std::set<std::string> wanted(choice.classes.begin(), choice.classes.end()), present;
  for (const auto& cloud : named) present.insert(cloud.class_name);
  if (present.empty())
    throw InvalidArgument(
        {.where = folder.string(), .what = "holds no point clouds with a class", .expected = "<class>/<file>, an index.csv or HDF5 files"});
  for (const auto& name : wanted) {
    if (!present.contains(name))
      throw InvalidArgument({.where = folder.string(), .what = "no cloud of class " + name, .hint = suggest(name, {present.begin(), present.end()})});
  }
  const auto& classes = wanted.empty() ? present : wanted;
  LabelledClouds clouds{.classes = {classes.begin(), classes.end()}};
  for (const auto& cloud : named) {
    const auto place = classes.find(cloud.class_name);
    if (place == classes.end()) continue;
    clouds.files.push_back(cloud.file);
    clouds.labels.push_back(std::distance(classes.begin(), place));
  }
  return clouds;
}

}  // namespace

LabelledClouds labelled_clouds(const fs::path& folder, const FolderChoice& choice) {
  if (fs::exists(folder / "index.csv")) return with_numbers(read_folder_index(folder, choice.split), folder, choice);
  std::vector<NamedCloud> named;
  for (const auto& file : walk_levels(folder, choice, true)) {
    if (!file.class_name)
      add_hdf5(file, choice, named);
    else if (choice.classes.empty() || std::find(choice.classes.begin(), choice.classes.end(), *file.class_name) != choice.classes.end())
      add_file(file.path, *file.class_name, named);
    else
      named.push_back({{file.path}, *file.class_name});  // not opened; its name is there for errors
  }
  return with_numbers(named, folder, choice);
}

std::vector<CloudFile> unlabelled_clouds(const fs::path& folder, const FolderChoice& choice) {
  if (fs::exists(folder / "files.txt")) return read_file_list(folder);
  std::vector<CloudFile> files;
  for (const auto& file : walk_levels(folder, choice, false)) {
    const int64_t clouds = count_clouds(file.path);
    for (int64_t i = 0; i < clouds; ++i) files.push_back({file.path, clouds == 1 && !is_hdf5(file.path) ? -1 : i});
  }
  if (files.empty()) throw InvalidArgument({.where = folder.string(), .what = "holds no point clouds"});
  return files;
}

LabelledClouds draw_shots(const LabelledClouds& all, int64_t shots, uint64_t seed) {
  if (shots < 1) throw InvalidArgument({.where = "shots", .what = "out of range", .expected = "1 or more", .got = std::to_string(shots)});
  std::vector<int64_t> drawn;
  for (size_t label = 0; label < all.classes.size(); ++label) {
    std::vector<int64_t> members;
    for (int64_t i = 0; i < all.size(); ++i) {
      if (all.labels[static_cast<size_t>(i)] == static_cast<int64_t>(label)) members.push_back(i);
    }
    const auto order = shuffled_indices(static_cast<int64_t>(members.size()), RandomStream(seed, "shots of " + all.classes[label]));
    for (size_t i = 0; i < std::min(order.size(), static_cast<size_t>(shots)); ++i) drawn.push_back(members[static_cast<size_t>(order[i])]);
  }
  std::sort(drawn.begin(), drawn.end());
  LabelledClouds few{.classes = all.classes};
  for (const int64_t i : drawn) {
    few.files.push_back(all.files[static_cast<size_t>(i)]);
    few.labels.push_back(all.labels[static_cast<size_t>(i)]);
  }
  return few;
}

const std::vector<std::string>& point_da_classes() {
  static const std::vector<std::string> classes = {"bathtub", "bed", "bookshelf", "cabinet", "chair", "lamp", "monitor", "plant", "sofa", "table"};
  return classes;
}

const std::vector<std::string>& grasp_net_classes() {
  static const std::vector<std::string> classes = {"banana",        "box",   "camel", "can",      "dish",
                                                   "drill machine", "mouse", "pear",  "scissors", "shampoo bottle"};
  return classes;
}

}  // namespace graft::data
