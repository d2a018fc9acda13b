#include "data_loaders/text/tokenize_lines.h"

#include <algorithm>
#include <string>

namespace graft::data {

void tokenize_lines(const Tokenizer& tokenizer, std::string_view text, std::ostream& out) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = "[";
    for (const TokenId id : tokenizer.encode(text.substr(begin, end - begin))) {
      if (line.size() > 1) line += ", ";
      line += std::to_string(id);
    }
    out << line << "]\n";
    begin = end + 1;
  }
}

}  // namespace graft::data
