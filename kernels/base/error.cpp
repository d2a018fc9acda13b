#include "kernels/base/error.h"

#include <cstdio>
#include <cstdlib>

namespace graft {

std::string to_line(const Complaint& complaint) {
  std::string line;
  if (!complaint.where.empty()) line += "[" + complaint.where + "] ";
  line += complaint.what;
  if (!complaint.expected.empty()) line += "; expected " + complaint.expected;
  if (!complaint.got.empty()) line += (complaint.expected.empty() ? "; got " : ", got ") + complaint.got;
  if (!complaint.hint.empty()) line += "; " + complaint.hint;
  return line;
}

void assertion_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "graft: internal error: %s is false at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace graft
