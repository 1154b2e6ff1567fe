// Sizes of one problem, plain data shared by all instruction sets.
//
// Every problem is lifted to three spatial axes. On each axis, output p and tap k meet the input at
//
//     (p s + k d - low) / u        s stride, d dilation, u dilation of the input
//
// where that is whole and inside. Outputs with equal p mod P, P = u / gcd(s, u), meet the same taps
// k = k0 + K j, K = u / gcd(d, u): with p = r + P q each such phase is a plain convolution
//
//     base + q s' + j d'           s' = P s / u,  d' = K d / u,  base = (r s + k0 d - low) / u
//
// so that no inserted zero is ever multiplied. Without a dilated input there is one phase. Where
// u = 2 on the last axis, a kernel may take both phases at once: one phase with `up` = 2, whose
// output q and tap j meet (base + q + j) / 2.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxgroups {

struct Phase {
  int64_t first, step, count;      // outputs first + step q, q < count
  int64_t base, stride, dilation;  // input of output q and tap j: base + q stride + j dilation
  int64_t tap, tap_step, taps;     // taps tap + tap_step j, j < taps
  int64_t before;                  // number of taps of the phases before this one
  int64_t up;
};

struct Axis {
  int64_t size, out, kernel;
  int64_t stride, low, dilation, lhs_dilation;
  int64_t phases;      // how many `phase` holds
  const Phase* phase;  // phase of output p: p % phases
};

// What a vector of outputs reads of the input.
enum class InputMode {
  depthwise,   // depthwise: lane i of the input
  gather,      // small groups: one of the `lanes` next input channels, by a table for each channel
  broadcast,   // wide groups: one channel for all lanes
  broadcast2,  // wide groups: two channels in turn, two lanes for each output, added at the end
  broadcast4,  // wide groups: four channels in turn
};

constexpr bool wide(InputMode s) { return s >= InputMode::broadcast; }

// How many lanes, each with an input channel of its own, are the sum of one output.
constexpr int k_split(InputMode s) {
  return s == InputMode::broadcast2 ? 2 : s == InputMode::broadcast4 ? 4 : 1;
}

struct Problem {
  int64_t batch, groups, c, o;  // c and o are channels of one group
  Axis axis[3];
};

// How the outputs are cut into vectors: block b covers `vectors` vectors of `lanes` outputs (a
// vector has `k_split` times as many lanes).
struct BlockPlan {
  InputMode mode;
  int lanes, vectors;
  int64_t groups_per_block;  // depthwise and gather; the last block may have fewer
  int64_t blocks_per_group;  // wide groups
  int64_t count;
  const int32_t* near;  // [c][lanes]: input channel of each lane, within a block
};

struct ChannelBlock {
  int64_t x, y;  // first input and output channel
  int nx, ny;    // channels that may be read as one vector; outputs that exist
};

// Functions of this header are static: each object has its own copy, compiled with its own
// instruction set. The linker would keep one copy of an inline function, perhaps one that this
// processor cannot run.
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int64_t kLine = 64;  // bytes of a line of the cache

// How many pixels, `distance` bytes apart, fit in the first-level cache without conflict misses. It
// assumes 64 sets of 8 ways (32 KiB): addresses a power of two apart share few of the sets.
static inline int64_t places(int64_t distance) {
  constexpr int64_t kSets = 64, kWays = 8;
  int64_t sets = kSets;
  if (distance % kLine == 0) {
    for (int64_t d = distance / kLine; d % 2 == 0 && sets > 1; d /= 2) sets /= 2;
  }
  return sets * kWays;
}

static inline ChannelBlock block_of(const Problem& p, const BlockPlan& blocks, int64_t index) {
  ChannelBlock b;
  if (wide(blocks.mode)) {
    const int64_t width = int64_t{blocks.lanes} * blocks.vectors;
    const int64_t group = index / blocks.blocks_per_group;
    const int64_t within = index % blocks.blocks_per_group * width;
    b.x = group * p.c;
    b.y = group * p.o + within;
    b.nx = 1;
    b.ny = (int)smaller(width, p.o - within);
    return b;
  }
  const int64_t group = index * blocks.groups_per_block;
  const int64_t groups = smaller(blocks.groups_per_block, p.groups - group);
  b.x = group * p.c;
  b.y = group * p.o;
  b.nx = (int)(groups * p.c);
  b.ny = (int)(groups * p.o);
  return b;
}

// Taps [from, to) of a phase whose input, start + j dilation, is inside the axis.
struct Taps {
  int64_t from, to;
};

static inline Taps taps_inside(int64_t start, int64_t dilation, int64_t taps, int64_t size) {
  Taps t;
  t.from = start < 0 ? smaller((-start + dilation - 1) / dilation, taps) : 0;
  t.to = start < size ? smaller((size - start + dilation - 1) / dilation, taps) : 0;
  if (t.to < t.from) t.to = t.from;
  return t;
}

// Where the packed weights of three phases begin, counted in taps: the phases of an axis share out
// its taps, so the phases of all axes tile the kernel.
static inline int64_t taps_before(const Problem& p, const Phase& d, const Phase& h,
                                  const Phase& w) {
  return d.before * p.axis[1].kernel * p.axis[2].kernel +
         d.taps * (h.before * p.axis[2].kernel + h.taps * w.before);
}

}  // namespace jaxgroups
