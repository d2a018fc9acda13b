#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/number_scanner.h"

namespace graft::data {
namespace {

constexpr int kNone = -1;

/// Which column holds what; kNone: none does.
struct Columns {
  std::array<int, 3> xyz = {0, 1, 2};
  std::array<int, 3> colour = {kNone, kNone, kNone};
  int intensity = kNone, label = kNone;
};

using Words = std::vector<std::string_view>;

Words words_of(std::string_view line) {
  Words words;
  TextScanner scanner(line);
  for (auto word = scanner.word(",;"); !word.empty(); word = scanner.word(",;")) words.push_back(word);
  return words;
}

bool is_comment(std::string_view line) { return line.starts_with('#') || line.starts_with("//"); }

std::string plain(std::string_view word) {
  std::string name;
  for (const char c : word) {
    if (c != '"' && c != '\'') name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return name;
}

Columns named_columns(const FileContent& file, const Words& names) {
  const auto find = [&](std::initializer_list<const char*> known) {
    for (size_t i = 0; i < names.size(); ++i) {
      for (const char* name : known) {
        if (plain(names[i]) == name) return static_cast<int>(i);
      }
    }
    return kNone;
  };
  Columns columns{.xyz = {find({"x"}), find({"y"}), find({"z"})},
                  .colour = {find({"r", "red"}), find({"g", "green"}), find({"b", "blue"})},
                  .intensity = find({"intensity", "i", "reflectance"}),
                  .label = find({"label", "class", "classification"})};
  for (size_t axis = 0; axis < 3; ++axis) {
    if (columns.xyz[axis] == kNone) {
      refuse(file, std::string("its first line names no column ") + "xyz"[axis], "numbers, or names with x, y and z among them",
             "\"" + std::string(names[0]) + (names.size() > 1 ? " ..." : "") + "\"");
    }
  }
  if (std::count(columns.colour.begin(), columns.colour.end(), kNone) > 0) columns.colour.fill(kNone);
  return columns;
}

/// All rows of numbers, one after the other.
struct Table {
  size_t width = 0;
  std::vector<double> values;
  std::vector<std::string> names;
  size_t rows() const { return width == 0 ? 0 : values.size() / width; }
  double at(size_t row, int column) const { return values[row * width + static_cast<size_t>(column)]; }
};

void add_row(const FileContent& file, int64_t line, const Words& words, Table& table) {
  const auto where = file.name + ", line " + std::to_string(line);
  if (table.width == 0) table.width = words.size();
  if (words.size() != table.width || words.size() < 3) {
    throw IoError({.where = where,
                   .what = "another number of columns",
                   .expected = table.width < 3 ? "3 or more" : std::to_string(table.width),
                   .got = std::to_string(words.size())});
  }
  for (const auto word : words) {
    const auto value = number_in(word);
    if (!value) throw IoError({.where = where, .what = "not a number", .got = "\"" + std::string(word) + "\""});
    table.values.push_back(*value);
  }
}

/// A .pts file begins with the number of its points; others may begin with the columns' names.
Table read_table(const FileContent& file) {
  Table table;
  TextScanner lines(file.bytes);
  std::optional<int64_t> announced;
  bool begun = false;
  while (const auto line = lines.line()) {
    const auto words = words_of(*line);
    if (words.empty() || is_comment(words[0])) continue;
    if (!begun && words.size() == 1 && integer_in(words[0])) {
      announced = integer_in(words[0]);
    } else if (!begun && std::none_of(words.begin(), words.end(), [](auto w) { return number_in(w).has_value(); })) {
      for (const auto word : words) table.names.emplace_back(word);
      table.width = words.size();
    } else {
      add_row(file, lines.lines(), words, table);
    }
    begun = true;
  }
  if (announced && *announced != static_cast<int64_t>(table.rows())) {
    refuse(file, "another number of points than its first line says", std::to_string(*announced), std::to_string(table.rows()));
  }
  return table;
}

bool looks_like_colour(const Table& table, int first) {
  bool above_one = false;
  for (size_t row = 0; row < table.rows(); ++row) {
    for (int c = first; c < first + 3; ++c) {
      const double value = table.at(row, c);
      if (!(value >= 0 && value <= 255) || value != std::floor(value)) return false;
      above_one = above_one || value > 1;
    }
  }
  return above_one;
}

Columns guessed_columns(const FileContent& file, const Table& table) {
  Columns columns;
  const bool pts = plain(file.path.extension().string()) == ".pts";
  if (table.width == 4 || (pts && table.width >= 7)) columns.intensity = 3;
  const int colour = pts && table.width >= 7 ? 4 : 3;
  if (table.width >= static_cast<size_t>(colour) + 3 && looks_like_colour(table, colour)) columns.colour = {colour, colour + 1, colour + 2};
  return columns;
}

template <class T>
T clamped(double value) {
  const auto low = static_cast<double>(std::numeric_limits<T>::min()), high = static_cast<double>(std::numeric_limits<T>::max());
  return std::isnan(value) ? T{} : static_cast<T>(std::clamp(value, low, high));
}

}  // namespace

PointCloud read_text_points(const FileContent& file) {
  if (file.bytes.substr(0, 4096).find('\0') != std::string_view::npos) refuse(file, "is not text", "numbers in lines, as its extension says");
  const auto table = read_table(file);
  const std::vector<std::string_view> names(table.names.begin(), table.names.end());
  const auto columns = names.empty() ? guessed_columns(file, table) : named_columns(file, names);
  RawPoints raw;
  raw.xyz.reserve(table.rows() * 3);
  for (size_t row = 0; row < table.rows(); ++row) {
    for (const int column : columns.xyz) raw.xyz.push_back(table.at(row, column));
    for (const int column : columns.colour) {
      if (column != kNone) raw.colours.push_back(clamped<uint8_t>(table.at(row, column)));
    }
    if (columns.intensity != kNone) raw.intensity.push_back(static_cast<float>(table.at(row, columns.intensity)));
    if (columns.label != kNone) raw.labels.push_back(clamped<int32_t>(table.at(row, columns.label)));
  }
  return to_cloud(std::move(raw), file.name);
}

}  // namespace graft::data
