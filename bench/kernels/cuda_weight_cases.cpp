#include "bench/kernels/cuda_bench.h"
#include "kernels/gguf_blocks/gguf_blocks_cuda.h"
#include "kernels/nf4/nf4.h"
#include "kernels/nf4/nf4_cuda.h"

namespace graft::bench {
namespace {

constexpr int64_t kWeights = int64_t{8192} * 28672;  // 470 MB in bf16

uint16_t* bits_of(at::Tensor& t) { return reinterpret_cast<uint16_t*>(t.mutable_data_ptr<at::BFloat16>()); }

at::Tensor narrow_out(int64_t count) { return at::empty({count}, at::TensorOptions().device(at::kCUDA).dtype(at::kBFloat16)); }

CudaCase nf4(bool nested) {
  constexpr int64_t kBlocks = kWeights / 64;
  auto codes = random_bytes(kWeights / 2), block_codes = random_bytes(kBlocks), out = narrow_out(kWeights);
  const auto absmax = random_numbers({kBlocks}, at::kFloat), map = random_numbers({256}, at::kFloat);
  const auto nested_absmax = random_numbers({kBlocks / 256}, at::kFloat);
  const auto table = at::tensor(std::vector<float>(kernels::nf4_table().begin(), kernels::nf4_table().end())).to(at::kCUDA);
  kernels::Nf4DeviceWeight weight{.codes = codes.const_data_ptr<uint8_t>(), .count = kWeights};
  if (nested) {
    weight.absmax_codes = block_codes.const_data_ptr<uint8_t>();
    weight.nested_code = map.const_data_ptr<float>(), weight.nested_absmax = nested_absmax.const_data_ptr<float>();
  } else {
    weight.absmax = absmax.const_data_ptr<float>();
  }
  CudaCase result{.name = nested ? "NF4 double quantised to bf16, 8192 x 28672" : "NF4 to bf16, 8192 x 28672",
                  .bytes = bytes_of({codes, nested ? block_codes : absmax, out}),
                  .ours = [=]() mutable {
                    kernels::dequantize_nf4_cuda(weight, 0, kWeights, bits_of(out), nullptr);
                    (void)codes, (void)block_codes, (void)absmax, (void)map, (void)nested_absmax;  // kept alive
                    return out;
                  },
                  .libtorch = {}, .repetitions = 20};
  if (nested) return result;
  result.libtorch = [=] {
    const auto both = at::stack({codes.bitwise_right_shift(4), codes.bitwise_and(15)}, 1).to(at::kInt).view({-1});
    return at::index_select(table, 0, both).view({-1, 64}).mul(absmax.unsqueeze(1)).to(at::kBFloat16).view({-1});
  };
  result.operators = 7;
  return result;
}

/// Q8_0 blocks are 34 bytes: a scale in fp16, 32 signed codes.
at::Tensor q8_0_by_libtorch(const at::Tensor& bytes) {
  const auto blocks = bytes.view({-1, 34});
  const auto scale = blocks.slice(1, 0, 2).contiguous().view(at::kHalf).to(at::kFloat);
  return blocks.slice(1, 2, 34).contiguous().view(at::kChar).to(at::kFloat).mul(scale).to(at::kBFloat16).view({-1});
}

CudaCase blocks(kernels::GgmlType type) {
  using kernels::GgmlType;
  const auto layout = kernels::block_layout(type);
  const int64_t count = kWeights / static_cast<int64_t>(layout.elements), bytes = static_cast<int64_t>(layout.bytes);
  auto data = random_bytes(count * bytes), out = narrow_out(kWeights);
  // A bit less in every byte, and neither a plain number nor a scale of Q8_0 is infinite.
  data.view({-1, bytes}).bitwise_and_(type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16 || type == GgmlType::kQ8_0 ? 0xbf : 0xff);
  CudaCase result{.name = std::string(layout.name) + " to bf16, 8192 x 28672", .bytes = bytes_of({data, out}),
                  .ours = [=]() mutable {
                    kernels::dequantize_blocks_cuda(type, data.const_data_ptr(), count, bits_of(out), nullptr);
                    return out;
                  },
                  .libtorch = {}, .repetitions = 20};
  if (type == GgmlType::kQ8_0) result.libtorch = [=] { return q8_0_by_libtorch(data); }, result.operators = 6;
  if (type == GgmlType::kF16) result.libtorch = [=] { return data.view(at::kHalf).to(at::kBFloat16); };
  if (type == GgmlType::kF32) result.libtorch = [=] { return data.view(at::kFloat).to(at::kBFloat16); };
  if (type == GgmlType::kBF16) result.libtorch = [=] { return data.view(at::kBFloat16).clone(); };
  return result;
}

}  // namespace

std::vector<CaseMaker> weight_cases() {
  std::vector<CaseMaker> cases = {[] { return nf4(false); }, [] { return nf4(true); }};
  for (uint32_t number = 0; number < 64; ++number)
    if (kernels::is_known_ggml_type(number)) cases.push_back([=] { return blocks(static_cast<kernels::GgmlType>(number)); });
  return cases;
}

}  // namespace graft::bench
