#include "data_loaders/cloud/folder_levels.h"

#include <algorithm>
#include <set>

#include "data_loaders/cloud/number_scanner.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/text_distance.h"

namespace graft::data {
namespace {

namespace fs = std::filesystem;

const std::set<std::string> kSplits = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "holdout", "eval"};
const std::set<std::string> kDomains = {"modelnet", "shapenet", "scannet", "real", "synthetic"};
const std::set<std::string> kCameras = {"kinect", "realsense"};
constexpr int kDeepest = 12;

struct Children {
  std::vector<fs::path> folders, files;
};

Children children_of(const fs::path& folder) {
  Children children;
  std::error_code problem;
  for (fs::directory_iterator entry(folder, problem), end; !problem && entry != end; entry.increment(problem)) {
    if (entry->path().filename().string().starts_with('.')) continue;
    if (entry->is_directory())
      children.folders.push_back(entry->path());
    else if (has_cloud_extension(entry->path()))
      children.files.push_back(entry->path());
  }
  if (problem) throw IoError({.where = folder.string(), .what = "the folder cannot be listed: " + problem.message()});
  std::sort(children.folders.begin(), children.folders.end());
  std::sort(children.files.begin(), children.files.end());
  return children;
}

std::string name_of(const fs::path& path) { return path.filename().string(); }

class Walk {
 public:
  Walk(const fs::path& root, const FolderChoice& choice, bool classes_matter) : root_(root), choice_(choice), classes_matter_(classes_matter) {}

  std::vector<FoundCloudFile> run() {
    enter(root_, {}, 0);
    expect_met("split", choice_.split, met_split_);
    expect_met("domain", choice_.domain, met_domain_);
    expect_met("camera", choice_.camera, met_camera_);
    return std::move(found_);
  }

 private:
  struct Place {
    std::optional<std::string> class_name;
    std::string domain;
    bool split_known = false;
  };

  void enter(const fs::path& folder, Place place, int depth) {
    if (depth > kDeepest)
      throw InvalidArgument(
          {.where = folder.string(), .what = "folders nested too deeply", .expected = std::to_string(kDeepest) + " levels or fewer"});
    const auto children = children_of(folder);
    add_files(children.files, place);
    if (children.folders.empty()) return;
    if (is_level(children.folders, kSplits)) return enter_level(children.folders, place, depth, "split", choice_.split, met_split_);
    if (is_level(children.folders, kDomains)) return enter_level(children.folders, place, depth, "domain", choice_.domain, met_domain_);
    if (is_level(children.folders, kCameras)) return enter_level(children.folders, place, depth, "camera", choice_.camera, met_camera_);
    for (const auto& sub : children.folders) {
      if (classes_matter_ && place.class_name && has_clouds(sub, depth)) {
        throw InvalidArgument({.where = sub.string(),
                               .what = "a folder within that of class " + *place.class_name,
                               .expected = "files, or folders for splits, domains or cameras"});
      }
      auto below = place;
      below.class_name = name_of(sub);
      enter(sub, below, depth + 1);
    }
  }

  bool has_clouds(const fs::path& folder, int depth) const {
    if (depth > kDeepest) return true;
    const auto children = children_of(folder);
    return !children.files.empty() ||
           std::any_of(children.folders.begin(), children.folders.end(), [&](const auto& sub) { return has_clouds(sub, depth + 1); });
  }

  static bool is_level(const std::vector<fs::path>& folders, const std::set<std::string>& names) {
    return std::all_of(folders.begin(), folders.end(), [&](const auto& f) { return names.contains(lower(name_of(f))); });
  }

