#include "peft_core/checkpoint/staged_folder.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft::peft {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw IoError({.where = path.string(), .what = what + ": " + std::strerror(errno)});
}

std::filesystem::path without_trailing_slash(const std::filesystem::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

bool is_running(pid_t process) { return ::kill(process, 0) == 0 || errno == EPERM; }

/// What processes left behind that were killed while they wrote beside the same target.
void remove_leftovers(const std::filesystem::path& folder, const std::string& stem) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(stem)) continue;
    pid_t process = 0;
    const auto [end, code] = std::from_chars(name.data() + stem.size(), name.data() + name.size(), process);
    const bool ours = code == std::errc() && end == name.data() + name.size() && process > 0;
    if (ours && (process == ::getpid() || !is_running(process))) std::filesystem::remove_all(entry.path(), error);
  }
}

}  // namespace

StagedFolder::StagedFolder(std::filesystem::path target)
    : target_(without_trailing_slash(std::filesystem::absolute(target).lexically_normal())) {
  const auto shown = target.string();
  if (std::filesystem::exists(target_) && !std::filesystem::is_directory(target_))
    throw InvalidArgument({.where = shown, .what = "is a file", .expected = "the name of a folder to be made"});
  if (std::filesystem::exists(target_) && !std::filesystem::is_empty(target_))
    throw InvalidArgument({.where = shown, .what = "is a folder that is not empty", .hint = "name another one, or remove it first"});
  std::error_code error;
  std::filesystem::create_directories(target_.parent_path(), error);
  if (error) throw IoError({.where = shown, .what = "cannot make the folder above it: " + error.message()});
  const auto stem = "." + target_.filename().string() + ".partial-";
  remove_leftovers(target_.parent_path(), stem);
  staging_ = target_.parent_path() / (stem + std::to_string(::getpid()));
  if (::mkdir(staging_.c_str(), 0777) != 0) fail(target, "cannot make a folder beside it");
}

StagedFolder::~StagedFolder() {
  std::error_code error;
  if (!committed_) std::filesystem::remove_all(staging_, error);
}

void StagedFolder::commit() {
  sync_folder(staging_);
  if (::rename(staging_.c_str(), target_.c_str()) != 0) fail(target_, "cannot put the finished folder in its place");
  committed_ = true;
  sync_folder(target_.parent_path());
}

}  // namespace graft::peft
