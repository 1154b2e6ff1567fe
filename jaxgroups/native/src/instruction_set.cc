// Compiled once for each instruction set, with JG_ISA naming it: its table of kernels.
#include "forward_rows.h"
#include "weight_rows.h"

#define JG_STRING(x) JG_STRING_(x)
#define JG_STRING_(x) #x

namespace jaxgroups {
namespace JG_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    JG_STRING(JG_ISA),
    {Vec<float>::lanes, JG_VECTOR_BYTES == 64, forward<float>, weight<float>},
    {Vec<double>::lanes, JG_VECTOR_BYTES == 64, forward<double>, weight<double>},
};

}  // namespace JG_ISA
}  // namespace jaxgroups
