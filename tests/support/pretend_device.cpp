#include "tests/support/pretend_device.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/base/error.h"

namespace graft::testing {
namespace {

constexpr auto kType = c10::DeviceType::PrivateUse1;

/// The device's memory. The part in use stays short, as opening and closing it takes time for every page.
class Arena {
 public:
  static Arena& shared() {
    static auto* arena = new Arena;  // tensors that live as long as the program give memory back at its very end
    return *arena;
  }

  /// The first gap that is long enough, filled with NaN, so that nothing stale is mistaken for something new.
  void* take(size_t bytes) {
    const std::scoped_lock lock(mutex_);
    const size_t size = std::max(kUnit, (bytes + kUnit - 1) / kUnit * kUnit);
    auto gap = std::find_if(gaps_.begin(), gaps_.end(), [&](const auto& one) { return one.second >= size; });
    if (gap == gaps_.end()) gap = lengthen(size);
    auto* const start = gap->first;
    if (gap->second > size) gaps_[start + size] = gap->second - size;
    gaps_.erase(start);
    taken_[start] = size;
    open_locked();
    std::memset(start, 0xFF, size);
    close_locked();
    return start;
  }

  void give_back(void* memory) {
    const std::scoped_lock lock(mutex_);
    const auto taken = taken_.find(static_cast<char*>(memory));
    auto gap = gaps_.emplace(taken->first, taken->second).first;
    taken_.erase(taken);
    if (const auto next = std::next(gap); next != gaps_.end() && gap->first + gap->second == next->first) {
      gap->second += next->second;
      gaps_.erase(next);
    }
    if (gap != gaps_.begin())
      if (const auto before = std::prev(gap); before->first + before->second == gap->first) {
        before->second += gap->second;
        gaps_.erase(gap);
      }
  }

  std::pair<size_t, size_t> free_and_all() {
    const std::scoped_lock lock(mutex_);
    return {kSize - used_, kSize};
  }

  void open() {
    const std::scoped_lock lock(mutex_);
    open_locked();
  }

  void close() {
    const std::scoped_lock lock(mutex_);
    close_locked();
  }

 private:
  static constexpr size_t kSize = size_t{16} << 30;  // addresses; memory is taken where it is touched
  static constexpr size_t kUnit = 256, kPage = 4096;
  using Gaps = std::map<char*, size_t>;

  Arena() : begin_(static_cast<char*>(mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    GRAFT_ASSERT(begin_ != MAP_FAILED);
  }

  /// A gap of that size behind everything else.
  Gaps::iterator lengthen(size_t size) {
    auto* const start = begin_ + used_;
    used_ += size;
    GRAFT_ASSERT(used_ <= kSize);
    if (opened_ > 0) protect(PROT_READ | PROT_WRITE);
    return gaps_.emplace(start, size).first;
  }

  void open_locked() {
    if (opened_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close_locked() {
    if (--opened_ == 0) protect(PROT_NONE);
  }
  void protect(int rights) const { GRAFT_ASSERT(mprotect(begin_, (used_ + kPage - 1) / kPage * kPage, rights) == 0); }

  std::mutex mutex_;
  char* begin_;
  size_t used_ = 0;
  int opened_ = 0;
  Gaps gaps_, taken_;
};

struct PretendAllocator final : c10::DeviceAllocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = Arena::shared().take(bytes);
    return {data, data, give_back, c10::Device(kType, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return give_back; }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex) override { return Arena::shared().free_and_all(); }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return {}; }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}
  static void give_back(void* data) { Arena::shared().give_back(data); }
  void copy_data(void* to, const void* from, std::size_t count) const override {
    const OpenMemory open;
    std::memcpy(to, from, count);
  }
};

PretendAllocator allocator;
REGISTER_ALLOCATOR(kType, &allocator);

struct PretendGuard final : c10::impl::DeviceGuardImplInterface {
  PretendGuard() = default;
  explicit PretendGuard(c10::DeviceType) {}
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return {kType, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream) const override { return getStream(getDevice()); }
  void* getStreamNativeHandle(const c10::Stream) const override { return pretend_stream(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, PretendGuard);

/// Autograd asks for these before it sends work to the device.
struct PretendHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  /// The processor's: the device draws the same numbers.
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<at::CPUGeneratorImpl>(); }
  /// For at::manual_seed(), which seeds every device's.
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static const auto generator = at::make_generator<at::CPUGeneratorImpl>();
    return generator;
  }
};

const bool registered = [] {
  static PretendHooks hooks;
  c10::register_privateuse1_backend("pretend");
  at::RegisterPrivateUse1HooksInterface(&hooks);
  return true;
}();

/// The same memory as a tensor of the processor; to be used while it is open.
at::Tensor seen_by_processor(const at::Tensor& t) {
  if (t.is_cpu()) return t;
  auto seen = at::from_blob(t.data_ptr(), t.sizes(), t.strides(), at::TensorOptions(t.dtype()).device(at::kCPU));
  if (t.is_conj()) seen = seen.conj();
  return t.is_neg() ? seen._neg_view() : seen;
}

at::Tensor empty_memory(c10::SymIntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
                        std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(sizes), &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), dtype.value_or(at::kFloat));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  const OpenMemory open;
  seen_by_processor(to).copy_(seen_by_processor(from));
  return to;
}

at::Tensor copy_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

const at::Tensor& resized(const at::Tensor& self, c10::SymIntArrayRef sizes, std::optional<at::MemoryFormat>) {
  const auto wanted = C10_AS_INTARRAYREF_SLOW(sizes);
  const auto bytes = static_cast<size_t>(c10::multiply_integers(wanted)) * self.element_size();
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_sizes_contiguous(wanted);
  if (self.storage().nbytes() < bytes) {
    self.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(allocator.allocate(bytes));
    self.storage().unsafeGetStorageImpl()->set_nbytes(bytes);
  }
  return self;
}

at::Scalar one_number(const at::Tensor& self) {
  const OpenMemory open;
  return seen_by_processor(self).item();
}

at::Tensor strided_view(const at::Tensor& self, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides, std::optional<c10::SymInt> offset) {
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides),
                                           offset ? std::optional(offset->guard_int(__FILE__, __LINE__)) : std::nullopt);
}

at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef sizes) { return at::native::view(self, C10_AS_INTARRAYREF_SLOW(sizes)); }

at::Tensor reshape_alias(const at::Tensor& self, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides));
}

/// Copies what it needs out of the memory and back, opened once for all of it.
void on_processor(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const OpenMemory open;
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty_memory);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_and_resize);
  library.impl("resize_", resized);
  library.impl("_local_scalar_dense", one_number);
  library.impl("as_strided", strided_view);
  library.impl("view", view);
  library.impl("_reshape_alias", reshape_alias);
  library.impl("view_as_real", at::native::view_as_real);
  library.impl("view_as_complex", at::native::view_as_complex);
}

// A copy looks after what is to be conjugated or negated itself; LibTorch would copy it first, and so on without an end.
TORCH_LIBRARY_IMPL(aten, Conjugate, library) { library.impl("_copy_from", torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, Negative, library) { library.impl("_copy_from", torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&on_processor>()); }

std::atomic<int64_t> launches = 0;

}  // namespace

at::Device pretend_device() { return {kType, 0}; }

OpenMemory::OpenMemory() { Arena::shared().open(); }
OpenMemory::~OpenMemory() { Arena::shared().close(); }

void* pretend_stream() {
  static int stream = 0;
  return &stream;
}

int64_t pretend_launches() { return launches; }
void count_pretend_launch() { ++launches; }

}  // namespace graft::testing
