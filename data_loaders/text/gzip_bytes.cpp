#include "data_loaders/text/gzip_bytes.h"

#include <zlib.h>

#include <algorithm>
#include <climits>
#include <memory>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;  // zlib's own spelling of "a gzip header is expected"
constexpr size_t kStep = 1 << 16;

}  // namespace

bool is_gzip(std::span<const std::byte> bytes) { return bytes.size() >= 2 && bytes[0] == std::byte{0x1F} && bytes[1] == std::byte{0x8B}; }

std::string gunzip(std::span<const std::byte> bytes, size_t largest, const std::string& where) {
  if (bytes.size() > UINT_MAX) throw IoError({.where = where, .what = "is too large for a gzip file read at once"});
  z_stream stream{};
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) throw IoError({.where = where, .what = "zlib cannot start"});
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> owner(&stream, &inflateEnd);
  // zlib's interface is older than const; it does not write here.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  for (int state = Z_OK; state != Z_STREAM_END;) {
    const size_t done = out.size();
    out.resize(done + kStep);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    stream.avail_out = kStep;
    state = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
    if (out.size() > largest)
      throw IoError({.where = where, .what = "unpacks to too much", .expected = "at most " + std::to_string(largest) + " bytes"});
    if (state == Z_BUF_ERROR || (state == Z_OK && stream.avail_in == 0 && stream.avail_out > 0))
      throw IoError({.where = where, .what = "gzip data end too early", .hint = "copy the file again"});
    if (state != Z_OK && state != Z_STREAM_END)
      throw IoError({.where = where, .what = "gzip data are damaged", .got = stream.msg == nullptr ? "zlib error " + std::to_string(state) : stream.msg});
  }
  return out;
}

}  // namespace graft::data
