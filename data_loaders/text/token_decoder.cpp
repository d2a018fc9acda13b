#include "data_loaders/text/token_decoder.h"

#include <charconv>
#include <optional>

#include "data_loaders/text/normalizer.h"
#include "data_loaders/text/unicode_text.h"

namespace graft::data {
namespace {

std::optional<std::string> bytes_of(const std::string& token) {
  std::string out;
  for (size_t i = 0; i < token.size(); i += character_length(token, i)) {
    const auto byte = byte_of_character(code_point_at(token, i));
    if (!byte) return std::nullopt;
    out += static_cast<char>(*byte);
  }
  return out;
}

std::optional<char> byte_token(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  unsigned value = 0;
  const auto result = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (result.ec != std::errc() || result.ptr != token.data() + 5) return std::nullopt;
  return static_cast<char>(value);
}

// Python's str.strip takes four separators of ASCII along.
bool is_python_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

template <class Change>
TokenDecoder for_each_token(Change change) {
  return [change](std::vector<std::string> tokens) {
    for (auto& token : tokens) token = change(std::move(token));
    return tokens;
  };
}

}  // namespace

TokenDecoder byte_level_decoder() {
  return [](std::vector<std::string> tokens) {
    std::string bytes;
    for (const auto& token : tokens) bytes += bytes_of(token).value_or(token);
    return std::vector<std::string>{valid_utf8(bytes)};
  };
}

TokenDecoder byte_fallback_decoder() {
  return [](std::vector<std::string> tokens) {
    std::vector<std::string> out;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (is_valid_utf8(run)) {
        out.push_back(run);
      } else {
        out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
      }
      run.clear();
    };
    for (auto& token : tokens) {
      if (const auto byte = byte_token(token)) {
        run += *byte;
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    return out;
  };
}

TokenDecoder fuse_decoder() {
  return [](std::vector<std::string> tokens) {
    std::string all;
    for (const auto& token : tokens) all += token;
    return std::vector<std::string>{all};
  };
}

TokenDecoder replace_decoder(UnicodeRegex pattern, std::string content) {
  return for_each_token(replace_normalizer(std::move(pattern), std::move(content)));
}

TokenDecoder replace_text_decoder(std::string from, std::string to) {
  return for_each_token(replace_text_normalizer(std::move(from), std::move(to)));
}

TokenDecoder strip_decoder(std::string content, size_t start, size_t stop) {
  return for_each_token([content = std::move(content), start, stop](std::string token) {
    std::string_view view = token;
    for (size_t i = 0; i < start && view.starts_with(content); ++i) view.remove_prefix(content.size());
    for (size_t i = 0; i < stop && view.ends_with(content); ++i) view.remove_suffix(content.size());
    return std::string(view);
  });
}

TokenDecoder metaspace_decoder(std::string replacement, bool drop_in_first) {
  return [replacement = std::move(replacement), drop_in_first](std::vector<std::string> tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], replacement, i == 0 && drop_in_first ? "" : " ");
    return tokens;
  };
}

TokenDecoder word_suffix_decoder(std::string suffix) {
  return [suffix = std::move(suffix)](std::vector<std::string> tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    return tokens;
  };
}

TokenDecoder word_end_decoder(std::string suffix) {
  return for_each_token([suffix = std::move(suffix)](std::string text) {
    replace_all(text, suffix, " ");
    size_t begin = 0, end = text.size();
    while (begin < end && is_python_space(code_point_at(text, begin))) begin += character_length(text, begin);
    for (size_t last; end > begin && is_python_space(code_point_at(text, last = character_begin_before(text, end)));) end = last;
    return text.substr(begin, end - begin);
  });
}

TokenDecoder sequence_of(std::vector<TokenDecoder> steps) {
  return [steps = std::move(steps)](std::vector<std::string> tokens) {
    for (const auto& step : steps) tokens = step(std::move(tokens));
    return tokens;
  };
}

}  // namespace graft::data
