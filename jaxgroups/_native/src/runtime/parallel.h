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

// f(0) to f(count - 1), and when these are over g(0) to g(then - 1).
template <class F, class G>
void parallel(const Pool& pool, int64_t count, const F& f, int64_t then, const G& g) {
  const int64_t all = count + then;
  if ((count <= 1 && then <= 1) || pool.threads <= 1) {
    for (int64_t i = 0; i < count; ++i) f(i);
    for (int64_t i = 0; i < then; ++i) g(i);
    return;
  }
  struct State {
    std::atomic<int64_t> next{0}, done{0};
    std::atomic<bool> failed{false};
  };
  auto state = std::make_shared<State>();
  const auto wait = [](const State& s, int64_t done) {
    for (int spins = 0; s.done.load(std::memory_order_acquire) < done; ++spins) {
      if (spins > 4096) std::this_thread::yield();
    }
  };
  // `f` and `g` live in the caller's frame: a helper that comes late finds no task and leaves them
  auto work = [state, count, all, wait, &f, &g] {
    for (int64_t i; (i = state->next.fetch_add(1)) < all;) {
      try {
        if (i < count) {
          f(i);
        } else {
          wait(*state, count);  // for tasks that others are at
          if (!state->failed) g(i - count);
        }
      } catch (...) {
        state->failed = true;
      }
      state->done.fetch_add(1, std::memory_order_release);
    }
  };
  const int64_t most = count > then ? count : then;
  const int64_t helpers = (most < pool.threads ? most : pool.threads) - 1;
  try {
    for (int64_t i = 0; i < helpers; ++i) pool.schedule(work);
  } catch (const std::bad_alloc&) {  // fewer helpers will do
  }
  work();
  wait(*state, all);
  if (state->failed) throw std::bad_alloc();
}

template <class F>
void parallel(const Pool& pool, int64_t count, const F& f) {
  parallel(pool, count, f, 0, [](int64_t) {});
}

}  // namespace jaxgroups
