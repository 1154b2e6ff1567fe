// The two XLA FFI handlers. Nothing is taken on trust: see `check` in problem.h.
#include <exception>
#include <optional>
#include <utility>

#include "runtime/huge_pages.h"
#include "runtime/isa.h"
#include "runtime/parallel_conv.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace jaxgroups {
namespace {

Ints ints(ffi::Span<const int64_t> s) { return {s.begin(), (int64_t)s.size()}; }

ffi::Error invalid(const std::string& message) { return ffi::Error::InvalidArgument(message); }

bool misaligned(const ffi::AnyBuffer& b) {
  return reinterpret_cast<uintptr_t>(b.untyped_data()) % ffi::ByteWidth(b.element_type()) != 0;
}

// `call` lacks its shapes. `y` and `w` in turn are the result.
template <bool Forward>
ffi::Error convolve(ffi::ThreadPool& threads, Call call, const ffi::AnyBuffer& x,
                    const ffi::AnyBuffer& w, const ffi::AnyBuffer& y,
                    std::optional<ffi::AnyBuffer> bias = {}) {
  const ffi::DataType type = x.element_type();
  if (type != ffi::DataType::F32 && type != ffi::DataType::F64) {
    return invalid("jaxgroups: the arrays should be float32 or float64");
  }
  if (w.element_type() != type || y.element_type() != type)
    return invalid("jaxgroups: dtypes differ");
  if (misaligned(x) || misaligned(w) || misaligned(y))
    return invalid("jaxgroups: misaligned array");
  if (bias) {
    if (bias->element_type() != type) return invalid("jaxgroups: dtypes differ");
    if (misaligned(*bias)) return invalid("jaxgroups: misaligned array");
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
    Pool pool;
    pool.threads = threads.num_threads();
    pool.schedule = [&](std::function<void()> f) { threads.Schedule(std::move(f)); };
    const Isas& s = isas();
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      const T* const px = static_cast<const T*>(x.untyped_data());
      T* const pw = static_cast<T*>(w.untyped_data());
      T* const py = static_cast<T*>(y.untyped_data());
      if constexpr (Forward) {
        const T* const pb = bias ? static_cast<const T*>(bias->untyped_data()) : nullptr;
        run_forward<T>(s.all + s.first, s.count - s.first, pool, plan, px, pw, pb, py);
      } else {
        run_weight<T>(s.all + s.first, s.count - s.first, pool, plan, px, py, pw);
      }
    };
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

using Numbers = ffi::Span<const int64_t>;

// The weights may stand in any order in an array of any shape. There may be a bias.
ffi::Error forward(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::AnyBuffer w,
                   ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> y, Numbers dilation,
                   int64_t groups, Numbers high, Numbers lhs_dilation, Numbers low, Numbers stride,
                   int64_t weight_offset, Numbers weight_shape, Numbers weight_strides) {
  Call call{{},
            ints(weight_shape),
            {},
            ints(stride),
            ints(low),
            ints(high),
            ints(dilation),
            ints(lhs_dilation),
            groups,
            ints(weight_strides),
            weight_offset,
            0};
  if (call.weight_strides.size == 0) return invalid("jaxgroups: the weights have no strides");
  if (rest.size() > 1)
    return invalid("jaxgroups: there should be no more than two arrays and a bias");
  std::optional<ffi::AnyBuffer> bias;
  if (rest.size() == 1) {
    const ffi::ErrorOr<ffi::AnyBuffer> given = rest.get<ffi::AnyBuffer>(0);
    if (!given.has_value()) return given.error();
    bias = *given;
  }
  return convolve<true>(threads, call, x, w, *y, bias);
}

ffi::Error weight_gradient(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::AnyBuffer y,
                           ffi::Result<ffi::AnyBuffer> w, Numbers dilation, int64_t groups,
                           Numbers high, Numbers lhs_dilation, Numbers low, Numbers stride) {
  const Call call{{},
                  ints(w->dimensions()),
                  {},
                  ints(stride),
                  ints(low),
                  ints(high),
                  ints(dilation),
                  ints(lhs_dilation),
                  groups,
                  {},
                  0,
                  0};
  return convolve<false>(threads, call, x, *w, y);
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

auto weight_binding() { return attributes(operands()); }

}  // namespace
}  // namespace jaxgroups

#define JG_EXPORT extern "C" __attribute__((visibility("default")))
JG_EXPORT XLA_FFI_Error* jaxgroups_forward(XLA_FFI_CallFrame*);
JG_EXPORT XLA_FFI_Error* jaxgroups_weight_gradient(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_forward, jaxgroups::forward, jaxgroups::forward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_weight_gradient, jaxgroups::weight_gradient,
                              jaxgroups::weight_binding());

// The hash of the sources this library was made of.
JG_EXPORT const char* jaxgroups_sources() { return JG_SOURCES; }

// Which memory the hints for huge pages cover, as a HintReach. Not while a convolution runs.
JG_EXPORT void jaxgroups_hint_huge_pages(int reach) {
  jaxgroups::hint_reach = static_cast<jaxgroups::HintReach>(reach);
}
