// The kernels without XLA, for the sanitizers. Arguments: how many problems, the seed, and how many
// threads share them. Each problem is compared with plain loops on small whole numbers, which is
// exact, and with itself on fractions: any number of threads gives the same bits. Then some
// numbers of the call are made wrong: it is refused, or it is another valid call.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "native_problems.h"
#include "runtime/isa.h"
#include "runtime/parallel_conv.h"
#include "runtime/parallel_sums.h"

using namespace jaxgroups;

namespace {

// A pool whose helpers come at once, or (as after a fork, or in a busy pool) when all is over.
struct Helpers {
  explicit Helpers(int64_t threads, bool late) {
    pool.threads = threads;
    pool.schedule = [this, late](std::function<void()> f) {
      if (late) return waiting.push_back(std::move(f));
      running.emplace_back(std::move(f));
    };
  }
  ~Helpers() {
    for (std::thread& t : running) t.join();
    for (const auto& f : waiting) f();
  }
  Pool pool;
  std::vector<std::thread> running;
  std::vector<std::function<void()>> waiting;
};

template <class T>
struct Arrays {
  Arrays(const Sizes& s, bool whole)
      : x(product(s.x), whole),
        w(s.elements, whole),
        y(product(s.y), whole),
        bias(s.y.back(), whole),
        residual(product(s.y), whole) {
    if (pick(0, 1)) return;
    epilogue.activation = static_cast<Activation>(pick(0, 2));  // those of whole numbers
    epilogue.residual = static_cast<Residual>(pick(0, kResiduals - 1));
    epilogue.alpha = epilogue.activation == Activation::leaky ? T(0.5) : T(pick(-9, 0));
    epilogue.beta = T(pick(1, 9));
  }
  Array<T> x, w, y, bias, residual;
  const bool biased = pick(0, 1), packed = pick(0, 3) == 0;
  Epilogue<T> epilogue;  // but for the distance of the residual

