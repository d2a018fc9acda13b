// The smallest program around load_tokenizer, for the comparison with the Python libraries.
// tokenize_probe MODEL FILE           one JSON array of ids for each line of FILE
// tokenize_probe MODEL FILE --decode  FILE holds such lines; one JSON string for each
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data_loaders/text/tokenize_lines.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  try {
    const auto tokenizer = graft::data::load_tokenizer(argv[1]);
    const std::string text = graft::read_file(argv[2]);
    if (argc == 3) {
      graft::data::tokenize_lines(*tokenizer, text, std::cout);
      return 0;
    }
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const auto ids = nlohmann::json::parse(line).get<std::vector<graft::data::TokenId>>();
      std::cout << nlohmann::json(tokenizer->decode(ids)).dump() << '\n';
    }
    return 0;
  } catch (const graft::Error& error) {
    std::cerr << error.what() << '\n';
    return error.exit_code();
  }
}
