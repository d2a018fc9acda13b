#include "data_loaders/cloud/read_cloud.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "data_loaders/cloud/cloud_readers.h"
#include "peft_core/base/files.h"

namespace graft::data {
namespace {

enum class Kind { kUnknown, kPcd, kPly, kObj, kStl, kOff, kLas, kHdf5, kNpy, kNpz, kFrame, kText };

std::string lower_extension(const std::filesystem::path& path) {
  auto extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

struct Extension {
  const char* text;
  Kind kind;
};
constexpr std::array<Extension, 20> kExtensions = {{{".pcd", Kind::kPcd},   {".ply", Kind::kPly},     {".obj", Kind::kObj},   {".stl", Kind::kStl},
                                                    {".off", Kind::kOff},   {".las", Kind::kLas},     {".laz", Kind::kLas},   {".h5", Kind::kHdf5},
                                                    {".hdf5", Kind::kHdf5}, {".npy", Kind::kNpy},     {".npz", Kind::kNpz},   {".bin", Kind::kFrame},
                                                    {".xyz", Kind::kText},  {".pts", Kind::kText},    {".txt", Kind::kText},  {".asc", Kind::kText},
                                                    {".csv", Kind::kText},  {".xyzrgb", Kind::kText}, {".xyzn", Kind::kText}, {".tsv", Kind::kText}}};

Kind kind_by_extension(const std::filesystem::path& path) {
  const auto extension = lower_extension(path);
  const auto* known = std::find_if(kExtensions.begin(), kExtensions.end(), [&](const auto& e) { return extension == e.text; });
  return known == kExtensions.end() ? Kind::kUnknown : known->kind;
}

Kind kind_by_content(std::string_view bytes) {
  if (bytes.starts_with("LASF")) return Kind::kLas;
  if (bytes.starts_with("\x89HDF\r\n\x1a\n")) return Kind::kHdf5;
  if (bytes.starts_with("\x93NUMPY")) return Kind::kNpy;
  if (bytes.starts_with("PK\x03\x04")) return Kind::kNpz;
  if (bytes.starts_with("ply\n") || bytes.starts_with("ply\r")) return Kind::kPly;
  if (bytes.starts_with("# .PCD")) return Kind::kPcd;
  if (bytes.starts_with("OFF") || bytes.starts_with("COFF") || bytes.starts_with("NOFF")) return Kind::kOff;
  return Kind::kUnknown;
}

Kind kind_of(const FileContent& file) {
  auto kind = kind_by_content(file.bytes);
  if (kind == Kind::kUnknown) kind = kind_by_extension(file.path);
  if (kind == Kind::kUnknown) {
    throw InvalidArgument({.where = file.name,
                           .what = "not a kind of point cloud that is known",
                           .expected = "PCD, PLY, OBJ, STL, OFF, LAS, HDF5, NPY, NPZ, .bin, XYZ, PTS, TXT, ASC or CSV"});
  }
  return kind;
}

PointCloud read_kind(Kind kind, const FileContent& file, const ReadOptions& options) {
  switch (kind) {
    case Kind::kPcd:
      return read_pcd(file);
    case Kind::kPly:
      return read_ply(file, options);
    case Kind::kObj:
      return read_obj(file, options);
    case Kind::kStl:
      return read_stl(file, options);
    case Kind::kOff:
      return read_off(file, options);
    case Kind::kLas:
      return read_las(file);
    case Kind::kHdf5:
      return read_hdf5(file);
    case Kind::kNpy:
      return read_npy(file);
    case Kind::kNpz:
      return read_npz(file);
    case Kind::kFrame:
      return read_frame(file, options);
    default:
      return read_text_points(file);
  }
}

/// The content lives as long as the mapping beside it.
struct OpenFile {
  std::shared_ptr<const MappedFile> mapping;
  FileContent content;
};

OpenFile open(const CloudFile& file) {
  if (std::filesystem::is_directory(file.path)) {
    throw InvalidArgument({.where = file.path.string(), .what = "is a folder", .expected = "one file with a point cloud"});
  }
  OpenFile opened{.mapping = MappedFile::open(file.path), .content = {}};
  opened.content = {.bytes = opened.mapping->text(), .path = file.path, .name = file.name(), .index = file.index};
  if (opened.content.bytes.empty()) refuse(opened.content, "is empty");
  return opened;
}

}  // namespace

std::string CloudFile::name() const { return index < 0 ? path.string() : path.string() + "#" + std::to_string(index); }

std::vector<std::filesystem::path> paths_of(const std::vector<CloudFile>& clouds) {
  std::vector<std::filesystem::path> paths;
  std::set<std::filesystem::path> seen;
  for (const auto& cloud : clouds)
    if (seen.insert(cloud.path).second) paths.push_back(cloud.path);
  return paths;
}

CloudFile cloud_file_named(const std::string& name) {
  const auto mark = name.rfind('#');
  CloudFile file{.path = name};
  if (mark == std::string::npos || std::filesystem::exists(name)) return file;
  int64_t index = -1;
  const char* end = name.data() + name.size();
  const auto [stop, problem] = std::from_chars(name.data() + mark + 1, end, index);
  if (problem != std::errc() || stop != end || index < 0) {
    throw InvalidArgument({.where = name, .what = "what follows # is no index", .expected = "a number from 0 on, as in train.h5#17"});
  }
  return {.path = name.substr(0, mark), .index = index};
}

int64_t chosen_index(const FileContent& file, int64_t count) {
  const std::string range = "0.." + std::to_string(count - 1);
  if (count == 0) refuse(file, "holds no clouds");
  if (file.index < 0 && count == 1) return 0;
  if (file.index < 0) {
    throw InvalidArgument({.where = file.name,
                           .what = "holds " + std::to_string(count) + " clouds, and none is chosen",
                           .hint = "name one, " + range + ", as in " + file.path.filename().string() + "#0"});
  }
  if (file.index >= count) throw InvalidArgument({.where = file.name, .what = "no cloud of that index", .expected = range});
  return file.index;
}

PointCloud read_cloud(const CloudFile& file, const ReadOptions& options) {
  if (options.mesh_points < 1 || options.mesh_points > kMostPoints) {
    throw InvalidArgument({.where = "mesh_points",
                           .what = "out of range",
                           .expected = "1.." + std::to_string(kMostPoints),
                           .got = std::to_string(options.mesh_points)});
  }
  const auto opened = open(file);
  const auto kind = kind_of(opened.content);
  if (kind != Kind::kHdf5 && kind != Kind::kNpy && kind != Kind::kNpz) chosen_index(opened.content, 1);
  return read_kind(kind, opened.content, options);
}

int64_t count_clouds(const std::filesystem::path& file) {
  // Only these can hold many; the others are not opened.
  const auto extension = kind_by_extension(file);
  if (extension != Kind::kHdf5 && extension != Kind::kNpy && extension != Kind::kNpz) return 1;
  const auto opened = open({.path = file});
  switch (kind_of(opened.content)) {
    case Kind::kHdf5:
      return count_hdf5(opened.content);
    case Kind::kNpy:
      return count_npy(opened.content);
    case Kind::kNpz:
      return count_npz(opened.content);
    default:
      return 1;
  }
}

bool has_cloud_extension(const std::filesystem::path& file) { return kind_by_extension(file) != Kind::kUnknown; }

}  // namespace graft::data
