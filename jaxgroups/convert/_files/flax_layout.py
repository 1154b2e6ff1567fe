"""The metadata of a .safetensors file in Flax layout, and its names of counters."""

FORMAT_KEY = "jaxgroups.format"  # prevents that a file is converted twice
FORMAT = "flax-v1"
PLAN_KEY = "jaxgroups.plan"  # digest of the plan, the only one that converts the file back
SOURCE_KEY = "jaxgroups.source_sha256"
READER_KEY = "jaxgroups.reader"  # the reader of the source; verify uses another one
COUNTER_PREFIX = "torch:"  # before the torch key of a tensor that no Flax parameter contains
