#include "data_loaders/cloud/npz_file.h"

#include <minizip/unzip.h>

#include <algorithm>
#include <memory>

#include "peft_core/base/text_distance.h"

namespace graft::data {
namespace {

/// Deflate cannot pack more tightly than 1032 to 1.
constexpr uint64_t kMostExpansion = 1032;
constexpr uint64_t kMostBytes = 4ULL << 30;
constexpr size_t kMostArrays = 1000;

struct CloseZip {
  void operator()(void* zip) const { unzClose(zip); }
};
using Zip = std::unique_ptr<void, CloseZip>;

std::string stem(const std::string& name) { return name.substr(0, name.rfind(".npy")); }

std::vector<std::string> names_in(const FileContent& file, const Zip& zip) {
  std::vector<std::string> names;
  for (int state = unzGoToFirstFile(zip.get()); state == UNZ_OK && names.size() < kMostArrays; state = unzGoToNextFile(zip.get())) {
    char name[512] = {};
    unz_file_info64 info{};
    if (unzGetCurrentFileInfo64(zip.get(), &info, name, sizeof name - 1, nullptr, 0, nullptr, 0) != UNZ_OK)
      refuse(file, "its ZIP directory is damaged");
    names.emplace_back(name);
  }
  return names;
}

std::string chosen_name(const FileContent& file, const std::vector<std::string>& names) {
  if (names.size() == 1) return names[0];
  for (const char* wanted : {"points", "data", "xyz", "pc"}) {
    const auto place = std::find_if(names.begin(), names.end(), [&](const auto& name) { return stem(name) == wanted; });
    if (place != names.end()) return *place;
  }
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 8); ++i) shown.push_back(stem(names[i]));
  refuse(file, "none of its arrays is known to be points", "one array, or one called points, data, xyz or pc", join(shown));
}

std::string unpacked(const FileContent& file, const Zip& zip) {
  unz_file_info64 info{};
  if (unzGetCurrentFileInfo64(zip.get(), &info, nullptr, 0, nullptr, 0, nullptr, 0) != UNZ_OK) refuse(file, "its ZIP directory is damaged");
  const uint64_t packed = std::min<uint64_t>(info.compressed_size, file.bytes.size());
  if (info.uncompressed_size > packed * kMostExpansion || info.uncompressed_size > kMostBytes) {
    refuse(file, "an array of impossible size", "", std::to_string(info.uncompressed_size) + " bytes out of " + std::to_string(packed));
  }
  std::string bytes(info.uncompressed_size, '\0');
  if (unzOpenCurrentFile(zip.get()) != UNZ_OK) refuse(file, "its array cannot be unpacked");
  size_t filled = 0;
  while (filled < bytes.size()) {
    const auto piece = static_cast<unsigned>(std::min<size_t>(bytes.size() - filled, 1 << 20));
    const int got = unzReadCurrentFile(zip.get(), bytes.data() + filled, piece);
    if (got <= 0) refuse(file, "its array cannot be unpacked", std::to_string(bytes.size()) + " bytes", std::to_string(filled));
    filled += static_cast<size_t>(got);
  }
  if (unzCloseCurrentFile(zip.get()) == UNZ_CRCERROR) refuse(file, "the check sum of its array is wrong");
  return bytes;
}

}  // namespace

std::string array_of_points(const FileContent& file) {
  const Zip zip(unzOpen64(file.path.c_str()));
  if (zip == nullptr) refuse(file, "is no readable ZIP file", "an NPZ as NumPy writes it");
  const auto names = names_in(file, zip);
  if (names.empty()) refuse(file, "holds no arrays");
  const auto name = chosen_name(file, names);
  if (unzLocateFile(zip.get(), name.c_str(), 1) != UNZ_OK) refuse(file, "its array " + name + " cannot be found");
  return unpacked(file, zip);
}

}  // namespace graft::data
