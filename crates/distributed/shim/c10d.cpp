// The part of PyTorch's c10d that the crate uses, as C functions for src/engine/c10d.rs, which
// declares them again. No exception leaves a function: it becomes a Failure.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/exception.h>

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
// PyTorch does not ship.
Kind kind_of(std::string_view text) {
  const auto has = [&](std::string_view words) { return text.find(words) != text.npos; };
  if (has("imed out") || has("timeout") || has("Timeout")) return kTimedOut;
  if (has("onnection") || has("Broken pipe") || has("reset by peer")) return kLost;
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

void wait(const c10::intrusive_ptr<c10d::Work>& work) { work->wait(); }

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

// The only place that names a backend; the other functions work with every c10d::Backend.
void distributed_backend_open(
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

void distributed_backend_close(BackendPointer* backend, Failure* failure) {
  guarded(failure, [&] { delete backend; });
}

void distributed_all_reduce(BackendPointer* backend, const at::Tensor* tensor, Failure* failure) {
  guarded(failure, [&] {
    std::vector<at::Tensor> tensors{*tensor};
    wait((*backend)->allreduce(tensors));
  });
}

void distributed_broadcast(BackendPointer* backend, const at::Tensor* tensor, Failure* failure) {
  guarded(failure, [&] {
    std::vector<at::Tensor> tensors{*tensor};
    wait((*backend)->broadcast(tensors));
  });
}

void distributed_all_gather(
    BackendPointer* backend, const at::Tensor* out, const at::Tensor* in, Failure* failure) {
  guarded(failure, [&] {
    at::Tensor all = *out, own = *in;
    wait((*backend)->_allgather_base(all, own));
  });
}

void distributed_all_to_all(
    BackendPointer* backend, const at::Tensor* out, const at::Tensor* in, Failure* failure) {
  guarded(failure, [&] {
    at::Tensor received = *out, sent = *in;
    std::vector<int64_t> even;
    wait((*backend)->alltoall_base(received, sent, even, even));
  });
}

}  // extern "C"
