#include "data_loaders/text/unicode_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>
#include <cstdio>
#include <mutex>

#include "data_loaders/text/unicode_additions.h"
#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

// Enough for any sane split of megabytes; a pattern that explodes stops here instead of running for hours.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;
constexpr size_t kLongestPattern = 16 * 1024;

std::string additions_of(std::string_view name) {
  const bool han = name == "Han";
  std::string out;
  char buffer[40];
  for (const auto& range : unicode_additions()) {
    const bool ideograph = range.category == "Lo" && range.first >= 0x2B739 && range.last <= 0x323AF;
    if (han ? !ideograph : !range.category.starts_with(name)) continue;
    std::snprintf(buffer, sizeof buffer, "\\x{%X}-\\x{%X}", static_cast<unsigned>(range.first),
                  static_cast<unsigned>(range.last));
    out += buffer;
  }
  return out;
}

// The inside of a character class for a property.
std::string class_members(std::string_view name) {
  if (name == "Han") return "\\p{sc:Han}" + additions_of(name);
  return "\\p{" + std::string(name) + "}" + (name.size() <= 2 ? additions_of(name) : "");
}

// Walks over the pattern once; escapes and classes are rewritten, the rest is copied.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    while (pos_ < in_.size()) {
      const char c = in_[pos_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else {
        if (c == '[') open_class();
        out_ += in_[pos_++];
      }
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw InvalidArgument({.where = where_, .what = "unsupported regular expression: " + what, .got = formats::shown(in_)});
  }

  void open_class() {
    in_class_ = true;
    if (in_.substr(pos_ + 1, 1) == "^") out_ += in_[pos_++];
    if (in_.substr(pos_ + 1, 1) == "]") out_ += in_[pos_++];
  }

  void class_character(char c) {
    if (c == '[') {
      const auto end = in_.find(":]", pos_);
      if (in_.substr(pos_, 2) != "[:" || end == std::string_view::npos) refuse("a character class inside another");
      out_ += in_.substr(pos_, end + 2 - pos_);
      pos_ = end + 2;
      return;
    }
    if (in_.substr(pos_, 2) == "&&") refuse("intersection of character classes");
    if (c == ']') in_class_ = false;
    out_ += in_[pos_++];
  }

  void members(const std::string& set, bool negated, const std::string& negated_in_class) {
    if (!in_class_) {
      out_ += (negated ? "[^" : "[") + set + "]";
    } else if (!negated) {
      out_ += set;
    } else if (!negated_in_class.empty()) {
      out_ += negated_in_class;
    } else {
      refuse("a negated class inside another");
    }
  }

  void escape() {
    const char kind = pos_ + 1 < in_.size() ? in_[pos_ + 1] : '\0';
    switch (kind) {
      case 's': case 'S': simple(kind == 'S', "\\p{White_Space}", "\\P{White_Space}"); break;
      case 'd': case 'D': simple(kind == 'D', class_members("Nd"), "\\P{Nd}"); break;
      case 'h': case 'H': simple(kind == 'H', "0-9a-fA-F", ""); break;
      case 'w': case 'W':
        // Latin-1's superscripts and fractions are word characters there, but no others of their kind.
        simple(kind == 'W', "\\p{Alphabetic}\\xB2\\xB3\\xB9\\xBC-\\xBE" + additions_of("L") + class_members("M") +
                                class_members("Nd") + class_members("Pc"), "");
        break;
      case 'p': case 'P': property(); break;
      case 'u':
        out_ += "\\x{" + std::string(in_.substr(pos_ + 2, 4)) + "}";
        pos_ = std::min(in_.size(), pos_ + 6);
        break;
      default:
        out_ += in_.substr(pos_, 2);
        pos_ = std::min(in_.size(), pos_ + 2);
    }
  }

  void simple(bool negated, const std::string& set, const std::string& negated_in_class) {
    members(set, negated, negated_in_class);
    pos_ += 2;
  }

  void property() {
    bool negated = in_[pos_ + 1] == 'P';
    const auto close = in_.find('}', pos_);
    if (in_.substr(pos_ + 2, 1) != "{" || close == std::string_view::npos) refuse("\\p without braces");
    auto name = in_.substr(pos_ + 3, close - pos_ - 3);
    if (name.starts_with("^")) {
      negated = !negated;
      name.remove_prefix(1);
    }
    members(class_members(name), negated, "\\P{" + std::string(name == "Han" ? "sc:Han" : name) + "}");
    pos_ = close + 1;
  }

  std::string_view in_;
  const std::string& where_;
  std::string out_;
  size_t pos_ = 0;
  bool in_class_ = false;
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// Matching needs scratch memory that must not be shared between threads.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, nullptr);
  Scratch() {
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

}  // namespace

struct UnicodeRegex::Compiled {
  pcre2_code* code = nullptr;
  std::string where, pattern;
  ~Compiled() { pcre2_code_free(code); }
};

std::string pcre2_pattern(std::string_view pattern, const std::string& where) { return Translator(pattern, where).run(); }

UnicodeRegex::UnicodeRegex(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kLongestPattern)
    throw InvalidArgument({.where = where, .what = "regular expression too long", .expected = std::to_string(kLongestPattern) + " bytes at most", .got = std::to_string(pattern.size())});
  auto compiled = std::make_shared<Compiled>();
  compiled->where = where;
  compiled->pattern = pattern.substr(0, 200);
  const std::string translated = pcre2_pattern(pattern, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (compiled->code == nullptr)
    throw InvalidArgument({.where = where, .what = "malformed regular expression: " + pcre2_message(error), .got = formats::shown(compiled->pattern)});
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // without it, matching still works, only slower
  compiled_ = std::move(compiled);
}

UnicodeRegex UnicodeRegex::literal(std::string_view text, const std::string& where) {
  std::string escaped;
  for (const char c : text) {
    if (std::ispunct(static_cast<unsigned char>(c)) != 0) escaped += '\\';
    escaped += c;
  }
  return {escaped, where};
}

void UnicodeRegex::for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const {
  Scratch& s = scratch();
  constexpr size_t kNone = ~size_t{0};
  size_t last_end = kNone;
  for (size_t pos = 0; pos <= text.size();) {
    const int rc = pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), pos,
                               PCRE2_NO_UTF_CHECK, s.data, s.context);
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0)
      throw InvalidArgument({.where = compiled_->where, .what = "regular expression cannot be run on this text: " + pcre2_message(rc), .got = formats::shown(compiled_->pattern)});
    const PCRE2_SIZE* match = pcre2_get_ovector_pointer(s.data);
    const size_t begin = match[0], end = match[1];
    if (end == begin && end == last_end) {  // an empty match where the last one ended says nothing
      if (pos >= text.size()) return;
      pos = end + character_length(text, end);
      last_end = kNone;
      continue;
    }
    if (end < begin || end < pos)
      throw InvalidArgument({.where = compiled_->where, .what = "regular expression with \\K is not supported"});
    visit(begin, end);
    pos = last_end = end;
  }
}

}  // namespace graft::data
