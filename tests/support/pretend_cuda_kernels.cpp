// The CUDA kernels' entry points for the pretend device. They stand before those in the kernels' libraries when a test is linked.
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/gguf_blocks_cuda.h"
#include "kernels/gguf_blocks/gguf_blocks_program.h"
#include "kernels/head_loss/head_loss_cuda.h"
#include "kernels/head_loss/head_loss_launch.h"
#include "kernels/nf4/nf4_program.h"
#include "kernels/rows/element_programs.h"
#include "kernels/rows/norm_launch.h"
#include "kernels/rows/rows_cuda.h"
#include "tests/kernels/base/host_launcher.h"
#include "tests/support/pretend_device.h"

namespace graft::kernels {
namespace {

/// Runs at once what a launch would only start.
struct PretendLauncher {
  explicit PretendLauncher(const void* stream) { GRAFT_ASSERT(stream == testing::pretend_stream()); }

  template <class Program>
  void operator()(int64_t blocks, const Program& program) const {
    const testing::OpenMemory open;
    testing::count_pretend_launch();
    HostLauncher{}(blocks, program);
  }
};

}  // namespace

int64_t norm_gradient_scratch(int64_t rows, int64_t n, bool with_bias) { return detail::norm_scratch(rows, n, with_bias); }

void rms_norm_rows_cuda(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                        float* inverse_rms, void* stream) {
  detail::launch_rms_norm(PretendLauncher(stream), type, x, nullptr, weight, epsilon, rows, n, nullptr, y, inverse_rms);
}

void rms_norm_rows_backward_cuda(Element type, const RmsNormBackward& norm, float* scratch, void* stream) {
  detail::launch_rms_norm_backward(PretendLauncher(stream), type, norm, scratch);
}

void add_rms_norm_rows_cuda(Element type, const void* x, const void* residual, const float* weight, float epsilon, int64_t rows,
                            int64_t n, void* sum, void* y, float* inverse_rms, void* stream) {
  detail::launch_rms_norm(PretendLauncher(stream), type, x, residual, weight, epsilon, rows, n, sum, y, inverse_rms);
}

void layer_norm_rows_cuda(Element type, const void* x, const float* weight, const float* bias, float epsilon, int64_t rows, int64_t n,
                          void* y, float* mean, float* inverse_std, void* stream) {
  detail::launch_layer_norm(PretendLauncher(stream), type, x, weight, bias, epsilon, rows, n, y, mean, inverse_std);
}

void layer_norm_rows_backward_cuda(Element type, const void* g, const void* x, const float* weight, const float* mean,
                                   const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight, float* dbias,
                                   float* scratch, void* stream) {
  detail::launch_layer_norm_backward(PretendLauncher(stream), type, g, x, weight, mean, inverse_std, rows, n, dx, dweight, dbias, scratch);
}

void swiglu_elements_cuda(Element type, const void* gate, const void* up, int64_t n, void* product, void* stream) {
  detail::launch_swiglu(PretendLauncher(stream), type, gate, up, n, product);
}

void swiglu_elements_backward_cuda(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate, void* dup,
                                   void* stream) {
  detail::launch_swiglu_backward(PretendLauncher(stream), type, g, gate, up, n, dgate, dup);
}

void gelu_elements_cuda(Element type, Gelu form, const void* x, int64_t n, void* y, void* stream) {
  detail::launch_gelu(PretendLauncher(stream), type, form, x, n, y);
}

void gelu_elements_backward_cuda(Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx, void* stream) {
  detail::launch_gelu_backward(PretendLauncher(stream), type, form, g, x, n, dx);
}

void rotate_halves_rows_cuda(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                             int64_t heads, int64_t width, void* y, void* stream) {
  detail::launch_rotate_halves(PretendLauncher(stream), type, x, cosine, sine, sign, tokens, heads, width, y);
}

void begin_head_loss_cuda(const HeadRunning& running, int64_t width, float* sums, void* stream) {
  detail::launch_begin_head_loss(PretendLauncher(stream), running, width, sums);
}

void absorb_logits_cuda(HeadElement type, const HeadRunning& running, const HeadChunk& chunk, void* logits, void* stream) {
  detail::launch_absorb_logits(PretendLauncher(stream), type, running, chunk, logits);
}

void add_head_chunk_cuda(HeadElement type, const HeadRunning& running, const HeadChunk& chunk, int64_t width, const void* part,
                         const void* words, float* sums, void* target_words, void* stream) {
  detail::launch_add_head_chunk(PretendLauncher(stream), type, running, chunk, width, part, words, sums, target_words);
}

void finish_head_loss_cuda(HeadElement type, const HeadRunning& running, int64_t width, const float* sums, const void* target_words,
                           float* nll, void* gradient, void* stream) {
  detail::launch_finish_head_loss(PretendLauncher(stream), type, running, width, sums, target_words, nll, gradient);
}

void dequantize_nf4_cuda(const Nf4DeviceWeight& weight, int64_t first, int64_t size, float* out, void* stream) {
  detail::launch_dequantize_nf4(PretendLauncher(stream), weight, first, size, out);
}

void dequantize_nf4_cuda(const Nf4DeviceWeight& weight, int64_t first, int64_t size, uint16_t* out_bf16, void* stream) {
  detail::launch_dequantize_nf4(PretendLauncher(stream), weight, first, size, out_bf16);
}

void dequantize_blocks_cuda(GgmlType type, const void* blocks, int64_t block_count, float* out, void* stream) {
  detail::launch_dequantize_blocks(PretendLauncher(stream), type, blocks, block_count, out);
}

void dequantize_blocks_cuda(GgmlType type, const void* blocks, int64_t block_count, uint16_t* out_bf16, void* stream) {
  detail::launch_dequantize_blocks(PretendLauncher(stream), type, blocks, block_count, out_bf16);
}

}  // namespace graft::kernels
