#include "data_loaders/cloud/ply_layout.h"

#include <algorithm>
#include <map>

#include "data_loaders/cloud/number_scanner.h"

namespace graft::data {
namespace {

struct Type {
  char kind;
  size_t size;
};

const std::map<std::string_view, Type> kTypes = {
    {"char", {'i', 1}},   {"int8", {'i', 1}},   {"uchar", {'u', 1}},   {"uint8", {'u', 1}},  {"bool", {'u', 1}},   {"short", {'i', 2}},
    {"int16", {'i', 2}},  {"ushort", {'u', 2}}, {"uint16", {'u', 2}},  {"int", {'i', 4}},    {"int32", {'i', 4}},  {"uint", {'u', 4}},
    {"uint32", {'u', 4}}, {"float", {'f', 4}},  {"float32", {'f', 4}}, {"double", {'f', 8}}, {"float64", {'f', 8}}};

class PlyHeaderReader {
 public:
  explicit PlyHeaderReader(const FileContent& file) : file_(file), lines_(file.bytes) {}

  PlyLayout read() {
    const auto magic = lines_.line();
    if (!magic || *magic != "ply") refuse(file_, "not a PLY file", "a first line \"ply\"");
    bool ordered = false, ended = false;
    while (!ended) {
      const auto line = lines_.line();
      if (!line) refuse(file_, "its header does not end", "a line end_header");
      TextScanner words(*line);
      const auto key = words.word();
      if (key == "format")
        ordered = take_format(words);
      else if (key == "element")
        take_element(words);
      else if (key == "property")
        take_property(words);
      else if (key == "end_header")
        ended = true;
      else if (key != "comment" && key != "obj_info")
        wrong("a header line that is not known", "format, element, property, comment, obj_info or end_header", key);
    }
    if (!ordered) refuse(file_, "its header has no format line");
    layout_.body = file_.bytes.size() - lines_.rest().size();
    check_counts();
    return std::move(layout_);
  }

 private:
  bool take_format(TextScanner& words) {
    const auto order = words.word();
    if (order == "ascii")
      layout_.order = PlyOrder::kAscii;
    else if (order == "binary_little_endian")
      layout_.order = PlyOrder::kLittle;
    else if (order == "binary_big_endian")
      layout_.order = PlyOrder::kBig;
    else
      wrong("unknown format", "ascii, binary_little_endian or binary_big_endian", order);
    if (const auto version = words.word(); version != "1.0") wrong("unknown version", "1.0", version);
    return true;
  }

  void take_element(TextScanner& words) {
    const std::string name(words.word());
    if (name.empty() || name.size() > 64 || layout_.element(name) != nullptr || layout_.elements.size() >= 64)
      wrong("unusable element", "a few elements of different short names", name);
    const auto text = words.word();
    const auto count = integer_in(text);
    if (!count || *count < 0) wrong("no count for element " + name, "a whole number", text);
    layout_.elements.push_back({.name = name, .count = *count});
  }

  size_t type_size(TextScanner& words, char* kind) {
    const auto word = words.word();
    const auto type = kTypes.find(word);
    if (type == kTypes.end()) wrong("unknown type of a property", "char, uchar, short, ushort, int, uint, float, double", word);
    if (kind != nullptr) *kind = type->second.kind;
    return type->second.size;
  }

  void take_property(TextScanner& words) {
    if (layout_.elements.empty()) wrong("a property before any element", "an element line", words.rest());
    auto& properties = layout_.elements.back().properties;
    if (properties.size() >= 1024) wrong("too many properties", "1024 or fewer", words.rest());
    PlyProperty property;
    auto ahead = words;
    if (ahead.word() == "list") {
      words.word();
      char kind = 'u';
      property.count_size = type_size(words, &kind);
      if (kind == 'f') wrong("a list's length of a floating type", "an integer type", words.rest());
    }
    property.size = type_size(words, &property.kind);
    property.name = std::string(words.word());
    if (property.name.empty()) wrong("a property without a name", "property TYPE NAME", "");
    properties.push_back(std::move(property));
  }

  /// Each element takes some bytes; without properties it takes none, and its count means nothing.
  void check_counts() const {
    const auto room = static_cast<int64_t>(file_.bytes.size() - layout_.body);
    for (const auto& element : layout_.elements) {
      int64_t least = 0;
      for (const auto& property : element.properties) {
        least += layout_.order == PlyOrder::kAscii ? 2 : static_cast<int64_t>(property.count_size != 0 ? property.count_size : property.size);
      }
      if (element.count > 0 && (least == 0 || element.count > room / least + 1)) {
        refuse(file_, "the file is too short for its " + element.name + " elements",
               std::to_string(element.count) + " of " + std::to_string(least) + " bytes or more", std::to_string(room) + " bytes");
      }
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
  PlyLayout layout_;
};

}  // namespace

const PlyElement* PlyLayout::element(const std::string& name) const {
  const auto place = std::find_if(elements.begin(), elements.end(), [&](const auto& e) { return e.name == name; });
  return place == elements.end() ? nullptr : &*place;
}

PlyLayout read_ply_layout(const FileContent& file) { return PlyHeaderReader(file).read(); }

}  // namespace graft::data
