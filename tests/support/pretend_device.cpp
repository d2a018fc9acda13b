#include "tests/support/pretend_device.h"

#include <ATen/ATen.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <atomic>
#include <mutex>

#include "kernels/base/error.h"

namespace graft::testing {
namespace {

constexpr auto kType = c10::DeviceType::PrivateUse1;

/// The device's memory: given out once and never again, so that nothing stale is mistaken for something new.
class Arena {
 public:
  static Arena& shared() {
    static Arena arena;
    return arena;
  }

  void* take(size_t bytes) {
    const std::scoped_lock lock(mutex_);
    auto* start = begin_ + used_;
    used_ += (bytes + 255) / 256 * 256;
    GRAFT_ASSERT(used_ <= kSize);
    return start;
  }

  void open() {
    const std::scoped_lock lock(mutex_);
    if (opened_++ == 0) protect(PROT_READ | PROT_WRITE);
  }

  void close() {
    const std::scoped_lock lock(mutex_);
    if (--opened_ == 0) protect(PROT_NONE);
  }

 private:
  static constexpr size_t kSize = size_t{16} << 30;  // addresses; memory is taken where it is touched

  Arena() : begin_(static_cast<char*>(mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    GRAFT_ASSERT(begin_ != MAP_FAILED);
  }
  void protect(int rights) const { GRAFT_ASSERT(mprotect(begin_, kSize, rights) == 0); }

  std::mutex mutex_;
  char* begin_;
  size_t used_ = 0;
  int opened_ = 0;
};

struct PretendAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = Arena::shared().take(bytes);
    return {data, data, [](void*) {}, c10::Device(kType, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return [](void*) {};
  }
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
};

const bool registered = [] {
  static PretendHooks hooks;
  c10::register_privateuse1_backend("pretend");
  at::RegisterPrivateUse1HooksInterface(&hooks);
  return true;
}();

/// The same memory as a tensor of the processor; to be used while it is open.
at::Tensor seen_by_processor(const at::Tensor& t) {
  return t.is_cpu() ? t : at::from_blob(t.data_ptr(), t.sizes(), t.strides(), at::TensorOptions(t.dtype()).device(at::kCPU));
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

void on_processor(const c10::OperatorHandle& op, torch::jit::Stack* stack) { at::native::cpu_fallback(op, stack); }

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
}

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
