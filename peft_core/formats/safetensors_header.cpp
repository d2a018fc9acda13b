#include "peft_core/formats/safetensors_header.h"

#include <limits>

#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"
#include "peft_core/formats/strict_json.h"

namespace graft::formats {
namespace {

constexpr size_t kDeepest = 3;         // root, tensor, shape
constexpr size_t kMostDimensions = 32;
constexpr std::string_view kMetadataKey = "__metadata__";

class HeaderReader : public StrictJsonReader {
 public:
  explicit HeaderReader(const std::string& where) : StrictJsonReader(where, kDeepest) {}
  SafetensorsHeader header;

 private:
  std::string tensor_where() const { return where() + ": tensor " + shown(path()[0]); }
  [[noreturn]] void fail_tensor(const std::string& what) const { throw IoError({.where = tensor_where(), .what = what}); }
  bool in_metadata() const { return path()[0] == kMetadataKey; }

  void on_open_object() override {
    if (path().size() > 1) fail_tensor("has an object inside");
    if (path().empty() || in_metadata()) return;
    header.tensors.emplace_back().name = path()[0];
    seen_ = {};
  }

  void on_open_array() override {
    if (path().size() != 2 || in_metadata() || in_array_) fail("has an array where none belongs");
    if (path()[1] != "shape" && path()[1] != "data_offsets") fail_tensor("has the unknown key " + shown(path()[1]));
    in_array_ = true;
    offsets_.clear();
  }

  void on_close() override {
    if (in_array_) {
      in_array_ = false;
      (path()[1] == "shape" ? seen_.shape : seen_.offsets) = true;
      if (path()[1] == "data_offsets") keep_offsets();
    } else if (path().size() == 1 && !in_metadata()) {
      check_tensor();
    }
  }

  void on_scalar(const Json& value) override {
    if (path().size() != 2) fail(path().empty() ? "is not an object" : "has a plain value for " + shown(path()[0]));
    if (in_metadata()) {
      if (!value.is_string()) fail("has metadata that is not text: " + shown(path()[1]));
      header.metadata[path()[1]] = value.get<std::string>();
    } else if (in_array_) {
      keep_number(value);
    } else if (path()[1] == "dtype" && value.is_string()) {
      header.tensors.back().dtype = dtype_from_name(value.get_ref<const std::string&>(), tensor_where());
      seen_.dtype = true;
    } else {
      fail_tensor("has an unknown or ill-typed key " + shown(path()[1]));
    }
  }

  void keep_number(const Json& value) {
    const bool is_count = value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(std::numeric_limits<int64_t>::max());
    if (!is_count) fail_tensor("has a " + path()[1] + " that is not a list of counts");
    const auto number = value.get<uint64_t>();
    const bool is_shape = path()[1] == "shape";
    auto& shape = header.tensors.back().shape;
    if (is_shape ? shape.size() >= kMostDimensions : offsets_.size() >= 2) fail_tensor("has too many numbers in " + path()[1]);
    is_shape ? shape.push_back(static_cast<int64_t>(number)) : offsets_.push_back(number);
  }

  void keep_offsets() {
    if (offsets_.size() != 2) fail_tensor("needs two data_offsets, begin and end");
    header.tensors.back().begin = offsets_[0];
    header.tensors.back().end = offsets_[1];
  }

  void check_tensor() const {
    if (!seen_.dtype || !seen_.shape || !seen_.offsets) fail_tensor("needs dtype, shape and data_offsets");
    const auto& tensor = header.tensors.back();
    if (tensor.end < tensor.begin) fail_tensor("ends before it begins");
    uint64_t bytes = 0;
    if (!tensor_bytes(tensor.dtype, tensor.shape, bytes)) fail_tensor("has a shape that is too large for any file");
    if (bytes != tensor.end - tensor.begin) {
      throw IoError({.where = tensor_where(), .what = "has a shape and an extent that disagree", .expected = std::to_string(bytes) + " bytes",
                     .got = std::to_string(tensor.end - tensor.begin)});
    }
  }

  struct Seen {
    bool dtype = false, shape = false, offsets = false;
  };
  Seen seen_;
  bool in_array_ = false;
  std::vector<uint64_t> offsets_;
};

}  // namespace

bool tensor_bytes(DType dtype, const std::vector<int64_t>& shape, uint64_t& bytes) {
  auto total = static_cast<int64_t>(size_of(dtype));
  bool fits = true, empty = false;
  for (const auto extent : shape) {
    if (extent < 0) return false;
    empty = empty || extent == 0;
    // A zero anywhere makes the tensor empty, whatever the other extents are.
    if (extent > 0) fits = fits && !__builtin_mul_overflow(total, extent, &total);
  }
  bytes = empty ? 0 : static_cast<uint64_t>(total);
  return empty || fits;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& where) {
  HeaderReader reader(where);
  reader.read(json);
  return std::move(reader.header);
}

}  // namespace graft::formats
