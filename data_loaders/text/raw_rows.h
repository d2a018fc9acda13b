#pragma once

// Internal: rows of a file before they get a meaning. Not for other folders.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "peft_core/base/result.h"

namespace graft::data {

struct RowPlace {
  int64_t line = 0;  ///< where the row begins, from 1
  int64_t row = 0;   ///< from 1
};

/// An object of fields, or why there is none.
using RawRow = Result<nlohmann::json>;
using RowSink = std::function<void(RowPlace, RawRow)>;

/// What one row may take: it bounds the memory that a hostile line can claim.
constexpr size_t kMaxRowBytes = size_t{16} << 20;
constexpr int kMaxRowDepth = 64;
constexpr int64_t kMaxRowValues = 1'000'000;

/// One JSON value within the limits above; the reason names the byte.
RawRow parse_row_json(std::string_view text);

/// An array of objects, one object, or one object a line (JSON Lines), whichever the text is. A broken row goes to the
/// sink as a failure; a file whose array is not closed throws IoError.
void for_each_json_row(std::string_view text, const std::filesystem::path& file, const RowSink& sink);

/// RFC 4180: a header line, quoted fields with doubled quotes and line breaks. The separator is the one of `,` `;` and
/// tab that the header holds most of. Every field becomes a string. Throws IoError for a quote that is never closed or
/// a header without names.
void for_each_csv_row(std::string_view text, const std::filesystem::path& file, const RowSink& sink);

}  // namespace graft::data
