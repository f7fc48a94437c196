// See rendezvous/store.h.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  // Called by an inline function of c10d; defined in libtorch_cpu.so.
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
