#include "data_loaders/cloud/pcd_header.h"

#include <algorithm>

#include "data_loaders/cloud/number_scanner.h"

namespace graft::data {
namespace {

constexpr int64_t kMostFields = 256, kMostCount = 1 << 16;
/// LZF's longest match is 264 bytes told in three.
constexpr uint64_t kMostExpansion = 88;

std::vector<std::string_view> words_after(TextScanner& line) {
  std::vector<std::string_view> words;
  for (auto word = line.word(); !word.empty(); word = line.word()) words.push_back(word);
  return words;
}

class PcdHeaderReader {
 public:
  explicit PcdHeaderReader(const FileContent& file) : file_(file), lines_(file.bytes) {}

  PcdHeader read() {
    while (!done_) {
      const auto line = lines_.line();
      if (!line) refuse(file_, "its header does not end", "a line DATA ascii, binary or binary_compressed");
      if (!line->starts_with('#')) take(*line);
    }
    check();
    header_.body = file_.bytes.size() - lines_.rest().size();
    return std::move(header_);
  }

 private:
  void take(std::string_view text) {
    TextScanner line(text);
    const auto key = line.word();
    const auto words = words_after(line);
    if (key.empty() || key == "VERSION" || key == "VIEWPOINT") return;
    if (key == "FIELDS" || key == "COLUMNS") return take_names(words);
    if (key == "WIDTH") {
      header_.width = single(key, words, 0);
      return;
    }
    if (key == "HEIGHT") {
      header_.height = single(key, words, 0);
      return;
    }
    if (key == "POINTS") {
      points_ = single(key, words, 0);
      return;
    }
    if (key == "DATA") return take_data(words);
    if (key != "SIZE" && key != "TYPE" && key != "COUNT")
      wrong("a header line that is not known", "VERSION, FIELDS, SIZE, TYPE, COUNT, WIDTH, HEIGHT, VIEWPOINT, POINTS or DATA", key);
    if (words.size() != header_.fields.size()) {
      wrong(std::string(key) + " does not match FIELDS", std::to_string(header_.fields.size()) + " entries", std::to_string(words.size()));
    }
    for (size_t i = 0; i < words.size(); ++i) take_entry(key, words[i], header_.fields[i]);
    sizes_ = sizes_ || key == "SIZE";
    types_ = types_ || key == "TYPE";
  }

  void take_names(const std::vector<std::string_view>& words) {
    if (words.empty() || words.size() > kMostFields || !header_.fields.empty())
      wrong("unusable FIELDS", "one line of 1.." + std::to_string(kMostFields) + " names", std::to_string(words.size()));
    for (const auto word : words) {
      const bool plain = word.size() <= 64 && std::all_of(word.begin(), word.end(), [](unsigned char c) { return c > 32 && c < 127; });
      if (!plain) wrong("unusable name of a field", "a short plain word", word);
      header_.fields.push_back({.name = std::string(word)});
    }
  }

  void take_entry(std::string_view key, std::string_view word, PcdField& field) {
    if (key == "TYPE") {
      if (word != "F" && word != "I" && word != "U") wrong("unknown TYPE", "F, I or U", word);
      field.type = word[0];
      return;
    }
    const auto number = integer_in(word);
    const bool size = key == "SIZE";
    const bool good = number && (size ? *number == 1 || *number == 2 || *number == 4 || *number == 8 : *number >= 1 && *number <= kMostCount);
    if (!good) wrong("unusable " + std::string(key), size ? "1, 2, 4 or 8" : "1.." + std::to_string(kMostCount), word);
    (size ? field.size : field.count) = *number;
  }

  int64_t single(std::string_view key, const std::vector<std::string_view>& words, int64_t least) {
    const auto number = words.size() == 1 ? integer_in(words[0]) : std::nullopt;
    if (!number || *number < least || *number > kMostPoints) {
      wrong("unusable " + std::string(key), std::to_string(least) + ".." + std::to_string(kMostPoints), words.empty() ? "nothing" : words[0]);
    }
    return *number;
  }

  void take_data(const std::vector<std::string_view>& words) {
    const auto kind = words.size() == 1 ? words[0] : std::string_view();
    if (kind != "ascii" && kind != "binary" && kind != "binary_compressed") wrong("unknown DATA", "ascii, binary or binary_compressed", kind);
    header_.data = kind == "ascii" ? PcdData::kAscii : kind == "binary" ? PcdData::kBinary : PcdData::kCompressed;
    done_ = true;
  }

