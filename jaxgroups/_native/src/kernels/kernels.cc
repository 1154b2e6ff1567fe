// Compiled for each instruction set and dtype, with JG_ISA naming the set and JG_TYPE the dtype:
// rows and table once, and the kernels once for each JG_MODE, for all at once take gigabytes.
#include "kernels/channel_sums.h"
#include "kernels/forward_rows.h"
#include "kernels/weight_rows.h"

namespace jaxgroups {
namespace JG_ISA {

#if JG_TYPE == 32
using Number = float;
#define JG_TABLE f32
#else
using Number = double;
#define JG_TABLE f64
#endif

#define JG_KERNELS(S)                                                                          \
  JG_OF template TileKernel<Number> tile_kernel<Number, S>(const BlockPlan&, Shape&, int64_t,  \
                                                           int&);                              \
  JG_OF template TileKernel<Number> pair_kernel<Number, S>(Shape, int64_t, int&);              \
  JG_OF template StripKernel<Number> strip_kernel<Number, S>(const BlockPlan&, Shape, int64_t, \
                                                             int64_t, KernelShape&);

#ifdef JG_MODE
#define JG_OF
JG_KERNELS(InputMode::JG_MODE)
#else
#define JG_OF extern
JG_KERNELS(InputMode::depthwise)
JG_KERNELS(InputMode::gather)
JG_KERNELS(InputMode::broadcast)
JG_KERNELS(InputMode::broadcast2)
JG_KERNELS(InputMode::broadcast4)

extern const KernelsOf<Number> JG_TABLE;
const KernelsOf<Number> JG_TABLE = {Vec<Number>::lanes,  JG_VECTOR_BYTES == 64, kHasKSplit<Number>,
                                    takes_up<Number>,    forward<Number>,       weight<Number>,
                                    channel_sums<Number>};
#endif

}  // namespace JG_ISA
}  // namespace jaxgroups
