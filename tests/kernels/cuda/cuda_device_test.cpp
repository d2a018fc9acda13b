// What only a device can show: alignment, streams, memory beside what a kernel may touch, arrays of more than 2^31 numbers. Whether results
// are right is tested beside each kernel (*_cuda_test.cpp), on the device too, so here they are compared with themselves.
#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "kernels/nf4/nf4_cuda.h"
#include "kernels/rows/rows_cuda.h"
#include "tests/kernels/cuda/device_array.h"

namespace graft::kernels {
namespace {

class CudaDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = why_no_cuda_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

/// Rows that can be taken in packs, and rows that cannot.
std::vector<Job> jobs_of_both_kinds() {
  auto jobs = every_job(37, 520);
  for (auto& job : every_job(67, 517)) jobs.push_back(std::move(job));
  return jobs;
}

std::vector<std::vector<uint8_t>> result_of(const Job& job) {
  const PlacedJob placed(job, 0);
  placed.launch(nullptr);
  return placed.read();
}

TEST_F(CudaDevice, AnyAlignmentGivesTheSameBitsAndNothingBesideIsTouched) {
  for (const auto& job : jobs_of_both_kinds()) {
    const auto expected = result_of(job);
    for (const int off : {0, 1, 4}) {
      const PlacedJob placed(job, off);
      placed.launch(nullptr);
      EXPECT_EQ(placed.read(), expected) << job.name << ", " << off << " off";
      EXPECT_TRUE(placed.fences_stand()) << job.name << ", " << off << " off";
    }
  }
}

TEST_F(CudaDevice, EveryJobWritesWhatItShould) {
  for (const auto& job : jobs_of_both_kinds()) {
    const PlacedJob placed(job, 0);
    const auto before = placed.read();
    placed.launch(nullptr);
    EXPECT_NE(placed.read(), before) << job.name;
  }
}

TEST_F(CudaDevice, EveryRunGivesTheSameBits) {
  for (const auto& job : every_job(211, 1032)) {
    const auto expected = result_of(job);
    PlacedJob placed(job, 0);
    for (int run = 0; run < 5; ++run) {
      placed.restore();
      placed.launch(nullptr);
      ASSERT_EQ(placed.read(), expected) << job.name << ", run " << run;
    }
  }
}

TEST_F(CudaDevice, StreamsDoNotDisturbEachOther) {
  const auto jobs = every_job(211, 1032);
  constexpr size_t kStreams = 4;
  const CudaStream streams[kStreams];
  std::vector<PlacedJob> placed;
  for (size_t stream = 0; stream < kStreams; ++stream)
    for (const auto& job : jobs) placed.emplace_back(job, 0);
  wait_for_cuda();
  for (size_t i = 0; i < jobs.size(); ++i)  // a turn each, so that they run at the same time
    for (size_t stream = 0; stream < kStreams; ++stream) placed[stream * jobs.size() + i].launch(streams[stream].get());
  for (const auto& stream : streams) stream.wait();
  for (size_t i = 0; i < jobs.size(); ++i) {
    const auto expected = result_of(jobs[i]);
    for (size_t stream = 0; stream < kStreams; ++stream)
      EXPECT_EQ(placed[stream * jobs.size() + i].read(), expected) << jobs[i].name << ", stream " << stream;
  }
}

TEST_F(CudaDevice, AStreamKeepsTheOrderOfItsWork) {
  // In place, so that each launch needs the one before; large enough that they would overlap.
  const Piece piece{Contents::kNormal16, 1 << 22};
  const DeviceArray one(piece, 1, 0), other(piece, 1, 0);
  const CudaStream stream;
  const auto step = [&](const DeviceArray& array, void* on) {
    gelu_elements_cuda(Element::kBFloat16, Gelu::kTanh, array.data(), piece.count, array.data(), on);
  };
  for (int i = 0; i < 20; ++i) step(one, stream.get());
  stream.wait();
  for (int i = 0; i < 20; ++i) {
    step(other, nullptr);
    wait_for_cuda();
  }
  EXPECT_EQ(one.read(), other.read());
}

/// The first `bytes` of `period` again and again.
std::vector<uint8_t> repeated(std::vector<uint8_t> period, size_t bytes) {
  std::vector<uint8_t> all(bytes);
  std::memcpy(all.data(), period.data(), period.size());
  for (size_t done = period.size(); done < bytes;) {
    const size_t more = std::min(done, bytes - done);
    std::memcpy(all.data() + done, all.data(), more);
    done += more;
  }
  return all;
}

void expect_period(const CudaMemory& memory, std::vector<uint8_t>& all, const std::vector<uint8_t>& first, const char* what) {
  memory.read(all.data());
  EXPECT_EQ(std::memcmp(all.data(), first.data(), first.size()), 0) << what;
  EXPECT_EQ(std::memcmp(all.data(), all.data() + first.size(), all.size() - first.size()), 0) << what;
}

/// Periodic inputs have periodic results, and the first period is that of a small call.
TEST_F(CudaDevice, IndicesPastTwoToThe31) {
  constexpr int64_t kPast = (int64_t{1} << 31) + 8 * 4099, kPeriod = 8 * 1031;
  const auto type = Element::kBFloat16;
  const auto period = contents_of({Contents::kNormal16, kPeriod}, 1);
  DeviceArray small({Contents::kNormal16, kPeriod}, 1, 0);
  std::vector<uint8_t> all;
  try {
    all = repeated(period, 2 * kPast);
    const CudaMemory large(all.data(), all.size());
    gelu_elements_cuda(type, Gelu::kExact, small.data(), kPeriod, small.data(), nullptr);
    gelu_elements_cuda(type, Gelu::kExact, large.data(), kPast, large.data(), nullptr);
    expect_period(large, all, small.read(), "GELU");

    small.restore();
    const int64_t n = kPeriod / 3, rows = kPast / n + 1;  // 3 rows a period; each row of an odd 2749 numbers is normalised in place
    const DeviceArray weight({Contents::kNormal32, n}, 2, 0), few({Contents::kNormal32, 3}, 3, 0);
    all = repeated({period.begin(), period.begin() + 2 * 3 * n}, static_cast<size_t>(2 * rows * n));
    const CudaMemory matrix(all.data(), all.size()), inverse(static_cast<size_t>(rows) * 4);
    const auto* scale = static_cast<const float*>(weight.data());
    rms_norm_rows_cuda(type, small.data(), scale, 1e-5f, 3, n, small.data(), static_cast<float*>(few.data()), nullptr);
    rms_norm_rows_cuda(type, matrix.data(), scale, 1e-5f, rows, n, matrix.data(), static_cast<float*>(inverse.data()), nullptr);
    auto first = small.read();
    first.resize(static_cast<size_t>(2 * 3 * n));
    expect_period(matrix, all, first, "RMSNorm");
  } catch (const Unavailable& error) {
    GTEST_SKIP() << "needs 10 GB on the device: " << error.what();
  }
}

TEST_F(CudaDevice, NF4PastTwoToThe31) {
  constexpr int64_t kPeriod = 64 * 129, kPast = (int64_t{1} << 31) + 64 * 3;
  const DeviceArray codes({Contents::kBytes, kPeriod / 2}, 1, 0), scales({Contents::kNormal32, kPeriod / 64}, 2, 0);
  const DeviceArray few({Contents::kNormal16, kPeriod}, 3, 0);
  try {
    const auto code_bytes = repeated(codes.read(), kPast / 2), scale_bytes = repeated(scales.read(), kPast / 64 * 4);
    const CudaMemory many_codes(code_bytes.data(), code_bytes.size()), many_scales(scale_bytes.data(), scale_bytes.size()), out(2 * kPast);
    const auto expand = [](const void* from, const void* absmax, int64_t count, void* to) {
      const Nf4DeviceWeight weight{.codes = static_cast<const uint8_t*>(from), .count = count, .absmax = static_cast<const float*>(absmax)};
      dequantize_nf4_cuda(weight, 0, count, static_cast<uint16_t*>(to), nullptr);
    };
    expand(codes.data(), scales.data(), kPeriod, few.data());
    expand(many_codes.data(), many_scales.data(), kPast, out.data());
    std::vector<uint8_t> all(2 * kPast);
    expect_period(out, all, few.read(), "NF4");
  } catch (const Unavailable& error) {
    GTEST_SKIP() << "needs 6 GB on the device: " << error.what();
  }
}

TEST_F(CudaDevice, AGridThatIsTooLargeIsRefused) {
  EXPECT_THROW(gelu_elements_cuda(Element::kFloat32, Gelu::kExact, nullptr, int64_t{1} << 43, nullptr, nullptr), InvalidArgument);
}

using CudaDeviceDeathTest = CudaDevice;

TEST_F(CudaDeviceDeathTest, AFaultIsHeardWhenWaitedFor) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fault ends the process's work on the device, so another process has it
  const auto fault = [] {
    gelu_elements_cuda(Element::kFloat32, Gelu::kExact, nullptr, 8, nullptr, nullptr);
    try {
      wait_for_cuda();
    } catch (const Unavailable& error) {
      std::fputs(error.what(), stderr);
      std::_Exit(error.exit_code());
    }
  };
  EXPECT_EXIT(fault(), ::testing::ExitedWithCode(3), "CUDA says: an illegal memory access");
}

}  // namespace
}  // namespace graft::kernels
