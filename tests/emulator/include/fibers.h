// One fiber a CUDA thread: a thread that never waits costs a function call, a waiting one a stack switch (about 40 ns).
#pragma once
#include <malloc.h>
#include <sys/mman.h>

namespace emu {
struct Fiber {
  void* stack_pointer;
  char* stack;
  int thread;
  unsigned* waits_for;  // the generation counter that must move before it goes on
  unsigned seen;
  bool alive;
  uint3 index;
};

constexpr size_t STACK = 1 << 16;
constexpr size_t PITCH = STACK + 320;  // stacks at a power-of-two pitch would all fall into one cache set
constexpr int MAX_THREADS = 1024;
constexpr uint64_t CANARY = 0x5ac5ac5ac5ac5ac5;  // below each stack

static std::vector<Fiber> fibers;
static std::vector<int> order;  // which thread starts n-th
static Fiber* current;
static void* main_stack_pointer;
static int started, threads, alive, at_barrier;
static unsigned barrier_generation;
static void (*body)(void*);
static void* body_argument;
static void* dynamic_shared;
static bool used_shared_memory;  // by this launch
static unsigned block_serial;  // of all blocks that have run: shared memory is poisoned once a block
constexpr char POISON = (char)0xCB;
static const char* barrier_file;  // where the threads that wait at the barrier are
static int barrier_line;
static std::string trouble;

void thread_finished(int thread);  // warp.h
void start_warps(int threads);     // warp.h

#if defined(__x86_64__)
// Save the callee-saved registers on the old stack, take those of the new one.
extern "C" void emu_switch(void** save, void* load);
asm(".text\n.local emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " movq %rsp,(%rdi)\n movq %rsi,%rsp\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
static void* fresh_stack(char* stack, void (*entry)()) {
  void** top = (void**)(stack + STACK) - 4;  // 8 mod 16 at entry, as after a call
  top[1] = nullptr;
  top[0] = (void*)entry;
  for (int i = 1; i <= 6; i++) top[-i] = nullptr;
  return top - 6;
}
#else
#include <ucontext.h>
static void emu_switch(void** save, void* load) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, (ucontext_t*)load);
}
static void* fresh_stack(char* stack, void (*entry)()) {
  auto* context = (ucontext_t*)stack;
  getcontext(context);
  context->uc_stack.ss_sp = stack + sizeof *context + 64;
  context->uc_stack.ss_size = STACK - sizeof *context - 64;
  makecontext(context, entry, 0);
  return context;
}
#endif

static void become(int thread) {
  unsigned t = (unsigned)thread;
  current->thread = thread;
  threadIdx = current->index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

static void wait(unsigned* generation) {
  current->waits_for = generation;
  current->seen = *generation;
  emu_switch(&current->stack_pointer, main_stack_pointer);
  current->waits_for = nullptr;
}

static void take_threads() {  // what a fiber does: run threads to their end, as long as there are new ones
  while (started < threads) {
    int thread = order[started++];
    become(thread);
    body(body_argument);
    thread_finished(thread);
  }
  current->alive = false;
  emu_switch(&current->stack_pointer, main_stack_pointer);
}

static void resume(Fiber& fiber) {
  current = &fiber;
  threadIdx = fiber.index;
  emu_switch(&main_stack_pointer, fiber.stack_pointer);
}

static bool stacks_held() {
  for (auto& fiber : fibers)
    if (((uint64_t*)fiber.stack)[-1] != CANARY) return false;
  return true;
}

static const char* run_block() {
  std::vector<Fiber*> waiting;
  started = at_barrier = 0;
  alive = threads;
  block_serial++;
  start_warps(threads);
  for (size_t used = 0; started < threads;) {  // a fresh fiber takes threads until one of them waits
    Fiber& fiber = fibers[used++];
    fiber.stack_pointer = fresh_stack(fiber.stack, take_threads);
    fiber.waits_for = nullptr;
    fiber.alive = true;
    resume(fiber);
    if (fiber.alive) waiting.push_back(&fiber);
  }
  while (!waiting.empty()) {
    bool moved = false;
    for (auto* fiber : waiting)
      if (!fiber->waits_for || *fiber->waits_for != fiber->seen) {
        resume(*fiber);
        moved = true;
      }
    if (!trouble.empty()) return trouble.c_str();
    if (!moved) return "deadlock: not every thread reaches the same __syncthreads() or warp collective";
    waiting.erase(std::remove_if(waiting.begin(), waiting.end(), [](Fiber* f) { return !f->alive; }), waiting.end());
  }
  return trouble.empty() ? nullptr : trouble.c_str();
}

static void order_threads(int how) {  // 0 ascending, 1 descending, else shuffled with that seed
  order.resize(threads);
  for (int i = 0; i < threads; i++) order[i] = i;
  if (how == 1) std::reverse(order.begin(), order.end());
  uint32_t state = (uint32_t)how;
  for (int i = threads - 1; how > 1 && i > 0; i--) {
    state = state * 1664525u + 1013904223u;
    std::swap(order[i], order[(state >> 8) % (i + 1)]);
  }
}

static const char* make_fibers() {
  if (!fibers.empty()) return nullptr;
  void* memory = mmap(nullptr, (MAX_THREADS + 1) * PITCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return "no memory for the stacks of the fibers";
  for (int i = 0; i < MAX_THREADS; i++) {
    fibers.push_back({nullptr, (char*)memory + (i + 1) * PITCH, 0, nullptr, 0, false, {}});
    ((uint64_t*)fibers[i].stack)[-1] = CANARY;
  }
  return nullptr;
}

template <class... A, size_t... I> static void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*(std::decay_t<A>*)arguments[I]...);
}

