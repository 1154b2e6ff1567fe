// The XLA FFI handlers. Nothing is taken on trust: see `check` in problem.h.
#include <algorithm>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

#include "runtime/huge_pages.h"
#include "runtime/isa.h"
#include "runtime/parallel_conv.h"
#include "runtime/parallel_sums.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace jaxgroups {
namespace {

using Numbers = ffi::Span<const int64_t>;

Ints ints(Numbers s) { return {s.begin(), (int64_t)s.size()}; }

std::string wrong(const char* what, int64_t got) {
  return std::string("jaxgroups: ") + what + ", but got " + std::to_string(got);
}

ffi::Error invalid(const std::string& message) { return ffi::Error::InvalidArgument(message); }

bool misaligned(const ffi::AnyBuffer& b) {
  return reinterpret_cast<uintptr_t>(b.untyped_data()) % ffi::ByteWidth(b.element_type()) != 0;
}

// XLA's pool. Between two convolutions of a network its threads run what XLA computes there, so
// they are awake. Threads of our own that waited awake took their cores: a step of ResNet-50 was a
// fifth slower.
Pool pool_of(ffi::ThreadPool& threads) {
  Pool pool;
  pool.threads = threads.num_threads();
  pool.schedule = [&threads](std::function<void()> f) { threads.Schedule(std::move(f)); };
  return pool;
}

// The numbers that all convolutions have.
Call call_of(Numbers dilation, int64_t groups, Numbers high, Numbers lhs_dilation, Numbers low,
             Numbers stride) {
  Call call{};
  call.stride = ints(stride);
  call.low = ints(low);
  call.high = ints(high);
  call.dilation = ints(dilation);
  call.lhs_dilation = ints(lhs_dilation);
  call.groups = groups;
  return call;
}

// What a forward convolution may have besides its two arrays. `layout` other than 0: the weights
// are packed, in this order.
struct More {
  std::optional<ffi::AnyBuffer> bias, residual;
  int64_t activation = 0, placed = 0, layout = 0;
  double alpha = 0, beta = 0;
};

// `call` lacks its shapes. `y` and `w` in turn are the result.
template <bool Forward>
ffi::Error convolve(ffi::ThreadPool& threads, Call call, const ffi::AnyBuffer& x,
                    const ffi::AnyBuffer& w, const ffi::AnyBuffer& y, const More& more = {}) {
  const std::optional<ffi::AnyBuffer>& bias = more.bias;
  const ffi::DataType type = x.element_type();
  if (type != ffi::DataType::F32 && type != ffi::DataType::F64) {
    return invalid("jaxgroups: the arrays should be float32 or float64");
  }
  if (w.element_type() != type || y.element_type() != type)
    return invalid("jaxgroups: dtypes differ");
  if (misaligned(x) || misaligned(w) || misaligned(y))
    return invalid("jaxgroups: misaligned array");
  for (const auto* const extra : {&more.bias, &more.residual}) {
    if (!*extra) continue;
    if ((*extra)->element_type() != type) return invalid("jaxgroups: dtypes differ");
    if (misaligned(**extra)) return invalid("jaxgroups: misaligned array");
  }
  if (more.residual) {
    const Numbers of = more.residual->dimensions(), like = y.dimensions();
    if (!std::equal(of.begin(), of.end(), like.begin(), like.end()))
      return invalid("jaxgroups: the residual should have the shape of the result");
  }
  call.x = ints(x.dimensions());
  call.y = ints(y.dimensions());
  call.elements = (int64_t)w.element_count();
  try {
    Plan plan{};
    const std::string error = check(call, plan);
    if (!error.empty()) return invalid(error);
    if (bias && (int64_t)bias->element_count() != plan.problem.groups * plan.problem.o) {
      return invalid("jaxgroups: the bias should have one number for each output channel");
    }
    for (const Axis& a : plan.problem.axis) {
      if (!Forward && a.lhs_dilation != 1) {
        return invalid("jaxgroups: a weight gradient has no dilated input");
      }
    }
    const ffi::AnyBuffer& result = Forward ? y : w;
    hint_huge_pages(result.untyped_data(), result.size_bytes());
    const Pool pool = pool_of(threads);
    const Isas& s = isas();
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      const T* const px = static_cast<const T*>(x.untyped_data());
      T* const pw = static_cast<T*>(w.untyped_data());
      T* const py = static_cast<T*>(y.untyped_data());
      if constexpr (Forward) {
        const T* const pb = bias ? static_cast<const T*>(bias->untyped_data()) : nullptr;
        Epilogue<T> epilogue{static_cast<Activation>(more.activation),
                             static_cast<Residual>(more.placed), static_cast<T>(more.alpha),
                             static_cast<T>(more.beta), 0};
        if (more.residual) {
          epilogue.apart =
              static_cast<int64_t>(reinterpret_cast<uintptr_t>(more.residual->untyped_data()) -
                                   reinterpret_cast<uintptr_t>(py));
        }
        PackedWeights<T> packed;
        if (more.layout != 0) packed = {pw, more.layout, (int64_t)w.element_count()};
        run_forward<T>(s.all + s.first, s.count - s.first, pool, plan, px, pw, pb, py, epilogue,
                       packed);
      } else {
        run_weight<T>(s.all + s.first, s.count - s.first, pool, plan, px, py, pw);
      }
    };
    if (type == ffi::DataType::F32) {
      run(0.0f);
    } else {
      run(0.0);
    }
  } catch (const std::invalid_argument& e) {
    return invalid(std::string("jaxgroups: ") + e.what());
  } catch (const std::exception& e) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, std::string("jaxgroups: ") + e.what());
  }
  return ffi::Error::Success();
}

