#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace graft::pipelines {

using Colour = std::array<uint8_t, 3>;  ///< red, green, blue

/// A picture of 8-bit colours, (height, width, 3), from the top left.
struct Picture {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> pixels;

  static Picture blank(int64_t width, int64_t height, Colour colour);
};

/// A grey picture (side, side) with values in [0, 1]; what lies outside is cut off.
Picture grey_picture(std::span<const float> values, int64_t side);

/// Pictures of one size on a sheet of `columns`, row by row, with white gaps; a frame of `frame`'s colour around those in `framed`.
Picture sheet_of(const std::vector<Picture>& pictures, int64_t columns, const std::vector<bool>& framed, Colour frame);

/// The bytes of a PNG file. The same bytes for the same picture.
std::string png_bytes(const Picture& picture);
/// Atomically; throws IoError.
void write_png(const std::filesystem::path& file, const Picture& picture);

/// For data: addresses in a page.
std::string base64(std::string_view bytes);

}  // namespace graft::pipelines
