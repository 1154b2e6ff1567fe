#include "runtime/problem.h"

#include <numeric>

namespace jaxgroups {
namespace {

// No number of a call may exceed this, so that sums of a few products of two stay in 64 bits.
constexpr int64_t kLargest = int64_t{1} << 28;

// A dilated input makes as many phases, which are kept in a list.
constexpr int64_t kMostDilated = 4096;

std::string wrong(const char* what, int64_t got) {
  return std::string("jaxgroups: ") + what + ", but got " + std::to_string(got);
}

// The number of elements, -1 if it is too large to address.
int64_t elements(const Ints& shape) {
  int64_t product = 1;
  for (int64_t i = 0; i < shape.size; ++i) {
    if (shape[i] < 0 || shape[i] > kLargest) return -1;
    if (__builtin_mul_overflow(product, shape[i], &product)) return -1;
    if (product > (int64_t{1} << 56)) return -1;
  }
  return product;
}

std::vector<Phase> phases_of(const Axis& a) {
  const int64_t u = a.lhs_dilation;
  const int64_t step = u / std::gcd(a.stride, u), tap_step = u / std::gcd(a.dilation, u);
  std::vector<Phase> phases;
  int64_t before = 0;
  for (int64_t r = 0; r < step && r < a.out; ++r) {
    Phase f{};
    f.up = 1;
    f.first = r;
    f.step = step;
    f.count = (a.out - r + step - 1) / step;
    f.stride = step * a.stride / u;
    f.dilation = tap_step * a.dilation / u;
    f.tap_step = tap_step;
    f.before = before;
    for (int64_t k = 0; k < tap_step && k < a.kernel; ++k) {
      const int64_t at = r * a.stride + k * a.dilation - a.low;
      if (at % u != 0) continue;
      f.base = at / u;
      f.tap = k;
      f.taps = (a.kernel - k + tap_step - 1) / tap_step;
      break;
    }
    before += f.taps;
    phases.push_back(f);
  }
  return phases;
}

std::string check_axis(const Axis& a, int64_t high) {
  if (a.kernel < 1 || a.out < 1 || a.size < 1) return "jaxgroups: an axis is empty";
  for (const int64_t n : {a.stride, a.dilation}) {
    if (n < 1 || n > kLargest)
      return wrong("strides and dilations should be from 1 to 268435456", n);
  }
  if (a.lhs_dilation < 1 || a.lhs_dilation > kMostDilated) {
    return wrong("a dilation of the input should be from 1 to 4096", a.lhs_dilation);
  }
  for (const int64_t n : {a.low, high}) {
    if (n < -kLargest || n > kLargest) return wrong("a padding is too large", n);
  }
  const int64_t dilated = (a.size - 1) * a.lhs_dilation + 1 + a.low + high;
  const int64_t window = (a.kernel - 1) * a.dilation + 1;
  const int64_t out = dilated < window ? 0 : (dilated - window) / a.stride + 1;
  if (out != a.out)
    return wrong(("an axis of the result should have size " + std::to_string(out)).c_str(), a.out);
  return "";
}

Weights in_order(const Problem& p) {
  Weights w{};
  w.o = 1;
  w.g = p.o;
  w.c = p.groups * p.o;
  w.tap[2] = p.c * w.c;
  w.tap[1] = p.axis[2].kernel * w.tap[2];
  w.tap[0] = p.axis[1].kernel * w.tap[1];
  return w;
}

// The weights of a call with strides. Every weight has to be inside the array.
std::string check_weights(const Call& call, Plan& plan) {
  const Problem& p = plan.problem;
  const int64_t rank = call.x.size - 2;
  if (call.weight_strides.size != rank + 3) {
    return wrong("the weights should have one stride for each of their axes",
                 call.weight_strides.size);
  }
  Weights& w = plan.weights;
  w = {};
  w.offset = call.offset;
  w.c = call.weight_strides[rank];
  w.g = call.weight_strides[rank + 1];
  w.o = call.weight_strides[rank + 2];
  int64_t least = w.offset, most = w.offset;
  bool fits = true;
  const auto reach = [&](int64_t size, int64_t step) {
    int64_t span = 0;
    fits = fits && !__builtin_mul_overflow(size - 1, step, &span);
    int64_t& end = span < 0 ? least : most;
    fits = fits && !__builtin_add_overflow(end, span, &end);
  };
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t axis = i + 3 - rank;
    w.tap[axis] = call.weight_strides[i];
    reach(p.axis[axis].kernel, w.tap[axis]);
  }
  reach(p.c, w.c);
  reach(p.groups, w.g);
  reach(p.o, w.o);
  if (!fits || least < 0 || most >= call.elements) {
    return wrong("the weights should be inside their array", call.elements);
  }
  return "";
}

}  // namespace

