#include "data_loaders/text/pre_tokenizer.h"

#include <algorithm>

#include "data_loaders/text/unicode_text.h"

namespace graft::data {

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

struct Span {
  size_t begin, end;
  bool delimiter;
};

std::vector<Span> matches_and_gaps(const UnicodeRegex& pattern, std::string_view text, SplitOn on) {
  std::vector<Span> spans;
  const bool hit = on == SplitOn::kMatches;
  size_t previous = 0;
  pattern.for_each_match(text, [&](size_t begin, size_t end) {
    if (previous != begin) spans.push_back({previous, begin, !hit});
    spans.push_back({begin, end, hit});
    previous = end;
  });
  if (previous != text.size()) spans.push_back({previous, text.size(), !hit});
  return spans;
}

std::vector<Span> join_delimiters(const std::vector<Span>& spans, SplitBehavior behavior) {
  std::vector<Span> out;
  bool previous = false;
  const auto join = [&](const Span& span) {
    if (out.empty()) return false;
    if (behavior == SplitBehavior::kContiguous) return span.delimiter == previous;
    return span.delimiter && !previous;
  };
  const auto add = [&](const Span& span) {
    if (join(span)) {
      out.back().begin = std::min(out.back().begin, span.begin);
      out.back().end = std::max(out.back().end, span.end);
    } else {
      out.push_back(span);
    }
    previous = span.delimiter;
  };
  if (behavior == SplitBehavior::kMergedWithNext) {
    std::for_each(spans.rbegin(), spans.rend(), add);
    std::reverse(out.begin(), out.end());
  } else {
    std::for_each(spans.begin(), spans.end(), add);
  }
  return out;
}

class SplitStep final : public PreTokenizer {
 public:
  SplitStep(UnicodeRegex pattern, SplitBehavior behavior, SplitOn on)
      : pattern_(std::move(pattern)), behavior_(behavior), on_(on) {}

  void apply(PieceList& list) const override {
    std::vector<TextPiece> out;
    out.reserve(list.pieces.size() * 4);
    for (const TextPiece& piece : list.pieces) {
      if (behavior_ == SplitBehavior::kIsolated) {
        isolate(list.view(piece), piece, out);
        continue;
      }
      auto spans = matches_and_gaps(pattern_, list.view(piece), on_);
      if (behavior_ == SplitBehavior::kRemoved) {
        std::erase_if(spans, [](const Span& span) { return span.delimiter; });
      } else {
        spans = join_delimiters(spans, behavior_);
      }
      for (const Span& span : spans) add(piece, span.begin, span.end, out);
    }
    list.pieces = std::move(out);
  }

 private:
  // The usual case, kept free of the span list.
  void isolate(std::string_view text, const TextPiece& piece, std::vector<TextPiece>& out) const {
    size_t previous = 0;
    pattern_.for_each_match(text, [&](size_t begin, size_t end) {
      add(piece, previous, begin, out);
      add(piece, begin, end, out);
      previous = end;
    });
    add(piece, previous, text.size(), out);
  }

  static void add(const TextPiece& whole, size_t begin, size_t end, std::vector<TextPiece>& out) {
    if (begin < end) out.push_back({whole.begin + begin, whole.begin + end, whole.at_start && begin == 0});
  }

  UnicodeRegex pattern_;
  SplitBehavior behavior_;
  SplitOn on_;
};

// Rewrites every piece's text; the pieces then lie end to end.
template <class Rewrite>
void rewrite_pieces(PieceList& list, Rewrite rewrite) {
  std::string text;
  text.reserve(list.text.size() + list.text.size() / 2);
  for (TextPiece& piece : list.pieces) {
    const size_t begin = text.size();
    rewrite(list.view(piece), piece, text);
    piece.begin = begin;
    piece.end = text.size();
  }
  list.text = std::move(text);
}

class ByteLevelStep final : public PreTokenizer {
 public:
  explicit ByteLevelStep(const ByteLevelOptions& options) : add_prefix_space_(options.add_prefix_space) {
    if (options.split_as_gpt2)
      split_ = split_step({kGpt2Pattern, "pre_tokenizer ByteLevel"}, SplitBehavior::kIsolated);
  }

  void apply(PieceList& list) const override {
    if (add_prefix_space_) {
      rewrite_pieces(list, [](std::string_view view, const TextPiece&, std::string& out) {
        if (!view.starts_with(' ')) out += ' ';
        out += view;
      });
    }
    if (split_) split_->apply(list);
    rewrite_pieces(list, [](std::string_view view, const TextPiece&, std::string& out) {
      const auto& table = byte_characters();
      for (const char c : view) out += table[static_cast<unsigned char>(c)];
    });
  }

 private:
  bool add_prefix_space_;
  PreTokenizerPtr split_;
};

class MetaspaceStep final : public PreTokenizer {
 public:
  explicit MetaspaceStep(const MetaspaceOptions& options) : options_(options) {
    if (options.split)
      split_ = split_step(UnicodeRegex::literal(options.replacement, "pre_tokenizer Metaspace"),
                          SplitBehavior::kMergedWithNext);
  }

  void apply(PieceList& list) const override {
    rewrite_pieces(list, [&](std::string_view view, const TextPiece& piece, std::string& out) {
      std::string text(view);
      replace_all(text, " ", options_.replacement);
      const bool wanted = options_.prefix == PrefixSpace::kAlways || (options_.prefix == PrefixSpace::kFirst && piece.at_start);
      if (wanted && !text.starts_with(options_.replacement)) out += options_.replacement;
      out += text;
    });
    if (split_) split_->apply(list);
  }

 private:
  MetaspaceOptions options_;
  PreTokenizerPtr split_;
};

class SequenceStep final : public PreTokenizer {
 public:
  explicit SequenceStep(std::vector<PreTokenizerPtr> steps) : steps_(std::move(steps)) {}
  void apply(PieceList& list) const override {
    for (const auto& step : steps_) step->apply(list);
  }

 private:
  std::vector<PreTokenizerPtr> steps_;
};

}  // namespace

PreTokenizerPtr split_step(UnicodeRegex pattern, SplitBehavior behavior, SplitOn on) {
  return std::make_shared<SplitStep>(std::move(pattern), behavior, on);
}
PreTokenizerPtr byte_level_step(const ByteLevelOptions& options) { return std::make_shared<ByteLevelStep>(options); }
PreTokenizerPtr metaspace_step(const MetaspaceOptions& options) { return std::make_shared<MetaspaceStep>(options); }
PreTokenizerPtr sequence_of(std::vector<PreTokenizerPtr> steps) {
  return std::make_shared<SequenceStep>(std::move(steps));
}

}  // namespace graft::data
