// Threads that help the kernels, and stay awake for a short time after each task.
//
// Between two convolutions of a network lie some microseconds. The threads of XLA's pool fall
// asleep in that time, and waking one takes longer than many a layer. These threads wait for the
// next task awake, and let other threads run meanwhile. There is one less than XLA's pool has: the
// caller works too. They exist on Linux only.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "runtime/tuning.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace jaxgroups {

class HelperThread {
 public:
  using Task = std::function<void()>;

  // Hands a task over, unless the thread is at one. It takes the place of one that the thread has
  // not begun: a call does not wait for such a task. So this may also be the child of a fork, which
  // has no thread for it.
  bool give(std::unique_ptr<Task>& task) {
    Task* before = task_.load(std::memory_order_acquire);
    if (before == at_work() || !task_.compare_exchange_strong(before, task.get())) return false;
    task.release();
    delete before;
    if (asleep_.exchange(0) != 0) futex(FUTEX_WAKE_PRIVATE, 1);
    return true;
  }

  // What the thread does, for ever.
  [[noreturn]] void run() {
    for (;;) {
      wait();
      const std::unique_ptr<Task> task(task_.exchange(at_work()));
      (*task)();
      task_.store(nullptr, std::memory_order_release);
    }
  }

 private:
  static Task* at_work() { return reinterpret_cast<Task*>(uintptr_t{1}); }

  // Returns when there is a task. Only this thread takes it away.
  void wait() {
    const int64_t end = nanoseconds() + kAwakeNanoseconds;
    do {
      for (int i = 0; i < kSpins; ++i) {
        if (task_.load(std::memory_order_acquire) != nullptr) return;
        pause();
      }
      sched_yield();
    } while (nanoseconds() < end);
    for (;;) {
      asleep_.store(1);
      if (task_.load() != nullptr) break;
      futex(FUTEX_WAIT_PRIVATE, 1);  // returns at once if `asleep_` is no longer 1
    }
    asleep_.store(0);
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  static int64_t nanoseconds() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
  }

  void futex(int what, uint32_t value) {
    syscall(SYS_futex, &asleep_, what, value, nullptr, nullptr, 0);
  }

  static constexpr int kSpins = 32;  // about a microsecond

  std::atomic<Task*> task_{nullptr};  // the one to begin; at_work() until one is over
  std::atomic<uint32_t> asleep_{0};
};

class HelperThreads {
 public:
  // Hands a task to the first idle one of `count` threads, from number `first` on, which becomes
  // the number after it. False if none is idle.
  bool give(const std::function<void()>& f, int64_t& first, int64_t count) {
    if (count > kMost) count = kMost;
    if (started_.load(std::memory_order_acquire) < count) start(count);
    const int64_t started = started_.load(std::memory_order_acquire);
    if (count > started) count = started;
    if (first >= count) return false;
    auto task = std::make_unique<std::function<void()>>(f);
    while (first < count) {
      if (threads_[first++].give(task)) return true;
    }
    return false;
  }

 private:
  void start(int64_t count) {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return;  // another call is at it, or was when the process forked
    sigset_t all, before;
    sigfillset(&all);  // signals are for the threads of the program
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      for (int64_t i = started_.load(); i < count; ++i) {
        std::thread([this, i] { threads_[i].run(); }).detach();
        started_.store(i + 1, std::memory_order_release);
      }
    } catch (const std::system_error&) {  // the threads that there are will do
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  static constexpr int64_t kMost = 128;

  std::mutex mutex_;
  std::atomic<int64_t> started_{0};
  HelperThread threads_[kMost];
};

}  // namespace jaxgroups

#else

namespace jaxgroups {

class HelperThreads {
 public:
  bool give(const std::function<void()>&, int64_t&, int64_t) { return false; }
};

}  // namespace jaxgroups

#endif

namespace jaxgroups {

// Made at compile time and never destroyed, as its threads outlive the end of `main`.
inline HelperThreads helper_threads;

}  // namespace jaxgroups
