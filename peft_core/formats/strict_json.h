#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace graft::formats {

/// Reads JSON as events, without a tree in between, so that memory stays in proportion to what the reader keeps.
/// Refuses what is legal JSON but never right in a model's files: duplicate keys and deep nesting.
///
/// Throws   IoError naming `where`: not JSON (with the byte), nested too deep, a key twice in an object.
class StrictJsonReader : private nlohmann::json_sax<nlohmann::json> {
 public:
  StrictJsonReader(std::string where, size_t deepest) : where_(std::move(where)), deepest_(deepest) {}
  void read(std::string_view text);

 protected:
  using Json = nlohmann::json;
  /// The keys from the root to the current place; an element of an array has its array's key.
  const std::vector<std::string>& path() const { return path_; }
  const std::string& where() const { return where_; }
  [[noreturn]] void fail(const std::string& what) const;

  virtual void on_scalar(const Json& value) = 0;
  virtual void on_open_object() = 0;
  virtual void on_open_array() = 0;
  virtual void on_close() {}

 private:
  bool scalar(const Json& value);
  void open(bool is_object);
  bool close();

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_unsigned(number_unsigned_t value) override { return scalar(value); }
  bool number_float(number_float_t value, const string_t&) override { return scalar(value); }
  bool string(string_t& value) override { return scalar(value); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override;
  bool start_array(std::size_t) override;
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override;
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override;

  struct Level {
    bool is_object = false;
    std::set<std::string> keys;
  };
  std::string where_;
  size_t deepest_;
  std::vector<std::string> path_;
  std::vector<Level> levels_;
};

}  // namespace graft::formats
