// Memory for the time of a call, kept for the next one: fresh pages cost more than small layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

namespace jaxgroups {

// The blocks kept: few, of bounded size, so memory stays flat. A lock that is taken (by a thread
// that a fork left behind, say) is not waited for: then memory is allocated as usual.
class ScratchPool {
 public:
  struct Memory {
    void* data;
    size_t bytes;
  };

  static Memory take(size_t bytes) {
    if (ScratchPool& k = instance(); k.mutex_.try_lock()) {
      const std::lock_guard<std::mutex> lock(k.mutex_, std::adopt_lock);
      for (Memory& m : k.memory_) {
        if (m.data == nullptr || m.bytes < bytes || m.bytes / 4 > bytes) continue;
        const Memory found = m;
        m.data = nullptr;
        return found;
      }
    }
    bytes = (bytes + 4095) / 4096 * 4096;
    void* const data = std::aligned_alloc(64, bytes);
    if (data == nullptr) throw std::bad_alloc();
    return {data, bytes};
  }

  static void give(Memory memory) {
    if (ScratchPool& k = instance(); memory.bytes <= kLargest && k.mutex_.try_lock()) {
      const std::lock_guard<std::mutex> lock(k.mutex_, std::adopt_lock);
      Memory& place = k.memory_[k.next_++ % kCount];
      std::swap(place, memory);
    }
    std::free(memory.data);
  }

 private:
  static constexpr int kCount = 24;
  static constexpr size_t kLargest = size_t{1} << 22;

  // Made at compile time and never destroyed: no thread ever waits for its making, not even in the
  // child of a process that was just at it, and it outlives threads still at work at exit.
  static ScratchPool& instance();

  std::mutex mutex_;
  Memory memory_[kCount] = {};
  unsigned next_ = 0;
};

inline ScratchPool the_pool;
inline ScratchPool& ScratchPool::instance() { return the_pool; }

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : memory_(count > 0 ? ScratchPool::take(static_cast<size_t>(count) * sizeof(T) + 64)
                          : ScratchPool::Memory{nullptr, 0}),
        data(static_cast<T*>(memory_.data)) {}
  ~Scratch() {
    if (memory_.data != nullptr) ScratchPool::give(memory_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

 private:
  ScratchPool::Memory memory_;

 public:
  T* const data;
};

}  // namespace jaxgroups
