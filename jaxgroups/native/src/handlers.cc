// The two XLA FFI handlers. Nothing is taken on trust: see `check` in plan.h.
#include <exception>

#include "run.h"
#include "sets.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace jaxgroups {
namespace {

Ints ints(ffi::Span<const int64_t> s) { return {s.begin(), (int64_t)s.size()}; }

ffi::Error invalid(const std::string& message) { return ffi::Error::InvalidArgument(message); }

bool misaligned(const ffi::AnyBuffer& b) {
  return reinterpret_cast<uintptr_t>(b.untyped_data()) % ffi::ByteWidth(b.element_type()) != 0;
}

// `third` is the result: y of a forward convolution, w of a weight gradient.
template <bool Forward>
ffi::Error convolve(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::AnyBuffer second,
                    ffi::Result<ffi::AnyBuffer> third, ffi::Span<const int64_t> dilation,
                    int64_t groups, ffi::Span<const int64_t> high,
                    ffi::Span<const int64_t> lhs_dilation, ffi::Span<const int64_t> low,
                    ffi::Span<const int64_t> stride) {
  const ffi::AnyBuffer w = Forward ? second : *third, y = Forward ? *third : second;
  const ffi::DataType type = x.element_type();
  if (type != ffi::DataType::F32 && type != ffi::DataType::F64) {
    return invalid("jaxgroups: the arrays should be float32 or float64");
  }
  if (w.element_type() != type || y.element_type() != type) return invalid("jaxgroups: dtypes differ");
  if (misaligned(x) || misaligned(w) || misaligned(y)) return invalid("jaxgroups: misaligned array");
  const Call call{ints(x.dimensions()), ints(w.dimensions()), ints(y.dimensions()),
                  ints(stride), ints(low), ints(high), ints(dilation), ints(lhs_dilation), groups};
  try {
    Plan plan{};
    const std::string error = check(call, plan);
    if (!error.empty()) return invalid(error);
    if (!Forward) {
      for (const int64_t u : lhs_dilation) {
        if (u != 1) return invalid("jaxgroups: a weight gradient has no dilated input");
      }
    }
    Pool pool;
    pool.threads = threads.num_threads();
    pool.schedule = [&](std::function<void()> f) { threads.Schedule(std::move(f)); };
    const Sets& s = sets();
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      const T* const px = static_cast<const T*>(x.untyped_data());
      T* const pw = static_cast<T*>(w.untyped_data());
      T* const py = static_cast<T*>(y.untyped_data());
      if (Forward) {
        run_forward<T>(s.all + s.first, s.count - s.first, pool, plan, px, pw, py);
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

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>()
      .Attr<ffi::Span<const int64_t>>("dilation")
      .Attr<int64_t>("groups")
      .Attr<ffi::Span<const int64_t>>("high")
      .Attr<ffi::Span<const int64_t>>("lhs_dilation")
      .Attr<ffi::Span<const int64_t>>("low")
      .Attr<ffi::Span<const int64_t>>("stride");
}

}  // namespace
}  // namespace jaxgroups

#define JG_EXPORT extern "C" __attribute__((visibility("default")))
JG_EXPORT XLA_FFI_Error* jaxgroups_forward(XLA_FFI_CallFrame*);
JG_EXPORT XLA_FFI_Error* jaxgroups_weight_gradient(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_forward, jaxgroups::convolve<true>, jaxgroups::binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxgroups_weight_gradient, jaxgroups::convolve<false>, jaxgroups::binding());

// The hash of the sources this library was made of.
JG_EXPORT const char* jaxgroups_sources() { return JG_SOURCES; }
