// Tasks over a pool of threads, for any pool that can schedule a function.
//
// The caller works too, and waits only for tasks that a helper has begun. So a pool whose threads
// are all busy, or gone (after a fork), or that are waiting here themselves, delays nothing. What a
// task throws (memory may be short) ends as one bad_alloc of the caller, when all tasks are over.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <thread>

namespace jaxgroups {

struct Pool {
  int64_t threads = 1;
  std::function<void(std::function<void()>)> schedule;
};

template <class F>
void parallel(const Pool& pool, int64_t count, const F& f) {
  if (count <= 1 || pool.threads <= 1) {
    for (int64_t i = 0; i < count; ++i) f(i);
    return;
  }
  struct State {
    std::atomic<int64_t> next{0}, done{0};
    std::atomic<bool> failed{false};
  };
  auto state = std::make_shared<State>();
  // `f` lives in the caller's frame: a helper that comes late finds no task, and leaves it alone
  auto work = [state, count, &f] {
    for (int64_t i; (i = state->next.fetch_add(1)) < count;) {
      try {
        f(i);
      } catch (...) {
        state->failed = true;
      }
      state->done.fetch_add(1, std::memory_order_release);
    }
  };
  const int64_t helpers = (count < pool.threads ? count : pool.threads) - 1;
  try {
    for (int64_t i = 0; i < helpers; ++i) pool.schedule(work);
  } catch (const std::bad_alloc&) {  // fewer helpers will do
  }
  work();
  for (int spins = 0; state->done.load(std::memory_order_acquire) < count; ++spins) {
    if (spins > 4096) std::this_thread::yield();
  }
  if (state->failed) throw std::bad_alloc();
}

}  // namespace jaxgroups
