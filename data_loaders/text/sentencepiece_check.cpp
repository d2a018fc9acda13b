#include "data_loaders/text/sentencepiece_check.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"

namespace graft::data {
namespace {

// Field numbers of sentencepiece_model.proto.
enum ModelField : uint64_t { kPieces = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5 };
enum PieceField : uint64_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerField : uint64_t { kModelType = 3 };
enum NormalizerField : uint64_t { kCharacterMap = 2 };
constexpr uint64_t kUnigram = 1, kBpe = 2;
constexpr uint64_t kNormal = 1, kUnknown = 2, kLastType = 6;
constexpr size_t kLongestPiece = 4096;

struct Field {
  uint64_t number = 0, wire_type = 0, value = 0;  // value: of varints and fixed numbers
  std::string_view bytes;                         // of length-delimited fields
};

class Message {
 public:
  Message(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  bool next(Field& field) {
    if (pos_ == bytes_.size()) return false;
    const uint64_t tag = varint();
    field = {tag >> 3, tag & 7, 0, {}};
    switch (field.wire_type) {
      case 0: field.value = varint(); break;
      case 1: field.value = fixed(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.value = fixed(4); break;
      default: fail("unknown wire type");
    }
    return true;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw IoError({.where = where_, .what = "is no sound SentencePiece model: " + what});
  }

 private:
  std::string_view take(uint64_t length) {
    if (length > bytes_.size() - pos_) fail("truncated");
    const auto out = bytes_.substr(pos_, length);
    pos_ += length;
    return out;
  }
  uint64_t fixed(size_t length) {
    uint64_t value = 0;
    std::memcpy(&value, take(length).data(), length);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("number too long");
  }

  std::string_view bytes_;
  const std::string& where_;
  size_t pos_ = 0;
};

// A piece's text, score and type; true if it is the unknown piece.
bool check_piece(std::string_view bytes, const std::string& where) {
  Message message(bytes, where);
  uint64_t type = kNormal;
  std::string_view text;
  for (Field field; message.next(field);) {
    if (field.number == kText) text = field.bytes;
    if (field.number == kType) type = field.value;
    if (field.number == kScore) {
      float score = 0;
      const auto bits = static_cast<uint32_t>(field.value);
      std::memcpy(&score, &bits, sizeof score);
      if (!std::isfinite(score)) message.fail("a score is not finite");
    }
  }
  if (text.empty() || text.size() > kLongestPiece) message.fail("a piece is empty or overlong");
  if (!is_valid_utf8(text)) message.fail("a piece is not UTF-8");
  if (type < kNormal || type > kLastType) message.fail("unknown type of piece");
  return type == kUnknown;
}

// The character map: a size, that many bytes of a double-array trie (darts-clone), then the replacements, each ended by a NUL.
// The library follows the trie without looking at its bounds, so every step that any unit allows must stay inside.
void check_character_map(std::string_view map, const Message& message) {
  if (map.empty()) return;
  uint32_t trie_bytes = 0;
  if (map.size() <= sizeof trie_bytes) message.fail("character map truncated");
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  if (trie_bytes >= map.size() - sizeof trie_bytes || trie_bytes % 4 != 0 || trie_bytes < 1024) message.fail("character map has a wrong size");
  const std::string_view trie = map.substr(sizeof trie_bytes, trie_bytes);
  const std::string_view replacements = map.substr(sizeof trie_bytes + trie_bytes);
  if (replacements.back() != '\0') message.fail("character map does not end its replacements");
  if (!is_valid_utf8(replacements)) message.fail("character map holds replacements that are not UTF-8");
  const size_t units = trie_bytes / 4;
  for (size_t i = 0; i < units; ++i) {
    uint32_t unit = 0;
    std::memcpy(&unit, trie.data() + 4 * i, sizeof unit);
    if ((unit & 0x80000000u) != 0) {  // a leaf
      if ((unit & 0x7FFFFFFFu) >= replacements.size()) message.fail("character map points outside its replacements");
      continue;
    }
    const uint32_t offset = (unit >> 10) << ((unit & 0x200u) >> 6);
    if (((i ^ offset) | 0xFF) >= units) message.fail("character map points outside itself");
  }
}

void check_normalizer(std::string_view bytes, const std::string& where) {
  Message message(bytes, where);
  for (Field field; message.next(field);)
    if (field.number == kCharacterMap) check_character_map(field.bytes, message);
}

void check_trainer(std::string_view bytes, const std::string& where) {
  Message message(bytes, where);
  uint64_t type = kUnigram;
  for (Field field; message.next(field);)
    if (field.number == kModelType) type = field.value;
  if (type == kUnigram || type == kBpe) return;
  throw InvalidArgument({.where = where, .what = "kind of SentencePiece model is not supported", .expected = "unigram (1) or BPE (2)", .got = std::to_string(type)});
}

}  // namespace

void check_sentencepiece_model(std::string_view model, const std::string& where) {
  Message message(model, where);
  size_t unknown = 0;
  for (Field field; message.next(field);) {
    switch (field.number) {
      case kPieces: unknown += check_piece(field.bytes, where) ? 1 : 0; break;
      case kTrainer: check_trainer(field.bytes, where); break;
      case kNormalizer:
      case kDenormalizer: check_normalizer(field.bytes, where); break;
      default: break;
    }
  }
  if (unknown != 1) message.fail("it must have exactly one unknown piece, and has " + std::to_string(unknown));
}

}  // namespace graft::data
