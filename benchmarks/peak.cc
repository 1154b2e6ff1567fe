// The limits of this machine: float32 fused multiply-adds, and bytes copied and read.
// Arguments: threads, seconds of each measurement, MiB of memory. One line of JSON is printed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int bytes = 64;
#elif defined(__AVX__)
constexpr int bytes = 32;
#else
constexpr int bytes = 16;
#endif
typedef float Vector __attribute__((vector_size(bytes), may_alias));
constexpr int lanes = bytes / sizeof(float);
constexpr int chains = 12;  // independent: more than latency times throughput, fewer than registers

using Clock = std::chrono::steady_clock;
std::atomic<float> sink;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

float sum(Vector v) {
  float total = 0;
  for (int i = 0; i < lanes; ++i) total += v[i];
  return total;
}

// 2 * lanes * chains * repetitions operations
void multiply_add(long repetitions) {
  float of_a = 0.999f + sink.load() * 0, of_b = 0.001f + sink.load() * 0;  // unknown to the compiler
  Vector a = {}, b = {}, sums[chains];
  a += of_a;
  b += of_b;
  for (int i = 0; i < chains; ++i) sums[i] = b * float(i);
  for (long n = 0; n < repetitions; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sums[i] = sums[i] * a + b;
  }
  for (int i = 1; i < chains; ++i) sums[0] += sums[i];
  sink = sum(sums[0]) * 0;
}

// the least seconds of `work(thread)` on all threads at once, of as many rounds as fill `seconds`
double least(int threads, double seconds, const std::function<void(int)>& work) {
  double best = 1e30;
  auto begin = Clock::now();
  do {
    std::atomic<int> ready{0};
    std::vector<std::thread> others;
    auto meet = [&] {
      ++ready;
      while (ready < threads) {
      }
    };
    for (int i = 1; i < threads; ++i) {
      others.emplace_back([&, i] {
        meet();
        work(i);
      });
    }
    meet();
    auto start = Clock::now();
    work(0);
    for (auto& other : others) other.join();
    best = std::min(best, seconds_since(start));
  } while (seconds_since(begin) < seconds);
  return best;
}

int main(int count, char** arguments) {
  if (count != 4) return 2;
  const int threads = std::atoi(arguments[1]);
  const double seconds = std::atof(arguments[2]);
  const std::size_t size = std::size_t(std::atof(arguments[3]) * (1 << 20)) / threads / bytes * bytes;
  const long repetitions = 2'000'000;
  double flops = 2.0 * lanes * chains * repetitions;
  double one = flops / least(1, seconds, [&](int) { multiply_add(repetitions); });
  double all = threads * flops / least(threads, seconds, [&](int) { multiply_add(repetitions); });

  // each thread has its own memory, which it touches first
  std::vector<std::unique_ptr<char[]>> from(threads), to(threads);
  least(threads, 0, [&](int i) {
    from[i].reset(new char[size + bytes]);
    to[i].reset(new char[size + bytes]);
    std::memset(from[i].get(), 1, size + bytes);
    std::memset(to[i].get(), 1, size + bytes);
  });
  auto aligned = [](std::unique_ptr<char[]>& p) {
    return reinterpret_cast<char*>((reinterpret_cast<std::size_t>(p.get()) + bytes - 1) / bytes * bytes);
  };
  double copy = least(threads, seconds, [&](int i) { std::memcpy(aligned(to[i]), aligned(from[i]), size); });
  double read = least(threads, seconds, [&](int i) {
    const Vector* p = reinterpret_cast<const Vector*>(aligned(from[i]));
    Vector sums[8] = {};
    for (std::size_t n = 0; n + 8 <= size / bytes; n += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) sums[j] += p[n + j];
    }
    for (int j = 1; j < 8; ++j) sums[0] += sums[j];
    sink = sum(sums[0]) * 0;
  });
  double total = double(size) * threads;
  std::printf(
      "{\"gflops\": %.2f, \"gflops_one\": %.2f, \"copy_gbytes\": %.2f, \"read_gbytes\": %.2f}\n",
      all / 1e9, one / 1e9, 2 * total / copy / 1e9, total / read / 1e9);
}
