// The kernels without XLA, for the sanitizers: random problems on arrays of exactly their size,
// shifted by one number so that nothing is aligned, compared with plain loops. The data are small
// whole numbers, so results are exact. Arguments: how many problems, and the seed.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "run.h"
#include "sets.h"

using namespace jaxgroups;

namespace {

std::mt19937 dice;

int64_t pick(int64_t from, int64_t to) {
  return std::uniform_int_distribution<int64_t>(from, to)(dice);
}

// An array of exactly `count` numbers on the heap, one number away from its alignment.
template <class T>
struct Array {
  explicit Array(int64_t count) : bytes(new char[(size_t)(count + 1) * sizeof(T)]), size(count) {
    data = reinterpret_cast<T*>(bytes.get() + sizeof(T));
    for (int64_t i = 0; i < count; ++i) data[i] = (T)pick(-3, 3);
  }
  std::unique_ptr<char[]> bytes;
  int64_t size;
  T* data;
};

struct Sizes {
  std::vector<int64_t> x, w, y, stride, low, high, dilation, lhs_dilation;
  int64_t groups, c, o;
  Call call() const {
    const auto ints = [](const std::vector<int64_t>& v) { return Ints{v.data(), (int64_t)v.size()}; };
    return {ints(x),   ints(w),    ints(y),        ints(stride),
            ints(low), ints(high), ints(dilation), ints(lhs_dilation), groups};
  }
};

// A problem whose every axis has at least one output; false where the draw had none.
bool draw(Sizes& s) {
  const int64_t rank = pick(1, 3);
  const int64_t lanes[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24, 33, 48};
  s = {};
  s.c = pick(0, 2) == 0 ? 1 : lanes[pick(0, 8)];
  s.o = pick(0, 2) == 0 ? s.c : lanes[pick(0, 12)];
  s.groups = pick(1, s.c * s.o > 32 ? 3 : 37);
  if (rank == 2 && pick(0, 9) == 0) {  // pixels 4096 bytes apart
    s.c = 32;
    s.o = pick(0, 1) ? 32 : 20;
    s.groups = 32;
  }
  s.x.push_back(pick(0, 9) == 0 ? 0 : pick(1, 3));
  s.y.push_back(s.x[0]);
  const bool dilated = pick(0, 2) == 0;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t kernel = pick(1, rank == 1 ? 9 : rank == 2 ? 5 : 3);
    const int64_t sizes[] = {1, kernel > 1 ? kernel - 1 : 1, kernel, pick(1, rank == 1 ? 40 : rank == 2 ? 19 : 5)};
    const int64_t size = sizes[pick(0, 3)];
    const int64_t stride = pick(0, 1) ? 1 : pick(1, 4);
    const int64_t dilation = pick(0, 2) ? 1 : pick(0, 9) ? pick(1, 4) : 100000;
    const int64_t u = dilated ? pick(1, 4) : 1;
    const int64_t low = pick(-2, kernel + 1);
    int64_t high = pick(-2, kernel + 1);
    if (dilation == 100000) high = (kernel - 1) * dilation + pick(-1, 3);
    const int64_t room = (size - 1) * u + 1 + low + high - (kernel - 1) * dilation - 1;
    if (room < 0) return false;
    s.x.push_back(size);
    s.w.push_back(kernel);
    s.y.push_back(room / stride + 1);
    s.stride.push_back(stride);
    s.low.push_back(low);
    s.high.push_back(high);
    s.dilation.push_back(dilation);
    s.lhs_dilation.push_back(u);
  }
  s.x.push_back(s.groups * s.c);
  s.w.push_back(s.c);
  s.w.push_back(s.groups * s.o);
  s.y.push_back(s.groups * s.o);
  return true;
}

int64_t product(const std::vector<int64_t>& v) {
  int64_t p = 1;
  for (const int64_t n : v) p *= n;
  return p;
}

