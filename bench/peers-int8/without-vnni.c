/*
 * Lets a program see a CPU with AVX2 and without AVX-512 and VNNI, at full speed: programs that choose their kernels by cpuid (ONNX
 * Runtime does) then run those of such a CPU, saturation of uint8 * int8 products included. x64 Linux, on CPUs with cpuid
 * faulting (flag cpuid_fault).
 *
 *     gcc -O1 -shared -fPIC -o without-vnni.so without-vnni.c -ldl
 *     LD_PRELOAD=$PWD/without-vnni.so npm run bench -- peers-int8 ...
 *
 * cpuid is made to fault (arch_prctl), and the handler answers it with those bits off. The setting does not outlive an exec, so
 * child processes start with it because the environment names this library. Handlers that the program sets for SIGSEGV get all
 * other faults.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef int (*SetAction)(int, const struct sigaction *, struct sigaction *);

static struct sigaction programs;
static int is_set;

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
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
  __cpuid_count(leaf, part, a, b, c, d);
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
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
  if (number != SIGSEGV) return libc_sigaction()(number, action, before);
  if (before != NULL) *before = programs;
  if (action != NULL) {
    programs = *action;
    is_set = action->sa_handler != SIG_DFL;
  }
  return 0;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  libc_sigaction()(SIGSEGV, &action, NULL);
  if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) dprintf(2, "without-vnni: this CPU or kernel has no cpuid faulting\n");
}
