// The pool and the kept memory alone: many callers over one set of helpers, tasks that start tasks,
// tasks that fail, and (argument "fork") children in which no helper runs.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

#include "runtime/parallel.h"
#include "runtime/scratch_pool.h"

using namespace jaxgroups;

namespace {

std::atomic<int> wrong{0};

class Helpers {
 public:
  explicit Helpers(int count) {
    pool.threads = count + 1;
    pool.schedule = [this](std::function<void()> f) {
      const std::lock_guard<std::mutex> lock(mutex_);
      queue_.push_back(std::move(f));
      wake_.notify_one();
    };
    for (int i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Helpers() {
    for (size_t i = 0; i < threads_.size(); ++i) pool.schedule(nullptr);
    for (std::thread& t : threads_) t.join();
  }
  Pool pool;

 private:
  void work() {
    for (std::function<void()> f;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return !queue_.empty(); });
        f = std::move(queue_.front());
        queue_.pop_front();
      }
      if (!f) return;
      f();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

// Every task once; its memory is its own while it has it. What comes then sees what they did.
void call(const Pool& pool, int64_t tasks, int depth) {
  const int64_t then = tasks % 6;
  std::vector<int64_t> sum((size_t)tasks, 0), seen((size_t)then, 0);
  parallel(
      pool, tasks,
      [&](int64_t i) {
        Scratch<int64_t> mine(100 + 1000 * (i % 7));
        for (int64_t j = 0; j < 100; ++j) mine.data[j] = i * j;
        if (depth > 0) call(pool, 3, depth - 1);
        for (int64_t j = 0; j < 100; ++j) sum[(size_t)i] += mine.data[j];
      },
      then,
      [&](int64_t k) {
        for (int64_t i = 0; i < tasks; ++i) wrong += sum[(size_t)i] != i * 4950;
        seen[(size_t)k] += 1;
      });
  for (int64_t i = 0; i < tasks; ++i) wrong += sum[(size_t)i] != i * 4950;
  for (int64_t k = 0; k < then; ++k) wrong += seen[(size_t)k] != 1;
}

// All tasks are over when the call fails: none may touch the caller's frame after that.
void call_failing(const Pool& pool, int64_t tasks) {
  std::atomic<int64_t> over{0};
  bool failed = false;
  try {
    parallel(
        pool, tasks,
        [&](int64_t i) {
          over += 1;
          if (i % 5 == 3) throw std::bad_alloc();
        },
        tasks % 4, [&](int64_t) { wrong += tasks > 3; });
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  wrong += failed != (tasks > 3) || (pool.threads > 1 && over != tasks);
}

void callers(const Pool& pool, int rounds) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, rounds, t] {
      for (int i = 0; i < rounds; ++i)
        call(pool, (i * 5 + t) % 23, i % 3), call_failing(pool, i % 19);
    });
  }
  for (std::thread& t : threads) t.join();
}

// Children of a process whose other threads hold locks as often as not.
void forks(int count) {
  std::atomic<bool> over{false};
  std::vector<std::thread> busy;
  for (int t = 0; t < 2; ++t) {
    busy.emplace_back([&] {
      while (!over) Scratch<char> memory(5000);
    });
  }
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // a child that waits for a helper dies
      std::vector<std::function<void()>> never;
      Pool pool;
      pool.threads = 4;
      pool.schedule = [&](std::function<void()> f) { never.push_back(std::move(f)); };
      for (int n = 0; n < 20; ++n) call(pool, 17, 1);
      _exit(wrong != 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    wrong += status != 0;
  }
  over = true;
  for (std::thread& t : busy) t.join();
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 2 && std::strcmp(arguments[1], "fork") == 0) {
    forks(100);
  } else {
    const Helpers helpers(3);
    callers(helpers.pool, 300);
  }
  std::printf("%d wrong\n", wrong.load());
  return wrong != 0;
}
