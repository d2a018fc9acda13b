#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "bench/kernels/timing.h"
#include "kernels/depth_views/depth_views.h"

// depth_views_bench CLOUDS POINTS SIDE IN.f32 OUT.f32 VIEWS.f32: draws the ten views of the clouds in IN (CLOUDS, POINTS, 3), writes pictures and
// rotations, prints the median of five passes in milliseconds. bench/depth_views/compare_torch.py runs it beside PyTorch.
namespace {

constexpr int kPasses = 5;

std::vector<float> read_floats(const std::string& path, size_t count) {
  std::vector<float> values(count);
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(float)));
  return values;
}

void write_floats(const std::string& path, const float* values, size_t count) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * sizeof(float)));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return std::fputs("usage: depth_views_bench CLOUDS POINTS SIDE IN OUT VIEWS\n", stderr), 2;
  const int64_t clouds = std::atoll(argv[1]), points = std::atoll(argv[2]), side = std::atoll(argv[3]);
  const auto views = graft::kernels::standard_views();
  const auto input = read_floats(argv[4], static_cast<size_t>(clouds * points * 3));
  std::vector<float> pictures(static_cast<size_t>(clouds * side * side) * views.size());
  std::vector<int64_t> starts;
  for (int64_t i = 0; i <= clouds; ++i) starts.push_back(i * points);
  const auto draw = [&] { graft::kernels::depth_views({input, starts}, views, side, pictures.data()); };
  std::printf("%.4f\n", graft::bench::timed(kPasses, draw).median);
  write_floats(argv[5], pictures.data(), pictures.size());
  write_floats(argv[6], views.front().data(), views.size() * 9);
}