// The weights may stand in any order in an array of any shape. There may be a bias.
ffi::Error forward(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::AnyBuffer w,
                   ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> y, Numbers dilation,
                   int64_t groups, Numbers high, Numbers lhs_dilation, Numbers low, Numbers stride,
                   int64_t weight_offset, Numbers weight_shape, Numbers weight_strides) {
  Call call = call_of(dilation, groups, high, lhs_dilation, low, stride);
  call.w = ints(weight_shape);
  call.weight_strides = ints(weight_strides);
  call.offset = weight_offset;
  if (call.weight_strides.size == 0) return invalid("jaxgroups: the weights have no strides");
  if (rest.size() > 1)
    return invalid("jaxgroups: there should be no more than two arrays and a bias");
  std::optional<ffi::AnyBuffer> bias;
  if (rest.size() == 1) {
    const ffi::ErrorOr<ffi::AnyBuffer> given = rest.get<ffi::AnyBuffer>(0);
    if (!given.has_value()) return given.error();
    bias = *given;
  }
  return convolve<true>(threads, call, x, w, *y, {bias});
}

// The same, with a residual and an activation after it. The arrays after the weights are the bias,
// if any, and the residual, if it has a place.
ffi::Error fused(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::AnyBuffer w,
                 ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> y, Numbers dilation,
                 int64_t groups, Numbers high, Numbers lhs_dilation, Numbers low, Numbers stride,
                 int64_t weight_offset, Numbers weight_shape, Numbers weight_strides,
                 int64_t activation, double alpha, double beta, int64_t packed, int64_t residual) {
  Call call = call_of(dilation, groups, high, lhs_dilation, low, stride);
  call.w = ints(weight_shape);
  call.weight_strides = ints(weight_strides);
  call.offset = weight_offset;
  if (packed != 0) {
    call.weight_strides = {};
  } else if (call.weight_strides.size == 0) {
    return invalid("jaxgroups: the weights have no strides");
  }
  if (activation < 0 || activation >= kActivations)
    return invalid(wrong("there is no activation of this number", activation));
  if (residual < 0 || residual >= kResiduals)
    return invalid(wrong("there is no place of the residual of this number", residual));
  const size_t added = residual ? 1 : 0;
  if (rest.size() < added || rest.size() > added + 1)
    return invalid("jaxgroups: there should be two arrays, perhaps a bias, and the residual");
  More more;
  more.activation = activation;
  more.placed = residual;
  more.layout = packed;
  more.alpha = alpha;
  more.beta = beta;
  for (size_t i = 0; i < rest.size(); ++i) {
    const ffi::ErrorOr<ffi::AnyBuffer> given = rest.get<ffi::AnyBuffer>(i);
    if (!given.has_value()) return given.error();
    (added && i + 1 == rest.size() ? more.residual : more.bias) = *given;
  }
  return convolve<true>(threads, call, x, w, *y, more);
}

