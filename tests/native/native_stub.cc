// A library that answers as the kernels do, but speaks another version of XLA's FFI interface.
#include "xla/ffi/api/c_api.h"

extern "C" {

XLA_FFI_Error* jaxgroups_forward(XLA_FFI_CallFrame* frame) {
  XLA_FFI_Extension_Base* const asked = frame->extension_start;
  if (asked != nullptr && asked->type == XLA_FFI_Extension_Metadata) {
    XLA_FFI_Api_Version& version =
        reinterpret_cast<XLA_FFI_Metadata_Extension*>(asked)->metadata->api_version;
    version.major_version = JG_MAJOR;
    version.minor_version = JG_MINOR;
  }
  return nullptr;
}

XLA_FFI_Error* jaxgroups_weight_gradient(XLA_FFI_CallFrame* frame) {
  return jaxgroups_forward(frame);
}

XLA_FFI_Error* jaxgroups_fused(XLA_FFI_CallFrame* frame) { return jaxgroups_forward(frame); }

const char* jaxgroups_sources() { return JG_SOURCES; }
const char* jaxgroups_instruction_set(int i) { return i == 0 ? "baseline" : nullptr; }
int jaxgroups_use_instruction_set(const char*) { return 1; }
}
extern "C" void jaxgroups_hint_huge_pages(int) {}
