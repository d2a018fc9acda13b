#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data_loaders/text/unicode_regex.h"

namespace graft::data {

struct TextPiece {
  size_t begin = 0, end = 0;  ///< bytes in PieceList::text
  bool at_start = false;      ///< stands at the very start of the whole text
};

/// A text cut into pieces; what lies between pieces is dropped.
struct PieceList {
  std::string text;
  std::vector<TextPiece> pieces;

  std::string_view view(const TextPiece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

/// Cuts a text before the vocabulary sees it. Steps are immutable and thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(PieceList& list) const = 0;
};
using PreTokenizerPtr = std::shared_ptr<const PreTokenizer>;

/// What happens to the places where the pattern matches.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class SplitOn { kMatches, kGaps };  ///< kGaps: what does not match is the delimiter

PreTokenizerPtr split_step(UnicodeRegex pattern, SplitBehavior behavior, SplitOn on = SplitOn::kMatches);

enum class PrefixSpace { kAlways, kFirst, kNever };

struct ByteLevelOptions {
  bool add_prefix_space = false;
  bool split_as_gpt2 = true;
};
/// Every byte becomes one printable character (GPT-2).
PreTokenizerPtr byte_level_step(const ByteLevelOptions& options);

struct MetaspaceOptions {
  std::string replacement = "\u2581";
  PrefixSpace prefix = PrefixSpace::kAlways;
  bool split = true;
};
PreTokenizerPtr metaspace_step(const MetaspaceOptions& options);

PreTokenizerPtr sequence_of(std::vector<PreTokenizerPtr> steps);

/// GPT-2's published split pattern.
extern const std::string_view kGpt2Pattern;

}  // namespace graft::data