ffi::Error weight_gradient(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::AnyBuffer y,
                           ffi::Result<ffi::AnyBuffer> w, Numbers dilation, int64_t groups,
                           Numbers high, Numbers lhs_dilation, Numbers low, Numbers stride) {
  Call call = call_of(dilation, groups, high, lhs_dilation, low, stride);
  call.w = ints(w->dimensions());
  return convolve<false>(threads, call, x, *w, y);
}

// The sums of ChannelSums; its arrays `b` and `shift` may be absent.
ffi::Error sum_channels(ffi::ThreadPool& threads, const ffi::AnyBuffer& a, const ffi::AnyBuffer* b,
                        const ffi::AnyBuffer* shift, const ffi::AnyBuffer& first,
                        const ffi::AnyBuffer& second) {
  const ffi::DataType type = a.element_type();
  if (type != ffi::DataType::F32 && type != ffi::DataType::F64)
    return invalid("jaxgroups: the arrays should be float32 or float64");
  const Numbers sizes = a.dimensions();
  if (sizes.size() != 3)
    return invalid(wrong("there should be three axes", static_cast<int64_t>(sizes.size())));
  for (const ffi::AnyBuffer* const array : {&a, b, shift, &first, &second}) {
    if (array == nullptr) continue;
    if (array->element_type() != type) return invalid("jaxgroups: dtypes differ");
    if (misaligned(*array)) return invalid("jaxgroups: misaligned array");
    const Numbers of = array->dimensions();
    const bool whole = array == &a || array == b;
    if (of.size() != (whole ? 3u : 2u) || of[0] != sizes[0] || of[of.size() - 1] != sizes[2] ||
        (whole && of[1] != sizes[1])) {
      return invalid("jaxgroups: the sizes of the arrays differ");
    }
  }
  const Pool pool = pool_of(threads);
  const Isas& s = isas();
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const auto of = [](const ffi::AnyBuffer* array) {
      return array == nullptr ? nullptr : static_cast<T*>(array->untyped_data());
    };
    run_channel_sums<T>(
        s.all[s.first]->of<T>(), pool,
        {sizes[0], sizes[1], sizes[2], of(&a), of(b), of(shift), of(&first), of(&second)});
  };
  try {
    if (type == ffi::DataType::F32) {
      run(0.0f);
    } else {
      run(0.0);
    }
  } catch (const std::exception& e) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, std::string("jaxgroups: ") + e.what());
  }
  return ffi::Error::Success();
}

ffi::Error channel_moments(ffi::ThreadPool threads, ffi::AnyBuffer x,
                           ffi::Result<ffi::AnyBuffer> mean, ffi::Result<ffi::AnyBuffer> var) {
  return sum_channels(threads, x, nullptr, nullptr, *mean, *var);
}

ffi::Error channel_sums(ffi::ThreadPool threads, ffi::AnyBuffer a, ffi::AnyBuffer b,
                        ffi::AnyBuffer shift, ffi::Result<ffi::AnyBuffer> first,
                        ffi::Result<ffi::AnyBuffer> second) {
  return sum_channels(threads, a, &b, &shift, *first, *second);
}

auto operands() {
  return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>();
}

template <class Binding>
auto attributes(Binding operands) {
  return std::move(operands)
      .template Ret<ffi::AnyBuffer>()
      .template Attr<Numbers>("dilation")
      .template Attr<int64_t>("groups")
      .template Attr<Numbers>("high")
      .template Attr<Numbers>("lhs_dilation")
      .template Attr<Numbers>("low")
      .template Attr<Numbers>("stride");
}

