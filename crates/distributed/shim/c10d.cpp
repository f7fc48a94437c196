// The part of PyTorch's c10d that the crate uses, as C functions for src/engine/c10d.rs, which
// declares them again. No exception leaves a function: it becomes a Failure.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/exception.h>

#ifdef USE_C10D_NCCL
#include <ATen/cuda/CUDAContext.h>
#include <c10/util/env.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace {

using StorePointer = c10::intrusive_ptr<c10d::Store>;
using BackendPointer = c10::intrusive_ptr<c10d::Backend>;

// Bytes that belong to the caller and outlive the call.
struct Bytes {
  const uint8_t* data;
  size_t length;

  std::string text() const { return {reinterpret_cast<const char*>(data), length}; }
};

enum Kind : int32_t { kNone, kTimedOut, kLost, kOther };

struct Failure {
  int32_t kind;
  char text[1024];
};

// Gloo's exceptions are known by their text only, because their types are in headers that
// PyTorch does not ship. c10d throws one type for all errors of NCCL.
Kind kind_of(std::string_view text) {
  const auto has = [&](std::string_view words) { return text.find(words) != text.npos; };
  if (has("imed out") || has("timeout") || has("Timeout")) return kTimedOut;
  if (has("onnection") || has("Broken pipe") || has("reset by peer")) return kLost;
  if (has("remote process exited")) return kLost;
  return kOther;
}

void fail(Failure* failure, Kind kind, const char* text) {
  failure->kind = kind;
  std::strncpy(failure->text, text, sizeof failure->text - 1);
}

template <typename Call>
void guarded(Failure* failure, Call&& call) noexcept {
  try {
    call();
  } catch (const c10d::TimeoutError& error) {
    fail(failure, kTimedOut, error.what_without_backtrace());
  } catch (const c10::DistNetworkError& error) {
    const char* text = error.what_without_backtrace();
    const Kind kind = kind_of(text);
    fail(failure, kind == kOther ? kLost : kind, text);
  } catch (const c10::Error& error) {
    fail(failure, kind_of(error.what_without_backtrace()), error.what_without_backtrace());
  } catch (const std::exception& error) {
    fail(failure, kind_of(error.what()), error.what());
  } catch (...) {
    fail(failure, kOther, "unknown C++ exception");
  }
}

// Moves a reference to the heap, because Rust holds it as a plain pointer.
template <typename Pointer>
Pointer* boxed(Pointer pointer) {
  return new Pointer(std::move(pointer));
}

constexpr const char* kNccl = "nccl";

bool is_nccl(const BackendPointer& backend) { return backend->getBackendName() == kNccl; }

void wait(const BackendPointer& backend, const c10::intrusive_ptr<c10d::Work>& work) {
  if (is_nccl(backend)) {
    // NCCL works on a stream of its own, and wait() would look for its end once per millisecond,
    // which is longer than most operations take.
    while (!work->isCompleted()) std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  work->wait();
}

[[noreturn]] void no_nccl() { throw std::runtime_error("this program was built without NCCL"); }

}  // namespace