  // What follows the sums, number by number.
  T finished(T sum, int64_t i) const {
    if (epilogue.residual == Residual::before) sum += residual.data[i];
    if (epilogue.activation == Activation::clip)
      sum = sum < epilogue.alpha ? epilogue.alpha : sum > epilogue.beta ? epilogue.beta : sum;
    if (epilogue.activation == Activation::leaky && sum < 0) sum *= epilogue.alpha;
    if (epilogue.residual == Residual::after) sum += residual.data[i];
    return sum;
  }
};

// The order of weights that are packed once; 0 where there is none.
template <class T>
int64_t layout_for(const Call& call, const Kernels* const* first, int count) {
  Plan plan{};
  check(call, plan);
  if (plan.problem.batch == 0) return 0;
  choose_kernels<T>(first, count, false, plan);
  return layout_of(plan);
}

// Weights that are packed once; no numbers where they cannot be.
template <class T>
Array<T> packed_of(const Call& call, const Arrays<T>& in, const Kernels* const* first, int count) {
  if (layout_for<T>(call, first, count) == 0) return Array<T>(0);
  Plan plan{};
  check(call, plan);
  choose_kernels<T>(first, count, false, plan);
  Array<T> packed(plan.packed(plan.blocks.count));
  pack(plan, 0, plan.blocks.count, in.w.data, packed.data);
  return packed;
}

// The forward convolution or the weight gradient of a call, by `count` isas from `first` on.
template <class T>
Array<T> result(bool forward, const Sizes& s, const Arrays<T>& in, const Kernels* const* first,
                int count, int64_t threads) {
  const Helpers helpers(threads, pick(0, 4) == 0);
  Plan plan{};
  Call call = s.call();
  if (!forward) call.weight_strides = {};  // a result is in order
  check(call, plan);
  Array<T> got(forward ? in.y.size : product(s.w));
  if (forward) {
    Epilogue<T> epilogue = in.epilogue;
    epilogue.apart = static_cast<int64_t>(reinterpret_cast<uintptr_t>(in.residual.data) -
                                          reinterpret_cast<uintptr_t>(got.data));
    const Array<T> all = in.packed ? packed_of(call, in, first, count) : Array<T>(0);
    const PackedWeights<T> once{all.size > 0 ? all.data : nullptr,
                                layout_for<T>(call, first, count), all.size};
    run_forward<T>(first, count, helpers.pool, plan, in.x.data, all.size > 0 ? nullptr : in.w.data,
                   in.biased ? in.bias.data : nullptr, got.data, epilogue, once);
  } else {
    run_weight<T>(first, count, helpers.pool, plan, in.x.data, in.y.data, got.data);
  }
  return got;
}

template <class T>
bool same(const Array<T>& got, const T* expected, const char* what, const char* set) {
  for (int64_t i = 0; i < got.size; ++i) {
    if (std::memcmp(got.data + i, expected + i, sizeof(T)) == 0) continue;
    if (got.data[i] == 0 && expected[i] == 0) continue;  // zeros of either sign
    std::printf("WRONG %s with %s: number %lld is %.17g, expected %.17g\n", what, set, (long long)i,
                (double)got.data[i], (double)expected[i]);
    return false;
  }
  return true;
}

template <class T>
bool compare(const Sizes& s) {
  Plan plan{};
  const std::string error = check(s.call(), plan);
  if (!error.empty()) return std::printf("REFUSED %s\n", error.c_str()), false;
  const Arrays<T> in(s, true), fractions(s, false);
  const std::vector<int64_t> at = places(s);
  std::vector<T> forward((size_t)in.y.size), weight(at.size());
  for (size_t j = 0; in.biased && j < forward.size(); ++j) {
    forward[j] = in.bias.data[j % (size_t)in.bias.size];
  }
  each_product(plan.problem, [&](int64_t i, int64_t k, int64_t j) {
    forward[(size_t)j] += in.x.data[i] * in.w.data[at[(size_t)k]];
    weight[(size_t)k] += in.x.data[i] * in.y.data[j];
  });
  for (size_t j = 0; j < forward.size(); ++j) forward[j] = in.finished(forward[j], (int64_t)j);
  bool plain = true;
  for (const int64_t u : s.lhs_dilation) plain = plain && u == 1;
  const Isas& available = isas();
  for (int i = 0; i < available.count; ++i) {
    const Kernels* const* first = available.all + i;
    const int count = pick(0, 1) ? 1 : available.count - i;
    for (int f = plain ? 0 : 1; f < 2; ++f) {
      const char* const what = f ? "forward" : "weight gradient";
      const Array<T> got = result(f, s, in, first, count, pick(1, 4));
      if (!same(got, f ? forward.data() : weight.data(), what, (*first)->name)) return false;
      if (!s.large && pick(0, 3)) continue;
      const Array<T> alone = result(f, s, fractions, first, count, 1);
      for (int64_t threads = 2; threads <= 4; ++threads) {
        const Array<T> many = result(f, s, fractions, first, count, threads);
        if (!same(many, alone.data, f ? "bits of forward" : "bits of weight gradient",
                  (*first)->name)) {
          return false;
        }
      }
    }
  }
  return true;
}

// Both sums of ChannelSums, `first` and then `second`.
template <class T>
Array<T> summed(const KernelsOf<T>& kernels, int64_t threads, ChannelSums<T> call) {
  const Helpers helpers(threads, pick(0, 4) == 0);
  const int64_t count = call.instances * call.channels;
  Array<T> got(2 * count);
  call.first = got.data;
  call.second = got.data + count;
  run_channel_sums<T>(kernels, helpers.pool, call);
  return got;
}

// Sums of products, exactly, or mean and variance, of random numbers of rows and channels.
template <class T>
bool compare_sums() {
  const int64_t instances = pick(1, 3), rows = pick(1, pick(0, 9) ? 90 : 900);
  const int64_t channels = pick(1, pick(0, 1) ? 20 : 150), count = instances * channels;
  const bool moments = pick(0, 1);
  const Array<T> a(count * rows), b(count * rows), shift(count);
  const Array<T> fractions(count * rows, false);
  std::vector<double> first((size_t)count), second((size_t)count);
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t i = 0; i < count * rows; ++i) {
      const int64_t at = i / channels / rows * channels + i % channels;
      const double mean = first[(size_t)at] / (double)rows, x = (double)a.data[i];
      const double with = moments ? x - mean : (double)b.data[i] - (double)shift.data[at];
      if (pass == 0) first[(size_t)at] += x;
      if (pass == 1) second[(size_t)at] += (moments ? with : x) * with;
    }
  }
  Array<T> expected(2 * count);
  for (int64_t i = 0; i < count; ++i) {
    expected.data[i] = (T)(first[(size_t)i] / (moments ? (double)rows : 1));
    expected.data[count + i] = (T)(second[(size_t)i] / (moments ? (double)rows : 1));
  }
  const ChannelSums<T> whole{instances,  rows,    channels, a.data, moments ? nullptr : b.data,
                             shift.data, nullptr, nullptr};
  ChannelSums<T> other = whole;
  other.a = fractions.data;
  for (int i = 0; i < isas().count; ++i) {
    const Kernels& set = *isas().all[i];
    Array<T> got = summed<T>(set.of<T>(), pick(1, 4), whole);
    for (int64_t j = 0; moments && j < got.size; ++j) {  // divided, so rounded
      const double error = std::abs((double)got.data[j] - (double)expected.data[j]);
      if (error < (sizeof(T) == 4 ? 1e-6 : 1e-12)) got.data[j] = expected.data[j];
    }
    if (!same(got, expected.data, moments ? "moments" : "sums", set.name)) return false;
    const Array<T> alone = summed<T>(set.of<T>(), 1, other);
    for (int64_t threads = 2; threads <= 4; ++threads) {
      if (!same(summed<T>(set.of<T>(), threads, other), alone.data, "bits of sums", set.name))
        return false;
    }
  }
  return true;
}