std::string check(const Call& call, Plan& plan) {
  const int64_t rank = call.x.size - 2;
  if (rank < 1 || rank > 3) return wrong("there should be 1, 2 or 3 spatial axes", rank);
  if (call.w.size != rank + 2 || call.y.size != rank + 2) return "jaxgroups: ranks differ";
  for (const Ints* n : {&call.stride, &call.low, &call.high, &call.dilation, &call.lhs_dilation}) {
    if (n->size != rank) return wrong("an attribute should have one number per axis", n->size);
  }
  for (const Ints* n : {&call.x, &call.w, &call.y}) {
    if (elements(*n) < 0) return "jaxgroups: an array is too large";
  }
  Problem& p = plan.problem;
  p.batch = call.x[0];
  p.groups = call.groups;
  p.c = call.w[rank];
  const int64_t outputs = call.w[rank + 1];
  if (p.groups < 1) return wrong("groups should be positive", p.groups);
  if (call.y[0] != p.batch)
    return wrong("batches differ: the result should have the input's", call.y[0]);
  if (p.c < 1 || outputs < 1) return "jaxgroups: there are no channels";
  if (call.x[rank + 1] % p.groups != 0 || call.x[rank + 1] / p.groups != p.c) {
    return wrong("input channels should be groups times the channels of the kernel",
                 call.x[rank + 1]);
  }
  if (outputs % p.groups != 0) return wrong("outputs should be a multiple of groups", outputs);
  if (call.y[rank + 1] != outputs) return wrong("output channels differ", call.y[rank + 1]);
  p.o = outputs / p.groups;
  for (int i = 0; i < 3; ++i) {
    const int64_t from = i - (3 - rank);  // missing axes come first, of size 1
    Axis& a = p.axis[i];
    a = {1, 1, 1, 1, 0, 1, 1, 0, nullptr};
    if (from >= 0) {
      a = {call.x[from + 1],
           call.y[from + 1],
           call.w[from],
           call.stride[from],
           call.low[from],
           call.dilation[from],
           call.lhs_dilation[from],
           0,
           nullptr};
      const std::string error = check_axis(a, call.high[from]);
      if (!error.empty()) return error;
    }
    plan.phases[i] = phases_of(a);
    a.phases = (int64_t)plan.phases[i].size();
    a.phase = plan.phases[i].data();
  }
  if (call.weight_strides.size > 0) return check_weights(call, plan);
  plan.weights = in_order(p);
  return "";
}

template <class T>
const KernelsOf<T>& choose_kernels(const Kernels* const* isas, int count, bool gradient,
                                   Plan& plan) {
  const Problem& p = plan.problem;
  const KernelsOf<T>* chosen = nullptr;
  double least = 0;
  for (int i = 0; i < count; ++i) {
    const KernelsOf<T>& k = isas[i]->of<T>();
    // twice as wide is not always twice as fast, so fewer wasted lanes may beat wider vectors
    const int bytes = k.lanes * (int)sizeof(T);
    const double block_cost = bytes == 64 ? kCostWideVector : 1.0;
    BlockPlan b{};
    double cost = 0;
    for (const InputMode s : {InputMode::broadcast, InputMode::broadcast2, InputMode::broadcast4}) {
      if (s != InputMode::broadcast &&
          (!k.has_k_split || p.c % k_split(s) != 0 || p.c == k_split(s)))
        break;
      const int lanes = k.lanes / k_split(s);
      BlockPlan w{s, lanes, 1, 0, (p.o + lanes - 1) / lanes, 0, nullptr};
      w.count = p.groups * w.blocks_per_group;
      const double mode_cost =
          (bytes == 64 ? kCostWideBroadcast : 1.0) * (double)w.count / k_split(s);
      if (b.count > 0 && mode_cost >= cost) continue;
      b = w;
      cost = mode_cost;
    }
    if (p.c <= k.lanes && p.o <= k.lanes) {
      const int64_t groups_per_block = k.lanes / (p.c > p.o ? p.c : p.o);
      const int64_t blocks = (p.groups + groups_per_block - 1) / groups_per_block;
      const bool depthwise = p.c == 1 && p.o == 1;
      const double gather_cost = block_cost * (double)blocks * (depthwise ? 1.0 : kCostGather);
      if (depthwise || gather_cost < cost) {
        cost = gather_cost;
        b = {depthwise ? InputMode::depthwise : InputMode::gather,
             k.lanes,
             1,
             groups_per_block,
             0,
             blocks,
             nullptr};
      }
    }
    if (wide(b.mode)) {
      // several vectors share the broadcast of an input; with one tap they are needed for speed
      const bool single = p.axis[2].kernel == 1;
      for (const int v : {3, 2, 5}) {
        const bool made = v == 5 ? single && k.wide_registers
                                 : single || (v == 2 && k.wide_registers) || k.has_k_split;
        if (!made || b.blocks_per_group % v != 0) continue;
        b.vectors = v;
        b.blocks_per_group /= v;
        b.count /= v;
        break;
      }
      // and few registers leave a gradient of one tap no room for several pixels
      if (single && gradient && !k.wide_registers) cost *= kCostFewRegisters;
    }
    if (chosen == nullptr || cost < least) {
      chosen = &k;
      least = cost;
      plan.blocks = b;
    }
  }
  Axis& last = plan.problem.axis[2];
  if (last.lhs_dilation == 2 && last.stride == 1 && last.dilation == 1 &&
      chosen->takes_up(plan.blocks, last.kernel)) {
    plan.phases[2] = {{0, 1, last.out, -last.low, 1, 1, 0, 1, last.kernel, 0, 2}};
    last.phases = 1;
    last.phase = plan.phases[2].data();
  }
  if (plan.blocks.mode == InputMode::gather) {
    const int lanes = plan.blocks.lanes;
    plan.near.assign((size_t)(p.c * lanes), 0);
    for (int64_t i = 0; i < p.c; ++i) {
      for (int64_t l = 0; l < plan.blocks.groups_per_block * p.o; ++l) {
        plan.near[(size_t)(i * lanes + l)] = (int32_t)(l / p.o * p.c + i);
      }
    }
    plan.blocks.near = plan.near.data();
  }
  return *chosen;
}

template const KernelsOf<float>& choose_kernels<float>(const Kernels* const*, int, bool, Plan&);
template const KernelsOf<double>& choose_kernels<double>(const Kernels* const*, int, bool, Plan&);

}  // namespace jaxgroups
