// A checked problem over a pool: weights packed, work split, partial sums added.
#pragma once

#include <algorithm>

#include "packing.h"
#include "parallel.h"
#include "plan.h"
#include "scratch.h"

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
  for (const Axis& a : p.axis) per_axis *= (double)a.out * (double)a.kernel / (double)a.lhs_dilation;
  return per_axis * (double)p.batch * (double)p.c * (double)p.o * (double)p.groups;
}

// Enough tasks that threads finish together, none so small that handing it out costs more.
inline int64_t tasks_wanted(const Plan& plan, int64_t most) {
  constexpr double kTask = 200e3;  // multiplications, some microseconds
  const double worth = multiplications(plan) / kTask;
  return worth < 2 ? 1 : worth < (double)most ? (int64_t)worth : most;
}

template <class T>
void run_forward(const Kernels* const* sets, int count, const Pool& pool, Plan& plan, const T* x,
                 const T* w, T* y) {
  if (plan.problem.batch == 0) return;
  const KernelsOf<T>& kernels = choose_kernels<T>(sets, count, false, plan);
  const int64_t blocks = plan.blocks.count;
  Scratch<T> packed(plan.packed());
  const int64_t packers = plan.packed() < 32768 ? 1 : at_most(blocks, 2 * pool.threads);
  parallel(pool, packers, [&](int64_t i) {
    for (int64_t b = blocks * i / packers; b < blocks * (i + 1) / packers; ++b) {
      pack(plan, b, w, packed.data);
    }
  });
  const int64_t wanted = pool.threads == 1 ? 1 : tasks_wanted(plan, 6 * pool.threads);
  Split split{plan.rows(), blocks, 1, 1};
  // many weights: a task keeps few blocks, and reads their weights once
  if (plan.packed() * (int64_t)sizeof(T) > 65536) {
    split.block_parts = at_most(blocks, wanted);
    split.row_parts = at_most(split.rows, divide_up(wanted, split.block_parts));
  } else {
    split.row_parts = at_most(split.rows, wanted);
    split.block_parts = at_most(blocks, divide_up(wanted, split.row_parts));
  }
  parallel(pool, split.count(), [&](int64_t i) {
    Scratch<T> copied(plan.blocks.spread == Spread::broadcast ? kCopied : 0);
    ForwardTask<T> task{&plan.problem, &plan.blocks, x, packed.data, y, copied.data, 0, 0, 0, 0};
    split.fill(i, task);
    kernels.forward(task);
  });
}

template <class T>
void run_weight(const Kernels* const* sets, int count, const Pool& pool, Plan& plan, const T* x,
                const T* y, T* w) {
  if (plan.problem.batch == 0) {
    std::fill_n(w, plan.taps() * plan.problem.c * plan.problem.o * plan.problem.groups, T{0});
    return;
  }
  const KernelsOf<T>& kernels = choose_kernels<T>(sets, count, true, plan);
  const int64_t blocks = plan.blocks.count, size = plan.packed();
  // sums depend on the split, so the split depends on the problem alone, not on the threads
  const int64_t wanted = tasks_wanted(plan, 64);
  Split split{plan.rows(), blocks, 1, 1};
  split.block_parts = at_most(blocks, at_least(1, at_most(wanted, 16)));
  split.row_parts = at_least(1, at_most(split.rows, wanted / split.block_parts));
  // every part has sums of its own, to be added at the end: worth it for many pixels
  const int64_t pixels = split.rows * plan.problem.axis[2].out;
  split.row_parts = at_least(1, at_most(split.row_parts, pixels / 256));
  Scratch<T> sums(split.row_parts * size);
  parallel(pool, split.count(), [&](int64_t i) {
    Scratch<T> copied(plan.blocks.spread == Spread::broadcast ? 2 * kCopied : 0);
    WeightTask<T> task{&plan.problem, &plan.blocks, x, y, nullptr, copied.data, 0, 0, 0, 0};
    split.fill(i, task);
    task.w = sums.data + i / split.block_parts * size;
    kernels.weight(task);
  });
  const int64_t adders = size * split.row_parts < 32768 ? 1 : at_most(blocks, 2 * pool.threads);
  parallel(pool, adders, [&](int64_t i) {
    for (int64_t b = blocks * i / adders; b < blocks * (i + 1) / adders; ++b) {
      unpack_sum(plan, b, sums.data, split.row_parts, w);
    }
  });
}

}  // namespace jaxgroups
