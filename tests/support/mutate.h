#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace graft::testing {

/// Makes damaged versions of a file, the same ones for the same seed: truncated, extended, bits flipped, ranges copied, moved, removed or
/// blanked, 32- and 64-bit numbers and decimal numbers replaced by giant ones, deep JSON put in, words of a dictionary (element types, ...)
/// exchanged, two pieces swapped.
class Mutator {
 public:
  /// `words`: text that means something to the format; one that occurs is exchanged for another.
  explicit Mutator(uint64_t seed, std::vector<std::string> words = {}) : random_(seed), words_(std::move(words)) {}

  /// One to four damages. `story`, if given, gets their names, to be printed with a failure.
  std::string mutate(const std::string& original, std::string* story = nullptr);

 private:
  size_t below(size_t bound) { return bound == 0 ? 0 : std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }
  uint64_t edge_number();
  std::string damage_once(std::string bytes, std::string& story);
  std::string damage_range(std::string bytes, std::string& story);
  std::string damage_binary_number(std::string bytes, std::string& story);
  std::string damage_decimal_number(std::string bytes, std::string& story);
  std::string damage_word(std::string bytes, std::string& story);
  std::string damage_nesting(std::string bytes, std::string& story);
  size_t place(size_t size);

  std::mt19937_64 random_;
  std::vector<std::string> words_;
};

/// Freed memory that AddressSanitizer keeps back, by default: what a bound on `grown_bytes` has to allow for.
#if defined(__SANITIZE_ADDRESS__)
constexpr long kQuarantine = 256L << 20;
#else
constexpr long kQuarantine = 0;
#endif

struct FuzzReport {
  size_t accepted = 0;               ///< the damage did no harm
  size_t refused = 0;                ///< a graft::Error, as it should be
  std::vector<std::string> failures;  ///< another exception, or an error of more than one line; the first ten, with the damage's story
  long grown_bytes = 0;              ///< growth of the peak of the process's memory
};

/// Calls `read` with `count` damaged versions of the originals, taken in turn. Only graft::Error may come out of it.
FuzzReport fuzz_reader(const std::vector<std::string>& originals, size_t count, uint64_t seed, const std::vector<std::string>& words,
                       const std::function<void(const std::string& bytes)>& read);

/// How many damaged files a test tries: `usual`, or what GRAFT_FUZZ_COUNT says.
size_t fuzz_count(size_t usual);

}  // namespace graft::testing