// Run the blocks [first, last) of a launch, counted with x fastest; returns what went wrong, or null.
template <class... A>
static const char* launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, size_t shared_bytes,
                          void** arguments, int thread_order, long first, long last) {
  struct Call { void (*kernel)(A...); void** arguments; } the_call{kernel, arguments};
  body = [](void* p) {
    auto* c = (Call*)p;
    call(c->kernel, c->arguments, std::index_sequence_for<A...>{});
  };
  body_argument = &the_call;
  gridDim = dim3(grid[0], grid[1], grid[2]);
  blockDim = dim3(block[0], block[1], block[2]);
  threads = (int)(block[0] * block[1] * block[2]);
  if (threads < 1 || threads > MAX_THREADS) return "a block must have 1 to 1024 threads";
  if (shared_bytes > 232448) return "more dynamic shared memory than any GPU has";
  if (const char* trouble = make_fibers()) return trouble;
  order_threads(thread_order);
  trouble.clear();
  used_shared_memory = shared_bytes > 0;
  // Of exactly this size, so that an address sanitizer sees where it ends.
  std::unique_ptr<void, decltype(&free)> shared_memory(memalign(128, shared_bytes), &free);
  dynamic_shared = shared_memory.get();
  for (long b = first; b < last; b++) {
    blockIdx = {(unsigned)(b % grid[0]), (unsigned)(b / grid[0] % grid[1]), (unsigned)(b / ((long)grid[0] * grid[1]))};
    memset(dynamic_shared, POISON, shared_bytes);
    if (const char* trouble = run_block()) return trouble;
  }
  if (!stacks_held()) return "the local variables of a thread do not fit into the emulator's stack";
  return nullptr;
}
// All threads that have not returned must call the same __syncthreads(): CUDA leaves anything else undefined.
static void barrier(const char* file, int line) {
  if (!at_barrier) {
    barrier_file = file;
    barrier_line = line;
  } else if (line != barrier_line || strcmp(file, barrier_file)) {
    trouble = std::string("divergent __syncthreads(): threads wait at ") + barrier_file + ":" + std::to_string(barrier_line) +
              " and at " + file + ":" + std::to_string(line);
  }
  if (++at_barrier == alive) {
    at_barrier = 0;
    barrier_generation++;
  } else {
    wait(&barrier_generation);
  }
}
}  // namespace emu

#define __syncthreads() emu::barrier(__FILE__, __LINE__)

// `extern __shared__ T name[];` becomes `T* name = (T*)__emu_dynamic_shared();`
static inline void* __emu_dynamic_shared() { return emu::dynamic_shared; }

// `__shared__ T name[N];` is followed by this: the first thread of a block to get there finds nothing of the last block.
#define __emu_fresh_shared(name)                  \
  static unsigned name##_block;                   \
  emu::used_shared_memory = true;                 \
  if (name##_block != emu::block_serial) {        \
    name##_block = emu::block_serial;             \
    memset((void*)&name, emu::POISON, sizeof name); \
  }
