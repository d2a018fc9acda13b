// The CUDA kernels beside LibTorch's, and the device's memory bandwidth beside both. Usage: cuda_bench [part of a case's name]
// Ours and LibTorch's run in turn on LibTorch's own stream; times are of the device, between two events. Arrays are larger than its cache
// but for the cases named small, whose times are those of launches.
#include "bench/kernels/cuda_bench.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <cstdio>

#include "kernels/base/cuda_device.h"

namespace graft::bench {

at::Tensor random_numbers(at::IntArrayRef shape, at::ScalarType type) {
  return at::randn(shape, at::TensorOptions().device(at::kCUDA).dtype(at::kFloat)).to(type);
}

at::Tensor random_bytes(int64_t count) { return at::randint(256, {count}, at::TensorOptions().device(at::kCUDA).dtype(at::kByte)); }

double bytes_of(std::initializer_list<at::Tensor> tensors) {
  double bytes = 0;
  for (const auto& tensor : tensors) bytes += static_cast<double>(tensor.nbytes());
  return bytes;
}

namespace {

struct Spread {
  double low, median, high;  // tenth, fiftieth and ninetieth hundredth
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) { return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5)]; };
  return {at(0.1), at(0.5), at(0.9)};
}

double milliseconds_of(const std::function<at::Tensor()>& work) {
  const kernels::CudaTimer timer;
  timer.start(nullptr);
  work();
  timer.stop(nullptr);
  return timer.milliseconds();
}

double copied_bytes_per_ms() {
  const auto from = random_bytes(int64_t{1} << 31);
  auto to = at::empty_like(from);
  std::vector<double> times;
  for (int i = 0; i < 25; ++i) times.push_back(milliseconds_of([&] { return to.copy_(from); }));
  times.erase(times.begin(), times.begin() + 5);
  return 2 * static_cast<double>(from.nbytes()) / spread_of(times).median;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  const auto expected = b.to(at::kDouble).flatten(), difference = a.to(at::kDouble).flatten() - expected;
  return difference.norm().item<double>() / expected.norm().item<double>();
}

c10::DeviceAllocator& device_allocator() { return *dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(c10::kCUDA)); }

/// MiB that the work takes beyond what is held before it.
double mebibytes_of(const std::function<at::Tensor()>& work) {
  auto& allocator = device_allocator();
  allocator.resetPeakStats(0);
  const auto before = allocator.getDeviceStats(0).allocated_bytes[0].current;
  work();
  return static_cast<double>(allocator.getDeviceStats(0).allocated_bytes[0].peak - before) / (1 << 20);
}

void report(const CudaCase& c, double ceiling) {
  std::vector<double> ours, theirs, ratios;
  for (int i = -3; i < c.repetitions; ++i) {
    if (c.before) c.before();
    const double mine = milliseconds_of(c.ours), other = c.libtorch ? milliseconds_of(c.libtorch) : 0;
    if (i >= 0) ours.push_back(mine), theirs.push_back(other), ratios.push_back(other / mine);
  }
  const auto mine = spread_of(ours);
  std::printf("| %s | %.4f (%.4f–%.4f) | ", c.name.c_str(), mine.median, mine.low, mine.high);
  if (c.bytes > 0) {
    std::printf("%.0f | %.0f %% | ", c.bytes / mine.median * 1e-6, 100 * c.bytes / mine.median / ceiling);
  } else {
    std::printf("%.0f MiB | | ", mebibytes_of(c.ours));
  }
  if (!c.libtorch) return std::puts("none | | | |"), void();
  const auto other = spread_of(theirs), ratio = spread_of(ratios);
  std::printf("%.4f (%.4f–%.4f)", other.median, other.low, other.high);
  if (c.bytes == 0) std::printf(", %.0f MiB", mebibytes_of(c.libtorch));
  std::printf(" | %d | **%.2f** (%.2f–%.2f) | ", c.operators, ratio.median, ratio.low, ratio.high);
  c.same_result ? std::printf("%.1e |\n", distance(c.ours(), c.libtorch())) : std::printf("|\n");
}

int run(const std::string& wanted) {
  if (const auto why = kernels::why_no_cuda_device(); !why.empty()) {
    std::printf("cuda_bench: %s\n", why.c_str());
    return 3;
  }
  at::manual_seed(1);
  const at::NoGradGuard no_gradient;
  const double ceiling = copied_bytes_per_ms();
  std::printf("%s; LibTorch %s\ncopy of 2 GiB on the device: %.0f GB/s, read and written\n\n", kernels::cuda_device_description().c_str(),
              GRAFT_TORCH_VERSION, ceiling * 1e-6);
  std::puts("| kernel | ms | GB/s | of the copy | LibTorch, ms | its operators | LibTorch / ours | distance |\n|---|---|---|---|---|---|---|---|");
  for (const auto& cases : {row_cases(), weight_cases(), head_cases()})
    for (const auto& make : cases) {
      const auto one = make();
      if (one.name.find(wanted) == std::string::npos) continue;
      report(one, ceiling);
      std::fflush(stdout);
    }
  return 0;
}

}  // namespace
}  // namespace graft::bench

int main(int count, char** arguments) { return graft::bench::run(count > 1 ? arguments[1] : ""); }
