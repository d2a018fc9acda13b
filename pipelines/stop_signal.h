#pragma once

#include <string>

namespace graft::pipelines {

/// While it lives, SIGINT and SIGTERM only raise a flag; the second one of a kind acts as before. A signal that the
/// process ignores stays ignored. One at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// "SIGINT", "SIGTERM" or nullptr.
  const char* received() const;
  /// For work that keeps nothing when it is stopped: throws Unavailable naming `where` once a signal has come.
  void expect_none(const std::string& where) const;
};

}  // namespace graft::pipelines