  void check() {
    if (header_.fields.empty() || !sizes_ || !types_) refuse(file_, "its header lacks FIELDS, SIZE or TYPE");
    for (const auto& field : header_.fields) {
      if (field.type == 'F' && field.size < 4)
        refuse(file_, "field " + field.name + " has no usable type", "F of 4 or 8 bytes", "F of " + std::to_string(field.size));
    }
    if (header_.width == 0 && points_ > 0) header_.width = points_;
    if (header_.points() > kMostPoints || (points_ >= 0 && header_.points() != points_)) {
      refuse(file_, "WIDTH x HEIGHT is not POINTS", std::to_string(points_), std::to_string(header_.width) + " x " + std::to_string(header_.height));
    }
  }

  [[noreturn]] void wrong(const std::string& what, const std::string& expected, std::string_view got) const {
    throw IoError({.where = file_.name + ", line " + std::to_string(lines_.lines()),
                   .what = what,
                   .expected = expected,
                   .got = "\"" + std::string(got) + "\""});
  }

  const FileContent& file_;
  TextScanner lines_;
  PcdHeader header_;
  int64_t points_ = -1;
  bool done_ = false, sizes_ = false, types_ = false;
};

void check_body(const FileContent& file, const PcdHeader& header) {
  const uint64_t room = file.bytes.size() - header.body;
  const auto points = static_cast<uint64_t>(header.points());
  const uint64_t needed = points * static_cast<uint64_t>(header.point_bytes());  // below 2e8 * 2^8 * 2^16 * 2^3
  const auto short_of = [&](uint64_t bytes, uint64_t has) {
    refuse(file, "the file ends before its points", std::to_string(bytes) + " bytes for " + std::to_string(points) + " points", std::to_string(has),
           "it may have been cut off");
  };
  if (header.data == PcdData::kBinary && needed > room) short_of(needed, room);
  uint64_t values = 0;
  for (const auto& field : header.fields) values += static_cast<uint64_t>(field.count);
  if (header.data == PcdData::kAscii && points * 2 * values > room + 1) short_of(points * 2 * values - 1, room);
  if (header.data != PcdData::kCompressed || points == 0) return;
  // PCL counts such fields in one place and not in the other, and writes beyond its memory.
  if (std::any_of(header.fields.begin(), header.fields.end(), [](const auto& f) { return f.name == "_"; }))
    refuse(file, "has padding in a compressed block");
  if (room < 8) short_of(8, room);
  const uint64_t packed = load<uint32_t>(file.bytes, header.body), unpacked = load<uint32_t>(file.bytes, header.body + 4);
  if (packed > room - 8) short_of(packed, room - 8);
  if (unpacked != needed || unpacked > packed * kMostExpansion) {
    refuse(file, "its compressed block is not that of its points", std::to_string(needed) + " bytes unpacked",
           std::to_string(unpacked) + " from " + std::to_string(packed));
  }
}

}  // namespace

int64_t PcdHeader::point_bytes() const {
  int64_t bytes = 0;
  for (const auto& field : fields) bytes += field.size * field.count;
  return bytes;
}

PcdHeader read_pcd_header(const FileContent& file) {
  auto header = PcdHeaderReader(file).read();
  check_body(file, header);
  return header;
}

std::string canonical_text(const PcdHeader& header) {
  std::string names = "FIELDS", sizes = "SIZE", types = "TYPE", counts = "COUNT";
  for (const auto& field : header.fields) {
    names += " " + field.name;
    sizes += " " + std::to_string(field.size);
    types += std::string(" ") + field.type;
    counts += " " + std::to_string(field.count);
  }
  const char* data = header.data == PcdData::kAscii ? "ascii" : header.data == PcdData::kBinary ? "binary" : "binary_compressed";
  return "VERSION 0.7\n" + names + "\n" + sizes + "\n" + types + "\n" + counts + "\nWIDTH " + std::to_string(header.width) + "\nHEIGHT " +
         std::to_string(header.height) + "\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS " + std::to_string(header.points()) + "\nDATA " + data + "\n";
}

}  // namespace graft::data