extern "C" {

void distributed_store_open(
    Bytes host, uint16_t port, bool serve, int world, Bytes prefix, int64_t timeout_ms,
    StorePointer** out, Failure* failure) {
  guarded(failure, [&] {
    // c10d logs what it throws, with a C++ stack.
    if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.numWorkers = world;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    StorePointer store = c10::make_intrusive<c10d::TCPStore>(host.text(), options);
    *out = boxed<StorePointer>(c10::make_intrusive<c10d::PrefixStore>(prefix.text(), store));
  });
}

void distributed_store_close(StorePointer* store, Failure* failure) {
  guarded(failure, [&] { delete store; });
}

void distributed_store_set(StorePointer* store, Bytes key, Bytes value, Failure* failure) {
  guarded(failure, [&] { (*store)->set(key.text(), value.text()); });
}

// Waits for the key. Copies no more than the capacity, but gives the whole length.
void distributed_store_get(
    StorePointer* store, Bytes key, uint8_t* buffer, size_t capacity, size_t* length,
    Failure* failure) {
  guarded(failure, [&] {
    const std::string value = (*store)->get_to_str(key.text());
    std::memcpy(buffer, value.data(), std::min(value.size(), capacity));
    *length = value.size();
  });
}

void distributed_store_has(StorePointer* store, Bytes key, bool* found, Failure* failure) {
  guarded(failure, [&] { *found = (*store)->check({key.text()}); });
}

void distributed_store_add(
    StorePointer* store, Bytes key, int64_t amount, int64_t* sum, Failure* failure) {
  guarded(failure, [&] { *sum = (*store)->add(key.text(), amount); });
}

// The other functions work with every c10d::Backend.
void distributed_gloo_open(
    StorePointer* store, int rank, int world, Bytes interface, Bytes address, int64_t timeout_ms,
    BackendPointer** out, Failure* failure) {
  using Gloo = c10d::ProcessGroupGloo;
  guarded(failure, [&] {
    auto options = Gloo::Options::create(std::chrono::milliseconds(timeout_ms));
    const bool lazy = c10d::getDefaultGlooLazyInit();
    options->devices.push_back(
        interface.length ? Gloo::createDeviceForInterface(interface.text(), lazy)
                         : Gloo::createDeviceForHostname(address.text(), lazy));
    *out = boxed<BackendPointer>(c10::make_intrusive<Gloo>(*store, rank, world, options));
  });
}

// Connects to the GPUs of the other ranks. All keys in the store begin with the prefix, which must
// be new.
void distributed_nccl_open(
    StorePointer* store, Bytes prefix, int rank, int world, int device, int64_t timeout_ms,
    BackendPointer** out, Failure* failure) {
  guarded(failure, [&] {
#ifdef USE_C10D_NCCL
    using Nccl = c10d::ProcessGroupNCCL;
    // Without this variable, for which there is no option, c10d starts a thread that ends the
    // process after an error or a timeout. A value of the user stays.
    c10::utils::set_env("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/false);
    auto options = Nccl::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    StorePointer keys = c10::make_intrusive<c10d::PrefixStore>(prefix.text(), *store);
    BackendPointer backend = c10::make_intrusive<Nccl>(keys, rank, world, options);
    // Else the first operation would connect.
    backend->eagerConnectSingleDevice(at::Device(at::kCUDA, device));
    *out = boxed<BackendPointer>(std::move(backend));
#else
    no_nccl();
#endif
  });
}

// Ends the operations of NCCL that are under way, in the kernels and in other threads.
void distributed_nccl_abort(BackendPointer* backend, Failure* failure) {
  guarded(failure, [&] { (*backend)->abort(); });
}

// Writes the PCI address of a GPU, by which NCCL tells the GPUs of a machine apart.
void distributed_pci_address(int device, uint8_t* buffer, size_t capacity, size_t* length,
    Failure* failure) {
  guarded(failure, [&] {
#ifdef USE_C10D_NCCL
    const cudaDeviceProp* properties = at::cuda::getDeviceProperties(device);
    const int count = std::snprintf(
        reinterpret_cast<char*>(buffer), capacity, "%04x:%02x:%02x", properties->pciDomainID,
        properties->pciBusID, properties->pciDeviceID);
    *length = std::min<size_t>(std::max(count, 0), capacity);
#else
    no_nccl();
#endif
  });
}

void distributed_backend_close(BackendPointer* backend, Failure* failure) {
  guarded(failure, [&] {
    // NCCL's destructor would print a warning, and do the same.
    if (is_nccl(*backend)) (*backend)->abort();
    delete backend;
  });
}

void distributed_all_reduce(BackendPointer* backend, const at::Tensor* tensor, Failure* failure) {
  guarded(failure, [&] {
    std::vector<at::Tensor> tensors{*tensor};
    wait(*backend, (*backend)->allreduce(tensors));
  });
}

void distributed_broadcast(BackendPointer* backend, const at::Tensor* tensor, Failure* failure) {
  guarded(failure, [&] {
    std::vector<at::Tensor> tensors{*tensor};
    wait(*backend, (*backend)->broadcast(tensors));
  });
}

void distributed_all_gather(
    BackendPointer* backend, const at::Tensor* out, const at::Tensor* in, Failure* failure) {
  guarded(failure, [&] {
    at::Tensor all = *out, own = *in;
    wait(*backend, (*backend)->_allgather_base(all, own));
  });
}

void distributed_all_to_all(
    BackendPointer* backend, const at::Tensor* out, const at::Tensor* in, Failure* failure) {
  guarded(failure, [&] {
    at::Tensor received = *out, sent = *in;
    std::vector<int64_t> even;
    wait(*backend, (*backend)->alltoall_base(received, sent, even, even));
  });
}

}  // extern "C"