auto forward_binding() {
  return attributes(operands().RemainingArgs())
      .Attr<int64_t>("weight_offset")
      .Attr<Numbers>("weight_shape")
      .Attr<Numbers>("weight_strides");
}

auto fused_binding() {
  return forward_binding()
      .Attr<int64_t>("activation")
      .Attr<double>("alpha")
      .Attr<double>("beta")
      .Attr<int64_t>("packed")
      .Attr<int64_t>("residual");
}

auto weight_binding() { return attributes(operands()); }

auto moments_binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>();
}

auto sums_binding() {
  return operands().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>();
}

}  // namespace
}  // namespace jaxgroups

#define JG_EXPORT extern "C" __attribute__((visibility("default")))
JG_EXPORT XLA_FFI_Error* jaxgroups_forward(XLA_FFI_CallFrame*);
JG_EXPORT XLA_FFI_Error* jaxgroups_fused(XLA_FFI_CallFrame*);
JG_EXPORT XLA_FFI_Error* jaxgroups_weight_gradient(XLA_FFI_CallFrame*);
JG_EXPORT XLA_FFI_Error* jaxgroups_channel_moments(XLA_FFI_CallFrame*);
JG_EXPORT XLA_FFI_Error* jaxgroups_channel_sums(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_forward, jaxgroups::forward, jaxgroups::forward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_fused, jaxgroups::fused, jaxgroups::fused_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_weight_gradient, jaxgroups::weight_gradient,
                              jaxgroups::weight_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_channel_moments, jaxgroups::channel_moments,
                              jaxgroups::moments_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_channel_sums, jaxgroups::channel_sums,
                              jaxgroups::sums_binding());

// The hash of the sources this library was made of.
JG_EXPORT const char* jaxgroups_sources() { return JG_SOURCES; }

// Which memory the hints for huge pages cover, as a HintReach. Not while a convolution runs.
JG_EXPORT void jaxgroups_hint_huge_pages(int reach) {
  jaxgroups::hint_reach = static_cast<jaxgroups::HintReach>(reach);
}

// Packs the weights of a forward convolution once, for calls of `jaxgroups_fused`.
//
// `numbers`: rank, bytes of a number, groups, then x (N, *size, C), the kernel (*kernel, c, g o),
// y, strides, padding low and high, dilations, dilations of the input. `w` is the kernel in order.
// Returns the order in which the weights are packed, 0 if they cannot be. `size` becomes the number
// of packed numbers; they are written unless `packed` is null.
JG_EXPORT int64_t jaxgroups_pack(const int64_t* numbers, const void* w, void* packed,
                                 int64_t* size) {
  using namespace jaxgroups;
  const int64_t rank = numbers[0], bytes = numbers[1], groups = numbers[2];
  numbers += 3;
  if (rank < 1 || rank > 3 || (bytes != 4 && bytes != 8)) return 0;
  Call call{};
  call.groups = groups;
  const auto next = [&](int64_t count) {
    const Ints found{numbers, count};
    numbers += count;
    return found;
  };
  for (Ints* of : {&call.x, &call.w, &call.y}) *of = next(rank + 2);
  for (Ints* of : {&call.stride, &call.low, &call.high, &call.dilation, &call.lhs_dilation})
    *of = next(rank);
  Plan plan{};
  if (!check(call, plan).empty()) return 0;
  const Isas& s = isas();
  const auto run = [&](auto zero) -> int64_t {
    using T = decltype(zero);
    choose_kernels<T>(s.all + s.first, s.count - s.first, false, plan);
    const int64_t layout = layout_of(plan);
    if (layout == 0) return 0;
    *size = plan.packed(plan.blocks.count);
    if (packed != nullptr)
      pack(plan, 0, plan.blocks.count, static_cast<const T*>(w), static_cast<T*>(packed));
    return layout;
  };
  try {
    return bytes == 4 ? run(0.0f) : run(0.0);
  } catch (const std::exception&) {
    return 0;
  }
}
