// `./graft doctor`: what this machine offers and what this build can use of it.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <thread>

#include "kernels/base/cpu_features.h"
#include "kernels/base/cuda_device.h"
#include "kernels/base/cuda_state.h"
#include "kernels/base/error.h"
#include "kernels/kernel_list.h"
#include "peft_core/base/memory_figures.h"
#include "pipelines/build_info.h"
#include "pipelines/progress_line.h"

namespace {

using graft::pipelines::format_bytes;

void line(const char* what, const std::string& value) { fmt::print("{:<18}{}\n", what, value); }

const char* yes_no(bool value) { return value ? "yes" : "no"; }

void print_processor() {
  const auto& cpu = graft::kernels::processor_features();
  line("processor", fmt::format("{}, {} threads", cpu.brand, std::thread::hardware_concurrency()));
  line("  AVX2", yes_no(cpu.avx2));
  line("  AVX-512", fmt::format("{}, with bf16 products: {}", yes_no(cpu.avx512), yes_no(cpu.avx512_bf16)));
  line("  AMX bf16", yes_no(cpu.amx_bf16));
  if (const char* limit = std::getenv("GRAFT_CPU")) line("  GRAFT_CPU", std::string(limit) + ": kernels use no more than that");
  line("  computes in", graft::kernels::bfloat16_pays() ? "bf16 for 16-bit and quantised weights, fp32 for fp32 weights"
                                                        : "fp32; weights may be held in 16 or fewer bits");
}

void print_kernels() {
  fmt::print("\n{:<18}{:<13}{:<38}{}\n", "kernel", "runs", "because", "others");
  for (const auto& kernel : graft::kernels::kernel_uses()) {
    fmt::print("{:<18}{:<13}{:<38}{}\n", kernel.name, kernel.chosen, kernel.why, fmt::join(kernel.others, ", "));
  }
}

void print_memory() {
  const auto memory = graft::read_memory_figures();
  line("memory", fmt::format("{}, {} available{}", format_bytes(memory.total), format_bytes(memory.available),
                             memory.limit ? ", limited to " + format_bytes(*memory.limit) : ""));
}

void print_build() {
  const auto& info = graft::pipelines::build_info();
  line("graft", fmt::format("{} ({}), {}, {}", info.version, info.commit, info.build_type, info.compiler));
  line("LibTorch", fmt::format("{}, {} threads", info.libtorch, at::get_num_threads()));
  line("CUDA", info.cuda == "on" ? fmt::format("on, device found: {}", yes_no(at::hasCUDA())) : info.cuda);
  const auto no_device = graft::kernels::cuda_kernels_compiled() ? graft::kernels::why_no_cuda_device() : "";
  line("CUDA kernels", graft::kernels::cuda_state() + (no_device.empty() ? "" : "; " + no_device));
  std::string rest = info.heavy_libraries;
  for (const char* label = "libraries"; !rest.empty(); label = "") {
    const auto end = rest.find("; ");
    line(label, rest.substr(0, end));
    rest = end == std::string::npos ? "" : rest.substr(end + 2);
  }
}

}  // namespace

int main() {
  try {
    print_processor();
    print_memory();
    print_build();
    print_kernels();
  } catch (const graft::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return error.exit_code();
  }
}
