// Compiled for each instruction set and dtype, with JG_ISA naming the set and JG_TYPE the dtype.
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

extern const KernelsOf<Number> JG_TABLE;
const KernelsOf<Number> JG_TABLE = {Vec<Number>::lanes, JG_VECTOR_BYTES == 64, kFolds<Number>, takes_up<Number>,
                                    forward<Number>, weight<Number>};

}  // namespace JG_ISA
}  // namespace jaxgroups