// f(index of x, of w, of y) for every product of the trilinear form.
template <class F>
void each_product(const Problem& p, const F& f) {
  const Axis* const a = p.axis;
  int64_t y = 0;
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t pd = 0; pd < a[0].out; ++pd)
      for (int64_t ph = 0; ph < a[1].out; ++ph)
        for (int64_t pw = 0; pw < a[2].out; ++pw, y += p.groups * p.o)
          for (int64_t kd = 0; kd < a[0].kernel; ++kd)
            for (int64_t kh = 0; kh < a[1].kernel; ++kh)
              for (int64_t kw = 0; kw < a[2].kernel; ++kw) {
                const int64_t out[] = {pd, ph, pw}, tap[] = {kd, kh, kw};
                int64_t at = n;
                bool there = true;
                for (int i = 0; i < 3; ++i) {
                  const int64_t in = out[i] * a[i].stride + tap[i] * a[i].dilation - a[i].low;
                  const int64_t u = a[i].lhs_dilation;
                  there = there && in >= 0 && in % u == 0 && in / u < a[i].size;
                  at = at * a[i].size + in / u;
                }
                if (!there) continue;
                const int64_t k = (kd * a[1].kernel + kh) * a[2].kernel + kw;
                for (int64_t g = 0; g < p.groups; ++g)
                  for (int64_t c = 0; c < p.c; ++c)
                    for (int64_t o = 0; o < p.o; ++o)
                      f((at * p.groups + g) * p.c + c, ((k * p.c + c) * p.groups + g) * p.o + o,
                        y + g * p.o + o);
              }
}

template <class T>
bool same(const Array<T>& got, const std::vector<T>& expected, const char* what, const char* set) {
  for (int64_t i = 0; i < got.size; ++i) {
    if (got.data[i] == expected[(size_t)i]) continue;
    std::printf("WRONG %s with %s: number %lld is %g, expected %g\n", what, set, (long long)i,
                (double)got.data[i], (double)expected[(size_t)i]);
    return false;
  }
  return true;
}

template <class T>
bool compare(const Sizes& s, const Pool& pool) {
  Array<T> x(product(s.x)), w(product(s.w)), y(product(s.y));
  Plan plan{};
  const std::string error = check(s.call(), plan);
  if (!error.empty()) return std::printf("REFUSED %s\n", error.c_str()), false;
  std::vector<T> forward((size_t)y.size), weight((size_t)w.size);
  each_product(plan.problem, [&](int64_t i, int64_t k, int64_t j) {
    forward[(size_t)j] += x.data[i] * w.data[k];
    weight[(size_t)k] += x.data[i] * y.data[j];
  });
  const Sets& available = sets();
  for (int i = 0; i < available.count; ++i) {
    const Kernels* const* first = available.all + i;
    bool plain = true;
    for (const int64_t u : s.lhs_dilation) plain = plain && u == 1;
    if (plain) {
      Plan again{};
      check(s.call(), again);
      Array<T> got(w.size);
      run_weight<T>(first, 1, pool, again, x.data, y.data, got.data);
      if (!same(got, weight, "weight gradient", (*first)->name)) return false;
    }
    Plan again{};
    check(s.call(), again);
    Array<T> got(y.size);
    run_forward<T>(first, 1, pool, again, x.data, w.data, got.data);
    if (!same(got, forward, "forward", (*first)->name)) return false;
  }
  return true;
}

}  // namespace

int main(int, char** arguments) {
  const int problems = std::atoi(arguments[1]);
  dice.seed((unsigned)std::atoi(arguments[2]));
  std::vector<std::thread> helpers;
  Pool pool;
  pool.schedule = [&](std::function<void()> f) { helpers.emplace_back(std::move(f)); };
  int done = 0;
  for (Sizes s; done < problems;) {
    if (!draw(s)) continue;
    pool.threads = pick(1, 4);
    const bool right = pick(0, 3) ? compare<float>(s, pool) : compare<double>(s, pool);
    for (std::thread& t : helpers) t.join();
    helpers.clear();
    if (!right) {
      const std::vector<int64_t>* all[] = {&s.x, &s.w, &s.y, &s.stride, &s.low, &s.dilation, &s.lhs_dilation};
      for (const auto* v : all) {
        for (const int64_t n : *v) std::printf("%lld ", (long long)n);
        std::printf("| ");
      }
      std::printf("groups %lld\n", (long long)s.groups);
      return 1;
    }
    ++done;
  }
  std::printf("%d problems, all sets right\n", done);
}
