#pragma once

#include <string>
#include <utility>
#include <variant>

namespace graft {

/// A value, or the reason why one data item has none. Errors that concern the whole run are exceptions instead.
template <class T>
class Result {
 public:
  Result(T value) : content_(std::move(value)) {}  // NOLINT: implicit on purpose, so that `return sample;` reads well
  static Result failure(std::string reason) { return Result(Failure{std::move(reason)}); }

  bool ok() const { return std::holds_alternative<T>(content_); }
  explicit operator bool() const { return ok(); }
  const T& value() const& { return std::get<T>(content_); }
  T&& value() && { return std::get<T>(std::move(content_)); }
  const std::string& reason() const { return std::get<Failure>(content_).reason; }

 private:
  struct Failure {
    std::string reason;
  };
  explicit Result(Failure failure) : content_(std::move(failure)) {}
  std::variant<T, Failure> content_;
};

}  // namespace graft
