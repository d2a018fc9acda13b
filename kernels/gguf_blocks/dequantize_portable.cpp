#include "kernels/gguf_blocks/block_loops.h"
#include "kernels/gguf_blocks/variants.h"

namespace graft::kernels::detail {
namespace {

/// What does not fill a run goes the plain way.
template <GgmlType kType, class Out>
void plain(const uint8_t* values, size_t count, Out* out) {
  using Run = PlainRun<kType>;
  const size_t runs = count / Run::kElements, done = runs * Run::kElements;
  expand_run<Run>(values, runs, out);
  dequantize_reference(kType, values + runs * Run::kBytes, count - done, out + done);
}

template <class Out>
void dispatch(GgmlType type, const uint8_t* blocks, size_t count, Out* out) {
  switch (type) {
    case GgmlType::kF32: return plain<GgmlType::kF32>(blocks, count, out);
    case GgmlType::kF16: return plain<GgmlType::kF16>(blocks, count, out);
    case GgmlType::kBF16: return plain<GgmlType::kBF16>(blocks, count, out);
    case GgmlType::kQ8_0: return expand_run<Q8_0Block>(blocks, count, out);
    case GgmlType::kQ4_0: return expand_run<Q4_0Block>(blocks, count, out);
    case GgmlType::kQ4_1: return expand_run<Q4_1Block>(blocks, count, out);
    case GgmlType::kQ5_0: return expand_run<Q5_0Block>(blocks, count, out);
    case GgmlType::kQ5_1: return expand_run<Q5_1Block>(blocks, count, out);
    case GgmlType::kQ4_K: return expand_run<Q4_KBlock>(blocks, count, out);
    case GgmlType::kQ5_K: return expand_run<Q5_KBlock>(blocks, count, out);
    case GgmlType::kQ6_K: return expand_run<Q6_KBlock>(blocks, count, out);
  }
}

}  // namespace

void dequantize_portable(GgmlType type, const uint8_t* blocks, size_t count, float* out) { dispatch(type, blocks, count, out); }
void dequantize_portable(GgmlType type, const uint8_t* blocks, size_t count, uint16_t* out) { dispatch(type, blocks, count, out); }

}  // namespace graft::kernels::detail
