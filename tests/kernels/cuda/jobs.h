#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

// Every entry point of the CUDA kernels with its arguments, so that what holds for all of them is tested in one loop. Whether they are right
// is the matter of the tests beside each kernel, which run on a device too.
namespace graft::kernels {

/// kStarts: where lists of kListLength begin that lie end to end.
enum class Contents { kNormal32, kNormal16, kBytes, kSmallNumbers, kStarts };
constexpr int64_t kListLength = 5;

/// One array that a job reads or writes. What it holds before counts for arrays that are only written too: it must not come through.
struct Piece {
  Contents contents;
  int64_t count;

  size_t element_bytes() const {
    return contents == Contents::kNormal16 ? 2 : contents == Contents::kBytes ? 1 : contents == Contents::kSmallNumbers || contents == Contents::kStarts ? 8 : 4;
  }
  size_t bytes() const { return static_cast<size_t>(count) * element_bytes(); }
};

struct Job {
  std::string name;
  std::vector<Piece> pieces;
  /// Launches on a stream; pointers in the order of the pieces.
  std::function<void(const std::vector<void*>& at, void* stream)> launch;
};

/// All kernels in fp32 and bf16 for `rows` rows of `n`.
std::vector<Job> every_job(int64_t rows, int64_t n);

}  // namespace graft::kernels
