// Compiled for each instruction set and dtype, with JG_ISA naming the set and JG_TYPE the dtype:
// rows and table once, and the kernels once for each JG_SPREAD, for all at once take gigabytes.
#include "forward_rows.h"
#include "weight_rows.h"

namespace jaxgroups {
namespace JG_ISA {

#if JG_TYPE == 32
typedef float Number;
#define JG_TABLE f32
#else
typedef double Number;
#define JG_TABLE f64
#endif

#define JG_KERNELS(S)                                                                             \
  JG_OF template TileKernel<Number> tile_kernel<Number, S>(const Blocks&, Shape&, int64_t, int&);  \
  JG_OF template TileKernel<Number> pair_kernel<Number, S>(Shape, int64_t, int&);                  \
  JG_OF template StripKernel<Number> strip_kernel<Number, S>(const Blocks&, Shape, int64_t, int64_t, Cover&);

#ifdef JG_SPREAD
#define JG_OF
JG_KERNELS(Spread::JG_SPREAD)
#else
#define JG_OF extern
JG_KERNELS(Spread::lanes)
JG_KERNELS(Spread::near)
JG_KERNELS(Spread::broadcast)
JG_KERNELS(Spread::pairs)
JG_KERNELS(Spread::quads)

extern const KernelsOf<Number> JG_TABLE;
const KernelsOf<Number> JG_TABLE = {Vec<Number>::lanes, JG_VECTOR_BYTES == 64, kFolds<Number>, takes_up<Number>,
                                    forward<Number>, weight<Number>};
#endif

}  // namespace JG_ISA
}  // namespace jaxgroups
