// cp.async: a copy is done when its thread waits for it, and until then its target holds NaN; so a missing wait, or a
// missing barrier after it, shows as a wrong answer. A misaligned copy, at which a GPU stops, never arrives.
#pragma once

namespace emu {
struct Copy {
  void* to;
  const void* from;
  int bytes;
  bool exists;
};
struct Copies {
  unsigned block;  // the block they belong to: what a thread never waited for is forgotten
  std::vector<Copy> started;
};
static std::vector<Copies> copies(MAX_THREADS);

static void copy_later(void* to, const void* from, int bytes, bool exists) {
  Copies& mine = copies[current->thread];
  if (mine.block != block_serial) mine.started.clear();
  mine.block = block_serial;
  memset(to, 0xFF, bytes);
  if (((uintptr_t)to | (uintptr_t)from) % bytes == 0) mine.started.push_back({to, from, bytes, exists});
}

static void finish_copies() {
  Copies& mine = copies[current->thread];
  if (mine.block != block_serial) return;
  for (Copy& copy : mine.started) copy.exists ? memcpy(copy.to, copy.from, copy.bytes) : memset(copy.to, 0, copy.bytes);
  mine.started.clear();
}
}  // namespace emu
