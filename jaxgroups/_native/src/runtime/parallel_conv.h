// A checked problem over a pool: weights packed, work split, partial sums added.
#pragma once

#include <algorithm>

#include "runtime/packed_weights.h"
#include "runtime/parallel.h"
#include "runtime/problem.h"
#include "runtime/scratch_pool.h"

namespace jaxgroups {

inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A grid of rows times blocks, cut into `row_parts` by `block_parts`.
struct Split {
  int64_t rows, blocks, row_parts, block_parts;
  int64_t count() const { return row_parts * block_parts; }
  template <class Task>
  void fill(int64_t i, Task& t) const {
    const int64_t r = i / block_parts, b = i % block_parts;
    t.row = rows * r / row_parts;
    t.row_end = rows * (r + 1) / row_parts;
    t.block = blocks * b / block_parts;
    t.block_end = blocks * (b + 1) / block_parts;
  }
};

inline double multiplications(const Plan& plan) {
  const Problem& p = plan.problem;
  double per_axis = 1;
  for (const Axis& a : p.axis)
    per_axis *= static_cast<double>(a.out) * static_cast<double>(a.kernel) /
                static_cast<double>(a.lhs_dilation);
  return per_axis * static_cast<double>(p.batch) * static_cast<double>(p.c) *
         static_cast<double>(p.o) * static_cast<double>(p.groups);
}

// Channels copied together: where pixels lie so far apart, by a multiple of a power of two, that
// they share few places of the first cache, and a tile reads more of them than there are places.
// Wide groups have so much to do with each number that only the worst distances matter. And a
// large input, of which short pieces come slowly, is better read once, in whole pixels.
struct CopyPlan {
  int64_t unit, units;  // blocks that read the same channels; how many such are copied at a time
  int64_t rows;         // of outputs, whose input is copied at a time; 0: nothing is copied
  int64_t end(int64_t block) const { return (block / unit + units) * unit; }
};

// Output rows of one image whose input, so many channels of it, may be copied at a time.
inline int64_t rows_copied(const Problem& p, int64_t channels) {
  const Axis& h = p.axis[1];
  const int64_t in = kCopied / (p.axis[2].size * channels);
  if (in >= p.axis[0].size * h.size) return p.axis[0].out * h.out;
  if (p.axis[0].size != 1 || p.axis[0].out != 1) return 0;  // only whole images of three axes
  const int64_t span = (in - 2) * h.lhs_dilation - (h.kernel - 1) * h.dilation;
  return span < 0 ? 0 : (span / h.stride + 1) / (2 * h.phases) * (2 * h.phases);
}

inline CopyPlan copy_plan_of(const Plan& plan, int64_t size) {
  const Problem& p = plan.problem;
  const bool broadcast = wide(plan.blocks.mode);
  const int64_t distance = p.groups * p.c * size;
  double lines = 1,
         pixels = static_cast<double>(p.batch);  // whole numbers, but perhaps very large ones
  for (int i = 0; i < 3; ++i) {
    const Axis& a = p.axis[i];
    pixels *= static_cast<double>(a.size);
    lines *= (double)divide_up((i == 2 ? 8 * a.stride : 0) + a.kernel, a.lhs_dilation);
  }
  // a vector that is a whole line is read by one block alone, once for each row of outputs or two
  const bool once = plan.blocks.mode == InputMode::depthwise && plan.blocks.lanes * size >= kLine;
  const int64_t room = (once ? 4 : 1) * places(distance);
  const int64_t channels = p.c * (broadcast ? 1 : plan.blocks.groups_per_block);
  const int64_t unit = broadcast ? plan.blocks.blocks_per_group : 1;
  const int64_t worst = p.axis[1].phases > 1 ? kConflictBytesPhases : kConflictBytesForward;
  const bool cached =
      pixels * static_cast<double>(distance) < static_cast<double>(kCachedInputBytes);
  const bool crowded = broadcast
                           ? distance % worst == 0
                           : cached && distance % kLine == 0 && lines > static_cast<double>(room);
  const int64_t most = at_least(1, kL2PackedBytes / (plan.packed(unit) * size));
  int64_t units = crowded ? at_most(most, divide_up(kCopyPieceBytes, channels * size)) : 0,
          rows = 0;
  for (; units > 0 && units * channels * size >= kLine; units /= 2) {
    rows = rows_copied(p, units * channels);
    if (rows >= at_most(8 * p.axis[1].phases, p.axis[1].out)) return {unit, units, rows};
  }
  return {1, 1, 0};
}

// Enough tasks that threads finish blocks_in_l1, none so small that handing it out costs more.
inline int64_t tasks_wanted(const Plan& plan, int64_t most) {
  const double tasks = multiplications(plan) / kMinTaskMultiplications;
  return tasks < 2 ? 1 : tasks < static_cast<double>(most) ? static_cast<int64_t>(tasks) : most;
}

// Output rows of one image whose input stays in the second cache while all blocks pass over it:
// two of each phase, which go blocks_in_l1, or more.
inline int64_t rows_cached(const Problem& p, int64_t size) {
  const Axis& h = p.axis[1];
  const int64_t row =
      at_most(p.axis[0].kernel, p.axis[0].size) * p.axis[2].size * p.groups * p.c * size;
  const int64_t in = kBandBytes / row, pair = 2 * h.phases;
  const int64_t span = in * h.lhs_dilation - (h.kernel - 1) * h.dilation;
  return at_least(pair, span < 0 ? 0 : (span / h.stride + 1) / pair * pair);
}

// A task packs the weights of many blocks, and takes a band of rows after the other: few blocks
// at a time pass over it, whose weights stay in the first cache. `bias`, one number for each output
// channel, may be null. So may `packed`: what `pack_all` made of the weights, which are not read
// then.
template <class T>
void run_forward(const Kernels* const* isas, int count, const Pool& pool, Plan& plan, const T* x,
                 const T* w, const T* bias, T* y, const Epilogue<T>& epilogue = {},
                 const PackedWeights<T>& once = {}) {
  if (plan.problem.batch == 0) return;
  const KernelsOf<T>& kernels = choose_kernels<T>(isas, count, false, plan);
  check_packed(plan, once);
  const int64_t blocks = plan.blocks.count, rows = plan.rows(),
                bytes = plan.packed(1) * static_cast<int64_t>(sizeof(T));
  const int64_t wanted = pool.threads == 1 ? 1 : tasks_wanted(plan, 6 * pool.threads);
  // as packing costs as much as some pixels, a task should have many more
  const int64_t most_parts = at_least(1, rows * plan.problem.axis[2].out / kMinTaskPixels);
  const CopyPlan copies = copy_plan_of(plan, sizeof(T));
  Split split{rows, blocks, 1, 1};
  const int64_t block_units = divide_up(blocks, copies.unit * copies.units);
  if (bytes * blocks > kManyWeightsBytes) {  // many weights: few are packed by several tasks
    split.block_parts = at_most(block_units, wanted);
    split.row_parts = at_most(most_parts, wanted / split.block_parts);
  } else {  // rows first, of whole images where these share what is copied
    const int64_t parts = at_most(copies.rows > 0 ? plan.problem.batch : most_parts, wanted);
    split.row_parts = at_most(parts, rows);
    split.block_parts = at_most(block_units, divide_up(wanted, split.row_parts));
    if (copies.rows > 0)
      split.row_parts = at_most(most_parts, divide_up(wanted, split.block_parts));
  }
  if (split.count() < at_most(wanted, pool.threads)) {
    split.row_parts = divide_up(at_most(wanted, pool.threads), split.block_parts);
  }
  split.row_parts = at_most(split.row_parts, rows);
  // Where rows are few, as in one dimension, columns. The last bits of a sum depend on the tile
  // that computes it, so the number of parts depends on the problem alone, not on the threads.
  int64_t column_parts = 1;
  if (copies.rows == 0 && plan.phases[2].size() == 1) {
    column_parts = at_least(
        1, at_most(divide_up(tasks_wanted(plan, kMostColumnTasks), rows), most_parts / rows));
  }
  if (column_parts > 1) split.row_parts = rows;
  const int64_t columns = plan.problem.axis[2].out;
  const int64_t blocks_in_l1 = at_most(blocks, at_least(1, kL1PackedBytes / bytes));
  const int64_t blocks_in_l2 = at_most(blocks, at_least(blocks_in_l1, kL2PackedBytes / bytes));
  const int64_t band = copies.rows ? copies.rows : rows_cached(plan.problem, sizeof(T));
  parallel(pool, split.count() * column_parts, [&](int64_t i) {
    const int64_t most = at_most(blocks, copies.rows ? copies.unit * copies.units : blocks_in_l2);
    Scratch<T> packed(once.data == nullptr ? plan.packed(most) : 0);
    Scratch<T> begin(most * plan.lanes() * k_split(plan.blocks.mode));
    Scratch<T> copied(copies.rows ? kCopied : 0);
    ForwardTask<T> task{&plan.problem,
                        &plan.blocks,
                        x,
                        packed.data,
                        begin.data,
                        y,
                        copied.data,
                        band,
                        blocks_in_l1,
                        0,
                        0,
                        0,
                        0,
                        &epilogue,
                        0,
                        columns};
    split.fill(i / column_parts, task);
    task.column = columns * (i % column_parts) / column_parts;
    task.column_end = columns * (i % column_parts + 1) / column_parts;
    for (const int64_t end = task.block_end; task.block < end; task.block = task.block_end) {
      task.block_end =
          at_most(end, copies.rows ? copies.end(task.block) : task.block + blocks_in_l2);
      if (once.data == nullptr) {
        pack(plan, task.block, task.block_end, w, packed.data);
      } else {
        task.w = once.data + plan.packed(task.block);
      }
      pack_bias(plan, task.block, task.block_end, bias, begin.data);
      kernels.forward(task);
    }
  });
}

// Where rows are shared out, each part has sums of its own, which are added at the end.
template <class T>
void run_weight(const Kernels* const* isas, int count, const Pool& pool, Plan& plan, const T* x,
                const T* y, T* w) {
  if (plan.problem.batch == 0) {
    std::fill_n(w, plan.taps() * plan.problem.c * plan.problem.o * plan.problem.groups, T{0});
    return;
  }
  const KernelsOf<T>& kernels = choose_kernels<T>(isas, count, true, plan);
  const int64_t blocks = plan.blocks.count;
  // sums depend on the split, so the split depends on the problem alone, not on the threads
  const int64_t wanted = tasks_wanted(plan, 64);
  Split split{plan.rows(), blocks, 1, 1};
  const int64_t pixels = split.rows * plan.problem.axis[2].out, size = plan.packed(blocks);
  // rows first: then a task reads its pixels once, in long pieces. But sums have to be added, so
  // they should be far fewer than the products that a part adds up
  const int64_t most = at_most(pixels / kMinGradientPixels,
                               at_least(pixels / kManyGradientPixels, kReducedElements / size));
  split.row_parts = at_least(1, at_most(at_most(split.rows, at_most(wanted, 16)), most));
  split.block_parts = at_most(blocks, divide_up(wanted, split.row_parts));
  const int64_t parts = split.row_parts;
  Scratch<T> sums(parts > 1 ? parts * size : 0);
  const int64_t adders = parts == 1 ? 0
                         : parts * size < kSerialReductionElements
                             ? 1
                             : at_most(blocks, 2 * pool.threads);
  const auto add = [&](int64_t i) {
    const int64_t first = blocks * i / adders, end = blocks * (i + 1) / adders;
    unpack_sum(plan, first, end, sums.data + plan.packed(first), parts, size, w);
  };
  parallel(
      pool, split.count(),
      [&](int64_t i) {
        Scratch<T> copied(wide(plan.blocks.mode) ? 2 * kCopied : 0);
        WeightTask<T> task{&plan.problem, &plan.blocks, x, y, nullptr, copied.data, 0, 0, 0, 0};
        split.fill(i, task);
        const int64_t own = plan.packed(task.block_end - task.block);
        Scratch<T> alone(parts == 1 ? own : 0);
        task.w = parts == 1 ? alone.data
                            : sums.data + i / split.block_parts * size + plan.packed(task.block);
        kernels.weight(task);
        if (parts == 1) unpack_sum(plan, task.block, task.block_end, alone.data, 1, own, w);
      },
      adders, add);
}

}  // namespace jaxgroups
