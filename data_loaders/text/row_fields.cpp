#include "data_loaders/text/row_fields.h"

#include "data_loaders/text/clean_text.h"
#include "data_loaders/text/raw_rows.h"

namespace graft::data {

using nlohmann::json;

std::string text_of(const json& value, const std::string& name) {
  if (value.is_number() || value.is_boolean()) return value.dump();
  if (!value.is_string()) throw RowProblem{"\"" + excerpt(name, 40) + "\" is no text but " + value.type_name()};
  auto cleaned = clean_text(value.get_ref<const std::string&>());
  if (!cleaned) throw RowProblem{cleaned.reason() + " in \"" + excerpt(name, 40) + "\""};
  return std::move(cleaned).value();
}

RowFields::RowFields(const json& row) : row_(row) {
  if (!row.is_object()) throw RowProblem{std::string("expected an object of named fields, got ") + row.type_name()};
}

bool RowFields::has(const std::string& key) const {
  const auto found = row_.find(key);
  return !key.empty() && found != row_.end() && !found->is_null();
}

const json& RowFields::raw(const std::string& key) {
  used_.insert(key);
  return row_.at(key);
}

std::optional<std::string> RowFields::text(const std::string& key) {
  if (!has(key)) {
    used_.insert(key);
    return std::nullopt;
  }
  used_.insert(key);
  return text_of(row_.at(key), key);
}

std::string RowFields::required_text(const std::string& key) {
  auto found = text(key);
  if (!found) throw RowProblem{"no field \"" + excerpt(key, 40) + "\""};
  return *found;
}

std::optional<json> RowFields::structure(const std::string& key) {
  if (!has(key)) return std::nullopt;
  used_.insert(key);
  const json& value = row_.at(key);
  if (value.is_structured()) return value;
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (is_blank(text)) return std::nullopt;
    auto parsed = parse_row_json(text);
    if (!parsed) throw RowProblem{"\"" + excerpt(key, 40) + "\": " + parsed.reason()};
    if (parsed.value().is_structured()) return std::move(parsed).value();
  }
  throw RowProblem{"\"" + excerpt(key, 40) + "\" is no list or object"};
}

std::map<std::string, std::string> RowFields::rest() const {
  std::map<std::string, std::string> meta;
  for (const auto& [key, value] : row_.items()) {
    if (used_.contains(key)) continue;
    if (key == "meta" && value.is_object()) {
      for (const auto& [inner, lifted] : value.items()) meta.try_emplace(inner, lifted.dump());
    } else {
      meta[key] = value.dump();
    }
  }
  return meta;
}

}  // namespace graft::data
