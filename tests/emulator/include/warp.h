// Warp collectives and atomics. The lanes named by a mask meet, publish a value each, and all read the snapshot.
#pragma once

namespace emu {
struct Meeting {
  unsigned generation = 0, arrived = 0;
  uint64_t published[32][2], snapshot[32][2];
};
struct Warp {
  unsigned alive = 0;
  std::map<unsigned, Meeting> meetings;  // one a mask
};
static std::vector<Warp> warps;

void start_warps(int threads) {
  warps.resize((threads + 31) / 32);
  for (int i = 0; i < (int)warps.size(); i++) {
    int lanes = std::min(32, threads - 32 * i);
    warps[i].meetings.clear();
    warps[i].alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
  }
}

static void conclude(Meeting& meeting) {
  memcpy(meeting.snapshot, meeting.published, sizeof meeting.published);
  memset((void*)meeting.published, POISON, sizeof meeting.published);  // a lane that does not come has no value
  meeting.arrived = 0;
  meeting.generation++;
}

void thread_finished(int thread) {  // threads that have returned take no part in barriers (the rule since Volta)
  if (--alive && at_barrier == alive) {
    at_barrier = 0;
    barrier_generation++;
  }
  Warp& warp = warps[thread >> 5];
  warp.alive &= ~(1u << (thread & 31));
  for (auto& entry : warp.meetings)
    if (entry.second.arrived && entry.second.arrived == (entry.first & warp.alive)) conclude(entry.second);
}

static inline unsigned lane() { return current->thread & 31; }

template <class T> static uint64_t (*exchange(unsigned mask, const T& value))[2] {
  static_assert(sizeof(T) <= 16, "a shuffled type has at most 16 bytes");
  Warp& warp = warps[current->thread >> 5];
  auto [found, fresh] = warp.meetings.try_emplace(mask);
  Meeting& meeting = found->second;
  if (fresh) memset((void*)meeting.published, POISON, sizeof meeting.published);
  memcpy(meeting.published[lane()], &value, sizeof(T));
  meeting.arrived |= 1u << lane();
  if (meeting.arrived == (mask & warp.alive)) conclude(meeting);
  else wait(&meeting.generation);
  return meeting.snapshot;
}

template <class T> static T from(uint64_t (*snapshot)[2], int lane) {
  T value;
  memcpy(&value, snapshot[lane & 31], sizeof(T));
  return value;
}
}  // namespace emu

static inline void __syncwarp(unsigned mask = ~0u) { emu::exchange(mask, 0); }
template <class T> static T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
  int base = emu::lane() & ~(width - 1);
  return emu::from<T>(emu::exchange(mask, v), base + (source & (width - 1)));
}
template <class T> static T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  auto* s = emu::exchange(mask, v);
  unsigned l = emu::lane();
  return (l & (width - 1)) + delta < (unsigned)width ? emu::from<T>(s, l + delta) : v;
}
template <class T> static T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  auto* s = emu::exchange(mask, v);
  unsigned l = emu::lane();
  return (l & (width - 1)) >= delta ? emu::from<T>(s, l - delta) : v;
}
template <class T> static T __shfl_xor_sync(unsigned mask, T v, int flip, int width = 32) {
  auto* s = emu::exchange(mask, v);
  unsigned l = emu::lane(), source = l ^ flip;
  return source / width > l / width ? v : emu::from<T>(s, source);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
  auto* s = emu::exchange(mask, (int)!!predicate);
  unsigned bits = 0;
  for (int i = 0; i < 32; i++)
    if ((mask >> i & 1) && emu::from<int>(s, i)) bits |= 1u << i;
  return bits;
}
template <class T> static unsigned __match_any_sync(unsigned mask, T v) {
  auto* s = emu::exchange(mask, v);
  unsigned equal = 0;
  for (int i = 0; i < 32; i++)
    if ((mask >> i & 1) && emu::from<T>(s, i) == v) equal |= 1u << i;
  return equal;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

// One thread runs at a time, so a plain read and write is atomic.
template <class T, class U> static T atomicAdd(T* p, U v) { T old = *p; *p = old + (T)v; return old; }
template <class T, class U> static T atomicMax(T* p, U v) { T old = *p; *p = std::max(old, (T)v); return old; }
template <class T, class U> static T atomicMin(T* p, U v) { T old = *p; *p = std::min(old, (T)v); return old; }
template <class T> static T atomicExch(T* p, T v) { T old = *p; *p = v; return old; }
template <class T> static T atomicCAS(T* p, T expected, T v) { T old = *p; if (old == expected) *p = v; return old; }
