"""How a .safetensors file in Flax layout is marked: metadata and the names of counters."""

FORMAT_KEY = "jaxgroups.format"  # keeps a file from being converted twice
FORMAT = "flax-v1"
PLAN_KEY = "jaxgroups.plan"  # digest of the plan, the only one that converts the file back
SOURCE_KEY = "jaxgroups.source_sha256"
READER_KEY = "jaxgroups.reader"  # which reader the source was read by; verify takes another
COUNTER_PREFIX = "torch:"  # in front of the torch key of a tensor that no Flax parameter holds
