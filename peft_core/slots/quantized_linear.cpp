#include "peft_core/slots/quantized_linear.h"

#include <ATen/Parallel.h>

#include "kernels/base/error.h"
#include "kernels/nf4/nf4.h"
#include "peft_core/slots/device_copy.h"
#include "peft_core/slots/expansion_scratch.h"

namespace graft::peft {
namespace {

/// Rows [begin, end) of the contiguous matrix `to`, as the element span that a kernel writes.
template <class T, class Element>
std::span<Element> row_span(at::Tensor& to, int64_t begin, int64_t end) {
  const int64_t columns = to.size(1);
  auto* data = reinterpret_cast<Element*>(to.mutable_data_ptr<T>());
  return {data + begin * columns, static_cast<size_t>((end - begin) * columns)};
}

/// Expands rows in parallel: `kernel(first row, span of fp32 or bf16)`.
template <class Kernel>
void expand_rows(int64_t count, at::Tensor& to, int64_t grain, const Kernel& kernel) {
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    if (to.scalar_type() == at::kFloat) {
      kernel(begin, row_span<float, float>(to, begin, end));
    } else {
      kernel(begin, row_span<at::BFloat16, uint16_t>(to, begin, end));
    }
  });
}

int64_t rows_a_task(int64_t columns) { return std::max<int64_t>(1, 16384 / columns); }

class Nf4Linear final : public FrozenLinear {
 public:
  Nf4Linear(const at::Tensor& weight, int64_t block_size, std::function<at::Tensor()> original)
      : FrozenLinear(weight.size(0), weight.size(1)), stored_(quantized(weight, block_size)), original_(std::move(original)) {}

  at::Tensor original() const override { return original_ ? original_().to(at::kFloat, false, /*copy=*/true) : at::Tensor(); }

  Nf4Linear(kernels::Nf4Weight stored, int64_t out_features, int64_t in_features)
      : FrozenLinear(out_features, in_features), stored_(std::move(stored)) {}

  std::string storage() const override { return "nf4"; }
  bool lossless() const override { return false; }
  int64_t bytes() const override {
    return static_cast<int64_t>(stored_.codes.size() + stored_.absmax_codes.size() +
                                4 * (stored_.absmax.size() + stored_.nested_absmax.size() + stored_.nested_code.size()));
  }

 protected:
  void expand(int64_t begin, int64_t count, at::Tensor& to) const override {
    // Blocks run over row borders where the row length is no multiple of the block size; then rows go in one piece.
    const bool aligned = in_features() % stored_.block_size == 0;
    if (!aligned) return expand_from_block(begin, count, to, [&](int64_t start, at::Tensor& whole) { expand_piece(start, whole); });
    expand_rows(count, to, rows_a_task(in_features()),
                [&](int64_t row, auto span) { kernels::dequantize_nf4(stored_, (begin + row) * in_features(), span); });
  }

  at::Tensor rows_on_device(int64_t begin, int64_t count, at::ScalarType dtype, at::Device device) const override {
    return ExpansionScratch::shared().expanded(this, begin, count, in_features(), at::TensorOptions(device).dtype(dtype), [&](at::Tensor& to) {
      if (in_features() % stored_.block_size == 0) return on_device_.expand(stored_, begin * in_features(), to);
      expand_from_block(begin, count, to, [&](int64_t start, at::Tensor& whole) { on_device_.expand(stored_, start, whole); });
    });
  }

  at::Tensor few_rows_product(const at::Tensor& x, const ops::ProductTerms& terms) const override {
    return ops::few_rows_product(x, {.form = kernels::RowWeight::Form::kNf4, .nf4 = &stored_}, out_features(), terms);
  }

  at::Tensor tile_product(const at::Tensor& x, ops::Side side, const ops::ProductTerms& terms) const override {
    const auto expand = [](const void* self, const kernels::StoredWeight::Part& part, uint16_t* to, int64_t stride) {
      const auto& linear = *static_cast<const Nf4Linear*>(self);
      kernels::dequantize_nf4_part(linear.stored_, {linear.in_features(), part.row, part.rows, part.column, part.columns}, to, stride);
    };
    return ops::stored_product(x, {.weight = this, .expand = expand, .column_unit = stored_.block_size, .transposed = side == ops::Side::kBackward},
                               columns(side), terms);
  }

 private:
  static kernels::Nf4Weight quantized(const at::Tensor& weight, int64_t block_size) {
    const auto dense = weight.to(at::kFloat).contiguous();
    return kernels::quantize_nf4({dense.const_data_ptr<float>(), static_cast<size_t>(dense.numel())}, block_size);
  }

  /// Where a row may begin within a block: `piece(start, whole)` expands from the block's start on.
  template <class Piece>
  void expand_from_block(int64_t begin, int64_t count, at::Tensor& to, const Piece& piece) const {
    const int64_t first = begin * in_features(), start = first / stored_.block_size * stored_.block_size;
    auto whole = at::empty({1, first + count * in_features() - start}, to.options());
    piece(start, whole);
    to.copy_(whole.narrow(1, first - start, count * in_features()).view_as(to));
  }

