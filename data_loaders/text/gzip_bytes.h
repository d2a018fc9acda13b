#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace graft::data {

/// Whether the bytes begin as gzip files do.
bool is_gzip(std::span<const std::byte> bytes);

/// What a gzip file holds. `largest`: bytes that a sound file may unpack to, so that a small hostile one cannot fill the memory.
/// Throws IoError naming `where` for a damaged or cut-off file and for one that unpacks to more.
std::string gunzip(std::span<const std::byte> bytes, size_t largest, const std::string& where);

}  // namespace graft::data
