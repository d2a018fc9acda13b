#include "pipelines/cloud/picture.h"

#include <png.h>

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft::pipelines {
namespace {

constexpr int64_t kGap = 6;  // pixels between two pictures of a sheet; a frame takes half of it

void fill(Picture& picture, int64_t left, int64_t top, int64_t width, int64_t height, Colour colour) {
  for (int64_t y = top; y < top + height; ++y)
    for (int64_t x = left; x < left + width; ++x)
      std::copy(colour.begin(), colour.end(), picture.pixels.begin() + 3 * (y * picture.width + x));
}

void place(Picture& sheet, const Picture& part, int64_t left, int64_t top) {
  for (int64_t y = 0; y < part.height; ++y)
    std::copy_n(part.pixels.begin() + 3 * y * part.width, 3 * part.width, sheet.pixels.begin() + 3 * ((top + y) * sheet.width + left));
}

}  // namespace

Picture Picture::blank(int64_t width, int64_t height, Colour colour) {
  Picture picture{width, height, std::vector<uint8_t>(static_cast<size_t>(3 * width * height))};
  fill(picture, 0, 0, width, height, colour);
  return picture;
}

Picture grey_picture(std::span<const float> values, int64_t side) {
  GRAFT_ASSERT(static_cast<int64_t>(values.size()) == side * side);
  Picture picture{side, side, {}};
  picture.pixels.reserve(3 * values.size());
  for (const float value : values) picture.pixels.insert(picture.pixels.end(), 3, static_cast<uint8_t>(std::lround(255 * std::clamp(value, 0.0f, 1.0f))));
  return picture;
}

Picture sheet_of(const std::vector<Picture>& pictures, int64_t columns, const std::vector<bool>& framed, Colour frame) {
  GRAFT_ASSERT(!pictures.empty() && columns > 0 && framed.size() == pictures.size());
  const int64_t across = pictures.front().width + kGap, down = pictures.front().height + kGap;
  const auto rows = (static_cast<int64_t>(pictures.size()) + columns - 1) / columns;
  auto sheet = Picture::blank(columns * across + kGap, rows * down + kGap, {255, 255, 255});
  for (size_t i = 0; i < pictures.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t left = kGap + at % columns * across, top = kGap + at / columns * down;
    if (framed[i]) fill(sheet, left - kGap / 2, top - kGap / 2, across, down, frame);
    place(sheet, pictures[i], left, top);
  }
  return sheet;
}

std::string png_bytes(const Picture& picture) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, picture.pixels.data(), 0, nullptr) == 0)
    throw InvalidArgument({.where = "picture", .what = std::string("cannot be made a PNG: ") + image.message});
  bytes.resize(size);
  return bytes;
}

void write_png(const std::filesystem::path& file, const Picture& picture) { write_file_atomically(file, png_bytes(picture)); }

std::string base64(std::string_view bytes) {
  static constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t three = 0;
    for (size_t k = 0; k < 3; ++k) three = three << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += i + k <= bytes.size() ? kDigits[three >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

}  // namespace graft::pipelines
