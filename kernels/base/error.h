#pragma once

#include <stdexcept>
#include <string>

namespace graft {

/// One clear line for the person who runs the program: [where] what; expected X, got Y; hint.
/// Empty parts are left out.
struct Complaint {
  std::string where;     ///< config key, file (and line), tensor or option
  std::string what;      ///< the fact
  std::string expected;  ///< what would have been right
  std::string got;       ///< what was there
  std::string hint;      ///< how to mend it
};

std::string to_line(const Complaint& complaint);

/// Base of every error that a user may see. `exit_code` is the program's documented exit code.
class Error : public std::runtime_error {
 public:
  Error(const Complaint& complaint, int exit_code) : std::runtime_error(to_line(complaint)), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

/// The caller or the configuration is wrong: unknown key, wrong shape, rank above the layer's size. Exit code 2.
class InvalidArgument : public Error {
 public:
  explicit InvalidArgument(const Complaint& complaint) : Error(complaint, 2) {}
};

/// A file or the disk is wrong: missing, truncated, malformed, full. Exit code 3.
class IoError : public Error {
 public:
  explicit IoError(const Complaint& complaint) : Error(complaint, 3) {}
};

/// The environment lacks something: a library, a device, memory. Exit code 3.
class Unavailable : public Error {
 public:
  explicit Unavailable(const Complaint& complaint) : Error(complaint, 3) {}
};

/// The numbers went wrong while training: NaN loss, a frozen weight that changed. Exit code 4.
class NumericalError : public Error {
 public:
  explicit NumericalError(const Complaint& complaint) : Error(complaint, 4) {}
};

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace graft

/// For our own bugs only: prints expression and place and aborts. On in all builds; not for inner loops.
#define GRAFT_ASSERT(condition) \
  (static_cast<bool>(condition) ? void() : ::graft::assertion_failed(#condition, __FILE__, __LINE__))
