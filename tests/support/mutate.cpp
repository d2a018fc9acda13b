#include "tests/support/mutate.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <cstring>

#include "kernels/base/error.h"

namespace graft::testing {
namespace {

long peak_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

void judge(const std::string& story, const std::string& bytes, const std::function<void(const std::string&)>& read, FuzzReport& report) {
  std::string failure;
  try {
    read(bytes);
    ++report.accepted;
    return;
  } catch (const Error& error) {
    const std::string_view line = error.what();
    ++report.refused;
    if (line.empty() || line.size() > 4000 || line.find('\n') != std::string_view::npos) failure = "error is not one clear line";
  } catch (const std::exception& error) {
    failure = std::string("foreign exception: ") + error.what();
  } catch (...) {
    failure = "foreign exception of unknown type";
  }
  if (!failure.empty() && report.failures.size() < 10) report.failures.push_back(failure.substr(0, 400) + " after " + story);
}

}  // namespace

/// Headers are where readers go wrong, so half of the damage falls on the first kilobyte.
size_t Mutator::place(size_t size) { return below(2) == 0 ? below(std::min<size_t>(size, 1024)) : below(size); }

uint64_t Mutator::edge_number() {
  constexpr std::array<uint64_t, 16> kEdges = {0, 1, 2, 3, 7, 0x7f, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                               0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffffff8, 0xffffffffffffffff};
  return below(4) == 0 ? random_() >> below(64) : kEdges[below(kEdges.size())];
}

std::string Mutator::mutate(const std::string& original, std::string* story) {
  std::string told, bytes = original;
  const size_t damages = 1 + (below(3) == 0 ? below(4) : 0);
  for (size_t i = 0; i < damages; ++i) bytes = damage_once(std::move(bytes), told);
  if (story != nullptr) *story = told;
  return bytes;
}

std::string Mutator::damage_once(std::string bytes, std::string& story) {
  switch (below(6)) {
    case 0: return damage_binary_number(std::move(bytes), story);
    case 1: return damage_decimal_number(std::move(bytes), story);
    case 2: return damage_word(std::move(bytes), story);
    case 3: return damage_nesting(std::move(bytes), story);
    default: return damage_range(std::move(bytes), story);
  }
}

std::string Mutator::damage_range(std::string bytes, std::string& story) {
  const size_t at = place(bytes.size()), length = 1 + below(std::min<size_t>(bytes.size() - std::min(at, bytes.size()), 64) + 1);
  const size_t kind = below(8);
  constexpr std::array<const char*, 8> kNames = {"truncate", "flip", "blank", "remove", "repeat", "extend", "move", "random"};
  story += std::string(kNames[kind]) + " " + std::to_string(length) + " bytes at " + std::to_string(at) + "; ";
  if (bytes.empty()) return std::string(length, static_cast<char>(random_()));
  const std::string piece = bytes.substr(at, length);
  switch (kind) {
    case 0: return bytes.substr(0, at);
    case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); return bytes;
    case 2: return bytes.replace(at, piece.size(), std::string(piece.size(), below(2) == 0 ? '\0' : '\xff'));
    case 3: return bytes.erase(at, length);
    case 4: return bytes.insert(at, piece);
    case 5: return bytes + std::string(length, static_cast<char>(random_()));
    case 6: bytes.erase(at, length); return bytes.insert(below(bytes.size() + 1), piece);
    default:
      for (size_t i = 0; i < piece.size(); ++i) bytes[at + i] = static_cast<char>(random_());
      return bytes;
  }
}

std::string Mutator::damage_binary_number(std::string bytes, std::string& story) {
  const size_t width = below(2) == 0 ? 4 : 8;
  if (bytes.size() < width) return damage_range(std::move(bytes), story);
  const size_t at = std::min(place(bytes.size()), bytes.size() - width);
  uint64_t number = 0;
  std::memcpy(&number, bytes.data() + at, width);
  number = below(3) == 0 ? number + below(65) - 32 : edge_number();
  std::memcpy(bytes.data() + at, &number, width);
  story += "number " + std::to_string(number) + " of " + std::to_string(width) + " bytes at " + std::to_string(at) + "; ";
  return bytes;
}

std::string Mutator::damage_decimal_number(std::string bytes, std::string& story) {
  const size_t from = place(bytes.size());
  size_t begin = from;
  while (begin < bytes.size() && !std::isdigit(static_cast<unsigned char>(bytes[begin]))) ++begin;
  if (begin >= bytes.size()) return damage_range(std::move(bytes), story);
  size_t end = begin;
  while (end < bytes.size() && std::isdigit(static_cast<unsigned char>(bytes[end]))) ++end;
  const std::array<std::string, 6> kOdd = {"-1", "1e9", "18446744073709551616", std::string(400, '9'), "0.5", "null"};
  const std::string number = below(3) == 0 ? kOdd[below(kOdd.size())] : std::to_string(edge_number());
  story += "decimal at " + std::to_string(begin) + " becomes " + number.substr(0, 24) + "; ";
  return bytes.replace(begin, end - begin, number);
}

std::string Mutator::damage_word(std::string bytes, std::string& story) {
  if (words_.empty()) return damage_range(std::move(bytes), story);
  const auto& word = words_[below(words_.size())];
  const auto& other = words_[below(words_.size())];
  auto at = bytes.find(word, place(bytes.size()));
  if (at == std::string::npos) at = bytes.find(word);
  if (at == std::string::npos) return damage_range(std::move(bytes), story);
  story += word + " becomes " + other + " at " + std::to_string(at) + "; ";
  return bytes.replace(at, word.size(), other);
}

std::string Mutator::damage_nesting(std::string bytes, std::string& story) {
  const std::array<std::string, 4> kOpeners = {"[", "{\"a\":", "[[[[[[[[", "{\"shape\":["};
  const auto& opener = kOpeners[below(kOpeners.size())];
  std::string deep;
  const size_t depth = size_t{1} << below(15);
  for (size_t i = 0; i < depth; ++i) deep += opener;
  // Behind a colon a value is expected, so that the parser goes into it.
  auto at = bytes.find(':', place(bytes.size()));
  at = at == std::string::npos ? place(bytes.size()) : at + 1;
  story += std::to_string(depth) + " times " + opener + " at " + std::to_string(at) + "; ";
  return bytes.insert(std::min(at, bytes.size()), deep);
}

FuzzReport fuzz_reader(const std::vector<std::string>& originals, size_t count, uint64_t seed, const std::vector<std::string>& words,
                       const std::function<void(const std::string& bytes)>& read) {
  FuzzReport report;
  Mutator mutator(seed, words);
  const long before = peak_bytes();
  for (size_t i = 0; i < count; ++i) {
    std::string story;
    const auto bytes = mutator.mutate(originals[i % originals.size()], &story);
    judge("mutation " + std::to_string(i) + ": " + story, bytes, read, report);
  }
  report.grown_bytes = peak_bytes() - before;
  return report;
}

size_t fuzz_count(size_t usual) {
  const char* asked = std::getenv("GRAFT_FUZZ_COUNT");
  return asked == nullptr ? usual : static_cast<size_t>(std::strtoull(asked, nullptr, 10));
}

}  // namespace graft::testing
