#include "data_loaders/cloud/npy_layout.h"

#include <algorithm>

#include "data_loaders/cloud/number_scanner.h"

namespace graft::data {
namespace {

/// Reads the Python dictionary that the header is, as far as NumPy writes such.
class NpyHeaderReader {
 public:
  NpyHeaderReader(const FileContent& file, std::string_view text) : file_(file), text_(text) {}

  NpyLayout read() {
    NpyLayout layout;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!take('}')) {
      const auto key = quoted();
      expect(':');
      if (key == "descr") {
        read_type(layout);
        descr = true;
      } else if (key == "fortran_order") {
        layout.fortran = boolean();
        order = true;
      } else if (key == "shape") {
        layout.shape = tuple();
        shape = true;
      } else {
        wrong("descr, fortran_order or shape");
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape) refuse(file_, "its NumPy header is incomplete", "descr, fortran_order and shape");
    return layout;
  }

 private:
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) wrong(std::string("\"") + c + "\"");
  }
  [[noreturn]] void wrong(const std::string& expected) const {
    refuse(file_, "its NumPy header cannot be read", expected, "\"" + std::string(text_.substr(std::min(at_, text_.size()), 20)) + "\"");
  }

  std::string quoted() {
    const char mark = peek();
    if (mark != '\'' && mark != '"') wrong("a name in quotes");
    const auto end = text_.find(mark, ++at_);
    if (end == std::string_view::npos) wrong("a closing quote");
    std::string word(text_.substr(at_, end - at_));
    at_ = end + 1;
    return word;
  }
  bool boolean() {
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)}) {
      peek();
      if (text_.substr(at_).starts_with(word)) {
        at_ += std::string_view(word).size();
        return value;
      }
    }
    wrong("True or False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> numbers;
    expect('(');
    while (!take(')')) {
      peek();
      size_t end = at_;
      while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
      const auto number = integer_in(text_.substr(at_, end - at_));
      if (!number || numbers.size() >= 32) wrong("a tuple of whole numbers");
      numbers.push_back(*number);
      at_ = end;
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return numbers;
  }

  NpyType type_named(const std::string& name) const {
    const int64_t size = name.size() > 2 ? integer_in(std::string_view(name).substr(2)).value_or(0) : 0;
    const char kind = name.size() > 2 ? name[1] : '?', order = name.empty() ? '?' : name[0];
    const bool number = kind == 'f' ? size == 4 || size == 8 : (kind == 'i' || kind == 'u') && (size == 1 || size == 2 || size == 4 || size == 8);
    if (!number && !(kind == 'b' && size == 1)) {
      refuse(file_, "its NumPy type is not read here", "float32, float64 or whole numbers", name, "convert it: array.astype(\"<f4\")");
    }
    if (order != '<' && !(order == '|' && size == 1))
      refuse(file_, "its NumPy array has another byte order", "little-endian", name, "convert it: array.astype(\"<f4\")");
    return {.kind = kind == 'b' ? 'u' : kind, .size = size};
  }

  void read_type(NpyLayout& layout) {
    if (peek() != '[') {
      layout.type = type_named(quoted());
      layout.item_bytes = layout.type.size;
      return;
    }
    expect('[');
    while (!take(']')) {
      expect('(');
      const auto name = quoted();
      expect(',');
      const auto type = type_named(quoted());
      int64_t count = 1;
      if (take(',') && peek() == '(') {
        for (const auto axis : tuple()) count *= std::min<int64_t>(axis, kMostPoints);
        if (count < 1 || count > 1 << 20) wrong("a small field");
      }
      expect(')');
      if (layout.fields.size() >= 256) wrong("fewer fields");
      layout.fields.push_back({.name = name, .type = type, .offset = layout.item_bytes});
      layout.item_bytes += type.size * count;
      if (!take(',')) {
        expect(']');
        break;
      }
    }
    if (layout.item_bytes == 0) wrong("fields");
  }

  const FileContent& file_;
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

int64_t NpyLayout::items() const {
  int64_t count = 1;
  for (const auto axis : shape) count *= axis;
  return count;
}

NpyLayout read_npy_layout(const FileContent& file, std::string_view bytes) {
  if (bytes.size() < 12 || !bytes.starts_with("\x93NUMPY")) refuse(file, "is no NumPy array");
  const int version = load<uint8_t>(bytes, 6);
  if (version < 1 || version > 3) refuse(file, "NumPy format of another version", "1 to 3", std::to_string(version));
  const size_t begin = version == 1 ? 10 : 12;
  const size_t length = version == 1 ? load<uint16_t>(bytes, 8) : load<uint32_t>(bytes, 8);
  if (length > bytes.size() - begin)
    refuse(file, "the file ends within its NumPy header", std::to_string(length) + " bytes", std::to_string(bytes.size() - begin));
  auto layout = NpyHeaderReader(file, bytes.substr(begin, length)).read();
  layout.data = bytes.substr(begin + length);
  auto room = static_cast<int64_t>(layout.data.size()) / layout.item_bytes;
  int64_t items = 1;
  for (const auto axis : layout.shape) {
    if (axis != 0 && items > room / axis)
      refuse(file, "the file ends before its NumPy array", "", std::to_string(layout.data.size()) + " bytes of data", "it may have been cut off");
    items *= axis;
  }
  layout.data = layout.data.substr(0, static_cast<size_t>(items * layout.item_bytes));
  return layout;
}

}  // namespace graft::data