  void expand_piece(int64_t start, at::Tensor& whole) const {
    if (whole.scalar_type() == at::kFloat) {
      kernels::dequantize_nf4(stored_, start, row_span<float, float>(whole, 0, 1));
    } else {
      kernels::dequantize_nf4(stored_, start, row_span<at::BFloat16, uint16_t>(whole, 0, 1));
    }
  }

  kernels::Nf4Weight stored_;
  mutable Nf4OnDevice on_device_;
  std::function<at::Tensor()> original_;
};

class GgufLinear final : public FrozenLinear {
 public:
  GgufLinear(kernels::GgmlType type, int64_t out_features, int64_t in_features, std::span<const std::byte> blocks,
             std::shared_ptr<const void> keep_alive)
      : FrozenLinear(out_features, in_features),
        type_(type),
        row_bytes_(blocks.size() / static_cast<size_t>(out_features)),
        blocks_(blocks),
        keep_alive_(std::move(keep_alive)) {}

  std::string storage() const override { return std::string(kernels::block_layout(type_).name); }
  bool lossless() const override { return kernels::block_layout(type_).elements == 1; }
  int64_t bytes() const override { return static_cast<int64_t>(blocks_.size()); }

 protected:
  void expand(int64_t begin, int64_t count, at::Tensor& to) const override {
    expand_rows(count, to, rows_a_task(in_features()), [&](int64_t row, auto span) {
      const auto rows = span.size() / static_cast<size_t>(in_features());
      kernels::dequantize_blocks(type_, blocks_.subspan(static_cast<size_t>(begin + row) * row_bytes_, rows * row_bytes_), span);
    });
  }

  at::Tensor rows_on_device(int64_t begin, int64_t count, at::ScalarType dtype, at::Device device) const override {
    return ExpansionScratch::shared().expanded(this, begin, count, in_features(), at::TensorOptions(device).dtype(dtype), [&](at::Tensor& to) {
      on_device_.expand(type_, blocks_, static_cast<size_t>(begin) * row_bytes_, static_cast<size_t>(count) * row_bytes_, to);
    });
  }

  at::Tensor few_rows_product(const at::Tensor& x, const ops::ProductTerms& terms) const override {
    return ops::few_rows_product(x, {.type = type_, .blocks = blocks_.data(), .row_bytes = static_cast<int64_t>(row_bytes_)}, out_features(), terms);
  }

  at::Tensor tile_product(const at::Tensor& x, ops::Side side, const ops::ProductTerms& terms) const override {
    const auto expand = [](const void* self, const kernels::StoredWeight::Part& part, uint16_t* to, int64_t stride) {
      static_cast<const GgufLinear*>(self)->expand_part(part, to, stride);
    };
    const auto unit = std::max<int64_t>(32, static_cast<int64_t>(kernels::block_layout(type_).elements));
    return ops::stored_product(x, {.weight = this, .expand = expand, .column_unit = unit, .transposed = side == ops::Side::kBackward},
                               columns(side), terms);
  }

 private:
  void expand_part(const kernels::StoredWeight::Part& part, uint16_t* to, int64_t stride) const {
    const auto layout = kernels::block_layout(type_);
    const auto bytes_for = [&](int64_t values) { return static_cast<size_t>(values) / layout.elements * layout.bytes; };
    for (int64_t row = 0; row < part.rows; ++row) {
      const auto begin = static_cast<size_t>(part.row + row) * row_bytes_ + bytes_for(part.column);
      kernels::dequantize_blocks(type_, blocks_.subspan(begin, bytes_for(part.columns)),
                                 std::span(to + row * stride, static_cast<size_t>(part.columns)));
    }
  }

  kernels::GgmlType type_;
  size_t row_bytes_;
  std::span<const std::byte> blocks_;
  std::shared_ptr<const void> keep_alive_;
  mutable BlocksOnDevice on_device_;
};

}  // namespace

std::shared_ptr<FrozenLinear> nf4_linear(const at::Tensor& weight, int64_t block_size, std::function<at::Tensor()> original) {
  return std::make_shared<Nf4Linear>(weight, block_size, std::move(original));
}

std::shared_ptr<FrozenLinear> nf4_linear(kernels::Nf4Weight stored, int64_t out_features, int64_t in_features) {
  GRAFT_ASSERT(stored.count == out_features * in_features);
  return std::make_shared<Nf4Linear>(std::move(stored), out_features, in_features);
}

std::shared_ptr<FrozenLinear> gguf_linear(kernels::GgmlType type, int64_t out_features, int64_t in_features,
                                          std::span<const std::byte> blocks, std::shared_ptr<const void> keep_alive) {
  return std::make_shared<GgufLinear>(type, out_features, in_features, blocks, std::move(keep_alive));
}

}  // namespace graft::peft
