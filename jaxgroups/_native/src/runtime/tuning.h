// The constants that were chosen by measurement, in one place.
//
// They were chosen on AMD Zen 4 and Zen 5 with `python -m benchmarks.ops`, by trying a few values
// each. None was swept systematically, and none was chosen on another processor. The sizes assume
// caches of 32 KiB (first level) and 512 KiB or more (second level). The correctness of results
// does not depend on them, but the order of sums, and so the last bits, may.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxgroups {

// --- Packing and blocking (parallel_conv.h) ---

// Bytes of packed weights that stay in the first-level cache: half of 32 KiB.
constexpr int64_t kL1PackedBytes = 16384;

// Bytes of packed weights of a task: half of a second-level cache of 512 KiB.
constexpr int64_t kL2PackedBytes = 1 << 18;

// Bytes of the input of one band of rows, which stays in the second-level cache.
constexpr int64_t kBandBytes = 1 << 17;

// Elements of the partial sums of a weight gradient that are few enough to add up at the end.
constexpr int64_t kReducedElements = 1 << 17;

// Output pixels of a task, at least, so that packing the weights is a small part of its work.
constexpr int64_t kMinTaskPixels = 64;

// Multiplications of a task, at least: some microseconds, much more than starting it costs.
constexpr double kMinTaskMultiplications = 200e3;

// Bytes of all packed weights from which tasks share out blocks before rows: each packs its own.
constexpr int64_t kManyWeightsBytes = 65536;

// Output pixels of one part of a weight gradient: at least the first number, and from the second on
// there may be as many parts as pixels allow.
constexpr int64_t kMinGradientPixels = 256;
constexpr int64_t kManyGradientPixels = 1024;

// Elements of partial sums below which one thread adds them all.
constexpr int64_t kSerialReductionElements = 32768;

// --- Copies of channels (copy_plan_of in parallel_conv.h, copy_channels.h) ---

// Elements that a task may copy.
constexpr int64_t kCopied = 1 << 16;

// Bytes in one piece from which copying runs at full speed.
constexpr int64_t kCopyPieceBytes = 512;

// Bytes of an input that the last-level cache holds.
constexpr int64_t kCachedInputBytes = 1 << 23;

// Distances of pixels, in bytes, whose multiples conflict in the first-level cache so much that a
// copy pays: in a weight gradient, in a forward convolution, and in one with several phases of
// rows.
constexpr int64_t kConflictBytesGradient = 2048;
constexpr int64_t kConflictBytesForward = 4096;
constexpr int64_t kConflictBytesPhases = 2048;

// Tasks, at most, that few rows are cut into along their columns. It is more than most machines
// have threads, on whose number it must not depend: see run_forward. Not swept.
constexpr int64_t kMostColumnTasks = 32;

// --- Microkernels (forward_kernels.h, forward_rows.h, weight_rows.h) ---

// Pixels, at least, that one pass over the packed weights computes.
constexpr int64_t kMinBandPixels = 96;

// Bytes of an image from which the next tile's lines are prefetched: it is in no near cache.
constexpr int64_t kPrefetchFromBytes = 1 << 19;

// Independent accumulators, at least, that hide the latency of an FMA (4 cycles).
constexpr int64_t kMinAccumulators = 4;

// Products that one register accumulates before it is added to a sum in memory: bounds the error.
constexpr int64_t kMaxTerms = 96;

// Pixels of a strip of rows in a weight gradient: a vector of x and of y for each fit in L1.
constexpr int64_t kStripPixels = 128;

// --- Choice of the instruction set and mode (choose_kernels in problem.cc) ---

// Cost of a block relative to one of a 32-byte vector: 64-byte vectors are not twice as fast.
constexpr double kCostWideVector = 1.7;     // depthwise and gather
constexpr double kCostWideBroadcast = 1.1;  // broadcast modes
constexpr double kCostGather = 1.15;        // gather, relative to depthwise
constexpr double kCostFewRegisters = 1.5;   // a gradient of one tap with 16 registers

// --- Sums over the rows of a matrix (kernels/channel_sums.h, parallel_sums.h) ---

// Elements of a band of rows: all columns are summed over it before the next one, while it is in
// the L1 cache. Not swept.
constexpr int64_t kSumsBand = 4096;

// Elements of a task, and its rows at least. Not swept.
constexpr int64_t kSumsPart = 1 << 15;
constexpr int64_t kSumsRows = 16;

// --- Hints for huge pages (huge_pages.h) ---

// Bytes of a result from which malloc takes its memory from the system (glibc's M_MMAP_THRESHOLD).
constexpr size_t kHintFromBytes = 128 << 10;

// The hint covers up to this many times the result on either side: a training step's scratch memory
// is some tens of times one result.
constexpr size_t kHintTimes = 32;

// But no more than this on either side. It bounds the time of the search (128 calls of mincore,
// below 0.1 ms) and how much memory of XLA's allocator the hint may reach. Not swept.
constexpr size_t kHintMostBytes = size_t{256} << 20;

}  // namespace jaxgroups