bool small(Sizes& s) {
  return product(s.y) < 1 << 16 && product(s.w) < 1 << 14 && product(s.x) < 1 << 16;
}

// A few numbers of the call changed; what is still accepted has to be computed rightly.
bool compare_wrong(Sizes s) {
  constexpr int64_t k = int64_t{1} << 28;
  const int64_t wrong[] = {0,
                           -1,
                           2,
                           3,
                           7,
                           4096,
                           4097,
                           k - 1,
                           k,
                           k + 1,
                           -k,
                           -k - 1,
                           int64_t{1} << 56,
                           int64_t{1} << 62,
                           INT64_MAX,
                           INT64_MIN,
                           INT64_MIN + 1};
  for (int64_t changes = pick(1, 3); changes > 0; --changes) {
    const int64_t value = wrong[pick(0, 16)];
    std::vector<int64_t>& v = *s.all()[(size_t)pick(0, 8)];
    const int64_t how = pick(0, 15);
    if (how == 0) (pick(0, 1) ? s.groups : s.offset) = value;
    if (how == 1) v.push_back(value);
    if (how == 2 && !v.empty()) v.pop_back();
    if (how > 2 && !v.empty()) v[(size_t)pick(0, (int64_t)v.size() - 1)] = value;
  }
  Plan plan{};
  if (!check(s.call(), plan).empty() || !small(s)) return true;
  if (s.weight_strides.empty()) s.elements = product(s.w);
  return pick(0, 1) ? compare<float>(s) : compare<double>(s);
}

// Problems that once went wrong. The bits of this one depended on the number of threads.
Sizes replayed() {
  Sizes s{};
  s.x = {3, 800, 238}, s.w = {6, 17, 14}, s.y = {3, 393, 14};
  s.stride = {2}, s.low = {1}, s.high = {5}, s.dilation = {4}, s.lhs_dilation = {1};
  s.groups = 14, s.c = 17, s.o = 1, s.elements = product(s.w), s.large = true;
  return s;
}

bool run(int problems, unsigned seed) {
  dice.seed(seed);
  if (!compare<float>(replayed())) return false;
  int done = 0;
  for (Sizes s; done < problems;) {
    if (!draw(s)) continue;
    bool right = pick(0, 3) ? compare<float>(s) : compare<double>(s);
    for (int i = 0; right && i < 8; ++i) right = compare_wrong(s);
    if (right && !(pick(0, 3) ? compare_sums<float>() : compare_sums<double>())) return false;
    if (!right) {
      for (const auto* v : s.all()) {
        for (const int64_t n : *v) std::printf("%lld ", (long long)n);
        std::printf("| ");
      }
      std::printf("groups %lld, or some numbers of it changed\n", (long long)s.groups);
      return false;
    }
    ++done;
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return std::printf("arguments: problems, seed, threads\n"), 2;
  const int problems = std::atoi(arguments[1]), callers = std::atoi(arguments[3]);
  const unsigned seed = (unsigned)std::atoi(arguments[2]);
  std::vector<char> right((size_t)callers, 0);
  std::vector<std::thread> threads;
  for (int i = 0; i < callers; ++i) {
    threads.emplace_back(
        [&, i] { right[(size_t)i] = run(problems / callers, seed + 1000u * (unsigned)i); });
  }
  for (std::thread& t : threads) t.join();
  for (const char r : right) {
    if (!r) return 1;
  }
  std::printf("%d problems, right with", problems);
  for (int i = 0; i < isas().count; ++i) std::printf(" %s", isas().all[i]->name);
  std::printf("\n");
}