  /// A level without a wish is a choice to make, unless it has one folder only; cameras go together.
  void enter_level(const std::vector<fs::path>& folders, Place place, int depth, const std::string& kind, const std::string& wanted, bool& met) {
    if (wanted.empty() && folders.size() > 1 && kind != "camera") {
      std::vector<std::string> names;
      for (const auto& folder : folders) names.push_back(name_of(folder));
      throw InvalidArgument({.where = folders[0].parent_path().string(),
                             .what = "has several parts, and no " + kind + " is chosen",
                             .expected = "one of " + join(names)});
    }
    for (const auto& folder : folders) {
      if (!wanted.empty() && lower(name_of(folder)) != lower(wanted)) continue;
      met = true;
      auto below = place;
      if (kind == "domain") below.domain = lower(name_of(folder));
      below.split_known = below.split_known || kind == "split";
      enter(folder, below, depth + 1);
    }
  }

  void add_files(const std::vector<fs::path>& files, const Place& place) {
    std::vector<fs::path> many;
    for (const auto& file : files) {
      if (is_hdf5(file))
        many.push_back(file);
      else if (place.class_name || (!classes_matter_ && is_unmistakable(file)))
        found_.push_back({file, place.class_name, place.domain});
    }
    for (const auto& file : place.split_known ? many : of_split(many)) found_.push_back({file, std::nullopt, place.domain});
  }

  /// Beside the folders of classes lie index.csv, README.txt and lists of files.
  static bool is_unmistakable(const fs::path& file) {
    const auto extension = lower(file.extension().string());
    return extension != ".csv" && extension != ".txt" && extension != ".tsv";
  }

  /// HDF5 files of the wished split: those that <split>_files.txt lists, else those with its name in theirs, else all if none bears a split's.
  std::vector<fs::path> of_split(const std::vector<fs::path>& files) {
    if (files.empty()) return files;
    const auto folder = files[0].parent_path();
    const auto list = folder / (choice_.split + "_files.txt");
    std::vector<fs::path> kept;
    if (!choice_.split.empty() && fs::exists(list)) {
      const auto text = read_file(list);
      TextScanner lines(text);
      while (const auto line = lines.line()) {
        const auto name = fs::path(TextScanner(*line).word()).filename();
        if (name.empty()) continue;
        if (!fs::exists(folder / name))
          throw IoError(
              {.where = list.string() + ", line " + std::to_string(lines.lines()), .what = "names a file that is not there", .got = name.string()});
        kept.push_back(folder / name);
      }
    } else {
      const auto bears = [&](const fs::path& file, const std::string& split) { return lower(name_of(file)).find(lower(split)) != std::string::npos; };
      const bool split_in_names = std::any_of(files.begin(), files.end(), [&](const auto& f) { return bears(f, "train") || bears(f, "test"); });
      if (choice_.split.empty() && split_in_names && files.size() > 1) {
        throw InvalidArgument(
            {.where = folder.string(), .what = "has HDF5 files of several splits, and none is chosen", .expected = "split train or test"});
      }
      if (choice_.split.empty()) return files;
      std::copy_if(files.begin(), files.end(), std::back_inserter(kept), [&](const auto& f) { return bears(f, choice_.split); });
    }
    met_split_ = met_split_ || !kept.empty();
    return kept;
  }

  void expect_met(const std::string& kind, const std::string& wanted, bool met) const {
    if (!wanted.empty() && !met)
      throw InvalidArgument({.where = root_.string(), .what = "has no " + kind + " of that name", .got = "\"" + wanted + "\""});
  }

  const fs::path root_;
  const FolderChoice& choice_;
  bool classes_matter_;
  bool met_split_ = false, met_domain_ = false, met_camera_ = false;
  std::vector<FoundCloudFile> found_;
};

}  // namespace

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_hdf5(const fs::path& file) {
  const auto extension = lower(file.extension().string());
  return extension == ".h5" || extension == ".hdf5";
}

std::vector<FoundCloudFile> walk_levels(const fs::path& folder, const FolderChoice& choice, bool classes_matter) {
  if (!fs::is_directory(folder)) throw InvalidArgument({.where = folder.string(), .what = "is no folder", .expected = "a folder with point clouds"});
  return Walk(folder, choice, classes_matter).run();
}

}  // namespace graft::data
