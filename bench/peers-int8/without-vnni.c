/*
 * Lets a program see a CPU with AVX2 and without AVX-512 and VNNI, at full speed: programs that choose their kernels by cpuid (ONNX
 * Runtime does) then run those of such a CPU, saturation of uint8 * int8 products included. x64 Linux.
 *
 *     gcc -O1 -shared -fPIC -o without-vnni.so without-vnni.c -ldl
 *     LD_PRELOAD=$PWD/without-vnni.so npm run bench -- peers-int8 ...
 *
 * On CPUs with cpuid faulting (flag cpuid_fault) cpuid is made to fault (arch_prctl), and the handler answers it with those bits off.
 * The setting does not outlive an exec, so child processes start with it because the environment names this library. Handlers that
 * the program sets for SIGSEGV get all other faults.
 *
 * On other CPUs the cpuid instructions of ONNX Runtime are made invalid ones (ud2) as soon as it is loaded, and those are answered. A
 * disassembler has to say where they are, as the same two bytes occur inside of other instructions:
 *
 *     export CPUID_SITES=$(objdump -d --no-show-raw-insn libonnxruntime.so.1 | awk '/cpuid *$/ { sub(":", "", $1); print $1 }')
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef int (*SetAction)(int, const struct sigaction *, struct sigaction *);

#define RUNTIME "libonnxruntime.so"
#define MOST_SITES 1024

static struct sigaction programs;
static int is_set;
static int faulting;
static uintptr_t patched[MOST_SITES];
static int patches;

static uint32_t bits(const uint8_t *list, int length) {
  uint32_t mask = 0;
  for (int i = 0; i < length; i += 1) mask |= 1u << list[i];
  return mask;
}
#define WITHOUT(value, ...) \
  do { \
    static const uint8_t list[] = {__VA_ARGS__}; \
    value &= ~bits(list, sizeof list); \
  } while (0)

static void answer_cpuid(greg_t *registers) {
  uint32_t a, b, c, d;
  const uint32_t leaf = registers[REG_RAX], part = registers[REG_RCX];
  if (faulting) syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
  __cpuid_count(leaf, part, a, b, c, d);
  if (faulting) syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
  if (leaf == 7 && part == 0) {
    WITHOUT(b, 16, 17, 21, 26, 27, 28, 30, 31);  /* AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL */
    WITHOUT(c, 1, 6, 11, 12, 14);                /* AVX-512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
    WITHOUT(d, 2, 3, 8, 22, 23, 24, 25);         /* AVX-512 4VNNIW, 4FMAPS, VP2INTERSECT, FP16; AMX */
  }
  if (leaf == 7 && part == 1) {
    WITHOUT(a, 4, 5, 21, 23);     /* AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA */
    WITHOUT(d, 4, 5, 8, 10, 19);  /* AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10 */
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

static SetAction libc_sigaction(void) { return (SetAction)dlsym(RTLD_NEXT, "sigaction"); }

static void on_fault(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const uint8_t *instruction = (const uint8_t *)registers[REG_RIP];
  if (info->si_code == SI_KERNEL && instruction[0] == 0x0f && instruction[1] == 0xa2) {
    answer_cpuid(registers);
  } else if (is_set && (programs.sa_flags & SA_SIGINFO) && programs.sa_sigaction != NULL) {
    programs.sa_sigaction(number, info, context);
  } else {
    struct sigaction usual = {.sa_handler = SIG_DFL};
    libc_sigaction()(number, &usual, NULL);
    raise(number);
  }
}

/* Node sets every signal back to its default when it starts: that must not take the handler away. */
int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
  if (number == SIGILL && !faulting) {
    if (before != NULL) memset(before, 0, sizeof *before);
    return 0;
  }
  if (number != SIGSEGV) return libc_sigaction()(number, action, before);
  if (before != NULL) *before = programs;
  if (action != NULL) {
    programs = *action;
    is_set = action->sa_handler != SIG_DFL;
  }
  return 0;
}

static void on_invalid(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  for (int i = 0; i < patches; i += 1) {
    if (patched[i] != (uintptr_t)registers[REG_RIP]) continue;
    answer_cpuid(registers);
    return;
  }
  struct sigaction usual = {.sa_handler = SIG_DFL};
  libc_sigaction()(number, &usual, NULL);
  raise(number);
}

/* Makes each cpuid of ONNX Runtime an invalid instruction. Returns 1 to end the walk over the libraries. */
static int patch(struct dl_phdr_info *library, size_t size, void *sites) {
  if (strstr(library->dlpi_name, RUNTIME) == NULL) return 0;
  char *rest = sites;
  while (patches < MOST_SITES) {
    char *end;
    const uintptr_t site = strtoull(rest, &end, 16);
    if (end == rest) break;
    rest = end;
    uint8_t *instruction = (uint8_t *)(library->dlpi_addr + site);
    if (instruction[0] != 0x0f || instruction[1] != 0xa2) continue;
    /* Both bytes may lie in different pages. */
    uint8_t *page = (uint8_t *)((uintptr_t)instruction & ~(uintptr_t)4095);
    mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
    patched[patches] = (uintptr_t)instruction;
    patches += 1;
    instruction[1] = 0x0b;
    mprotect(page, 8192, PROT_READ | PROT_EXEC);
  }
  if (patches == 0) dprintf(2, "without-vnni: no cpuid at CPUID_SITES; they are of another file\n");
  return 1;
}

void *dlopen(const char *file, int flags) {
  static int found;
  void *(*libc_dlopen)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
  void *library = libc_dlopen(file, flags);
  char *sites = getenv("CPUID_SITES");
  if (!faulting && !found && library != NULL && sites != NULL) found = dl_iterate_phdr(patch, sites);
  return library;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  libc_sigaction()(SIGSEGV, &action, NULL);
  faulting = syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) == 0;
  if (faulting) return;
  action.sa_sigaction = on_invalid;
  libc_sigaction()(SIGILL, &action, NULL);
  if (getenv("CPUID_SITES") == NULL)
    dprintf(2, "without-vnni: this CPU or kernel has no cpuid faulting; set CPUID_SITES, as without-vnni.c says\n");
}
