#include "data_loaders/text/normalizer.h"

namespace graft::data {

Normalizer unicode_form_normalizer(NormalForm form) {
  return [form](std::string text) { return normal_form(text, form); };
}

Normalizer lowercase_normalizer() {
  return [](std::string text) { return lower_case(text); };
}

Normalizer strip_marks_normalizer() {
  return [](std::string text) { return without_marks(text); };
}

Normalizer strip_white_space_normalizer(bool left, bool right) {
  return [left, right](std::string text) {
    size_t begin = 0, end = text.size();
    while (left && begin < end && is_white_space(code_point_at(text, begin))) begin += character_length(text, begin);
    while (right && end > begin && is_white_space(code_point_at(text, character_begin_before(text, end))))
      end = character_begin_before(text, end);
    return text.substr(begin, end - begin);
  };
}

Normalizer prepend_normalizer(std::string prefix) {
  return [prefix = std::move(prefix)](std::string text) { return text.empty() ? text : prefix + text; };
}

Normalizer replace_normalizer(UnicodeRegex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](std::string text) {
    std::string out;
    size_t previous = 0;
    pattern.for_each_match(text, [&](size_t begin, size_t end) {
      out.append(text, previous, begin - previous).append(content);
      previous = end;
    });
    return out.append(text, previous);
  };
}

Normalizer replace_text_normalizer(std::string from, std::string to) {
  return [from = std::move(from), to = std::move(to)](std::string text) {
    replace_all(text, from, to);
    return text;
  };
}

Normalizer byte_level_normalizer() {
  return [](std::string text) {
    std::string out;
    for (const char c : text) out += byte_characters()[static_cast<unsigned char>(c)];
    return out;
  };
}

Normalizer sequence_of(std::vector<Normalizer> steps) {
  return [steps = std::move(steps)](std::string text) {
    for (const auto& step : steps)
      if (step) text = step(std::move(text));
    return text;
  };
}

}  // namespace graft::data
