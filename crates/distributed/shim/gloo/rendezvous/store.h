// PyTorch's packages contain Gloo in libtorch_cpu.so, but not its headers, which c10d's header
// includes. The headers in this folder declare the names that c10d's header needs, and no more.
//
// c10d holds objects of Gloo by pointer, so its own layout does not depend on these declarations,
// and the shim neither makes nor uses such an object. If a later c10d holds one by value, these
// incomplete types do not compile.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {

// c10d's adapter for its own store overrides these functions.
class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::vector<char>& value) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(
      const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) = 0;
};

}  // namespace gloo::rendezvous
