#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

namespace graft {

/// A whole file, mapped read-only. The bytes live as long as the object.
class MappedFile {
 public:
  /// Throws IoError with the system's reason if the file cannot be opened or mapped. An empty file gives an empty span.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }
  bool holds(const void* address) const { return address >= data_ && address < data_ + size_; }
  /// Gives the memory of a part of bytes() back to the system; the next look at it reads the file again. For parts of which a copy
  /// is used from here on.
  void let_go(std::span<const std::byte> part) const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes a file so that at any moment either the old or the new content is there: a temporary file in the same folder,
/// fsync, rename. A full disk throws IoError and leaves what was there untouched.
void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// Asks the disk to keep what was renamed into the folder; does nothing where the system refuses.
void sync_folder(const std::filesystem::path& folder);

/// The whole text of a file; throws IoError.
std::string read_file(const std::filesystem::path& path);

}  // namespace graft
