#include "peft_core/formats/strict_json.h"

#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"

namespace graft::formats {

void StrictJsonReader::read(std::string_view text) {
  path_.clear();
  levels_.clear();
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), static_cast<nlohmann::json_sax<nlohmann::json>*>(this))) fail("is not JSON");
}

void StrictJsonReader::fail(const std::string& what) const { throw IoError({.where = where_, .what = what}); }

bool StrictJsonReader::scalar(const Json& value) {
  if (levels_.empty()) fail("is a single JSON value, not an object");
  on_scalar(value);
  if (levels_.back().is_object) path_.pop_back();
  return true;
}

void StrictJsonReader::open(bool is_object) {
  if (levels_.size() >= deepest_) fail("is nested deeper than " + std::to_string(deepest_) + " levels");
  is_object ? on_open_object() : on_open_array();
  levels_.push_back({.is_object = is_object, .keys = {}});
}

bool StrictJsonReader::start_object(std::size_t) {
  open(true);
  return true;
}

bool StrictJsonReader::start_array(std::size_t) {
  open(false);
  return true;
}

bool StrictJsonReader::close() {
  levels_.pop_back();
  on_close();
  if (!levels_.empty() && levels_.back().is_object) path_.pop_back();
  return true;
}

bool StrictJsonReader::key(string_t& name) {
  if (!levels_.back().keys.insert(name).second) fail("has the key " + shown(name) + " twice");
  path_.push_back(name);
  return true;
}

bool StrictJsonReader::parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
  fail("is not valid JSON at byte " + std::to_string(position));
}

}  // namespace graft::formats
