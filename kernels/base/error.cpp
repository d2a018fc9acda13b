#include "kernels/base/error.h"

#include <cstdio>
#include <cstdlib>

namespace graft {

namespace {

constexpr size_t kMostShown = 300;  // of a value out of somebody's file

std::string shortened(const std::string& text) {
  if (text.size() <= kMostShown) return text;
  size_t end = kMostShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a character
  return text.substr(0, end) + "...";
}

}  // namespace

std::string to_line(const Complaint& complaint) {
  std::string line;
  if (!complaint.where.empty()) line += "[" + complaint.where + "] ";
  line += complaint.what;
  if (!complaint.expected.empty()) line += "; expected " + complaint.expected;
  if (!complaint.got.empty()) line += (complaint.expected.empty() ? "; got " : ", got ") + shortened(complaint.got);
  if (!complaint.hint.empty()) line += "; " + complaint.hint;
  // Names and values come out of files; one error stays one line and cannot steer a terminal.
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  return line;
}

void assertion_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "graft: internal error: %s is false at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace graft
