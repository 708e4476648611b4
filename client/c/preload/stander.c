/* A program that takes memory, works for a while and then stands in one call for ever, for the tests of
 * libmemgov_preload.so. It calls nothing else in which it could be attached.
 *
 *   preload_stander HOW MIB MS     HOW is one of the names below; works for MS
 *
 * It ends when its parent does. Those marked "works" call something again and again, 20,000 times, and end
 * with the number of their threads as exit status. */

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t g_condition = PTHREAD_COND_INITIALIZER;
static sem_t g_semaphore;
static int g_pair[2];
static FILE* g_file; /* reads from g_pair[0], to which nobody writes */
static char g_bytes[64];

static uint64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void work(uint64_t ms) {
  const uint64_t end = now_ms() + ms;
  while (now_ms() < end) continue;
}

static void stay(void) {
  for (;;) syscall(SYS_pause);
}

static void* stay_in_thread(void* unused) {
  stay();
  return unused;
}

static pid_t child(void) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == parent) stay();
  _exit(0);
}

static struct timespec in_a_day(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  time.tv_sec += 86400;
  return time;
}

static void in_recv(void) { recv(g_pair[0], g_bytes, 1, 0); }
static void in_recvfrom(void) { recvfrom(g_pair[0], g_bytes, 1, 0, NULL, NULL); }
static void in_recvmsg(void) {
  struct iovec part = {g_bytes, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  recvmsg(g_pair[0], &message, 0);
}
static void in_readv(void) {
  const struct iovec part = {g_bytes, 1};
  const ssize_t got = readv(g_pair[0], &part, 1);
  (void)got;
}
static void in_wait(void) {
  child();
  wait(NULL);
}
static void in_waitpid(void) { waitpid(child(), NULL, 0); }
static void in_wait4(void) { wait4(child(), NULL, 0, NULL); }
static void in_waitid(void) {
  siginfo_t info;
  waitid(P_PID, (id_t)child(), &info, WEXITED);
}
static void in_condition(void) {
  pthread_mutex_lock(&g_mutex);
  pthread_cond_wait(&g_condition, &g_mutex);
}
static void in_timed_condition(void) {
  const struct timespec until = in_a_day();
  pthread_mutex_lock(&g_mutex);
  pthread_cond_timedwait(&g_condition, &g_mutex, &until);
}
static void in_semaphore(void) { sem_wait(&g_semaphore); }
static void in_timed_semaphore(void) {
  const struct timespec until = in_a_day();
  sem_timedwait(&g_semaphore, &until);
}
static void in_futex(void) {
  static int word;
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
static void in_join(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, stay_in_thread, NULL) == 0) pthread_join(thread, NULL);
}
static void in_pause(void) { pause(); }
static void in_sigsuspend(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  sigemptyset(&set);
  sigsuspend(&set);
}
static void in_sigwait(void) {
  sigset_t set;
  int number = 0;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  sigwait(&set, &number);
}
static void in_getchar(void) { (void)getchar(); }
static void in_getc(void) { (void)getc(g_file); }
static void in_fgets(void) { (void)!fgets(g_bytes, sizeof(g_bytes), g_file); }
static void in_fread(void) { (void)!fread(g_bytes, 1, sizeof(g_bytes), g_file); }
static void in_getline(void) {
  char* line = NULL;
  size_t size = 0;
  (void)!getline(&line, &size, g_file);
}
static void in_scanf(void) {
  int number = 0;
  (void)!scanf("%d", &number);
}

/* Each time a little work, so that 20,000 calls last for half a second or more. */
static void compute(void) {
  static volatile unsigned sum;
  for (unsigned i = 0; i < 20000; ++i) sum += i;
}
/* Without a call in which it could be attached. */
static int threads(void) {
  char text[4096];
  const long file = syscall(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY);
  const long size = syscall(SYS_read, file, text, sizeof(text) - 1);
  text[size > 0 ? size : 0] = '\0';
  const char* line = strstr(text, "\nThreads:");
  return line == NULL ? -1 : (int)strtol(line + 9, NULL, 10);
}
static void print(void) {
  FILE* null = fopen("/dev/null", "w");
  for (int i = 0; i < 20000; ++i, compute()) fprintf(null, "%d\n", i);
  exit(threads());
}
static void write_lines(void) {
  FILE* null = fopen("/dev/null", "w");
  for (int i = 0; i < 20000; ++i, compute()) fputs("line\n", null);
  exit(threads());
}
/* As a server that writes a snapshot in a child. */
static void snapshot(void) {
  const pid_t pid = fork();
  if (pid == 0) print();
  int status = 0;
  while (syscall(SYS_wait4, pid, &status, 0, NULL) < 0 && errno == EINTR) continue;
  exit(WEXITSTATUS(status));
}
/* As a server whose handler of SIGCHLD collects its children. */
static void collect(int signal) {
  (void)signal;
  while (waitpid(-1, NULL, 0) > 0) continue;
}
static void in_handler(void) {
  const struct sigaction action = {.sa_handler = collect};
  sigaction(SIGUSR1, &action, NULL);
  raise(SIGUSR1);
  exit(threads());
}

static const struct {
  const char* name;
  void (*call)(void);
} kCalls[] = {{"recv", in_recv},           {"recvfrom", in_recvfrom},
              {"recvmsg", in_recvmsg},     {"readv", in_readv},
              {"wait", in_wait},           {"waitpid", in_waitpid},
              {"wait4", in_wait4},         {"waitid", in_waitid},
              {"condition", in_condition}, {"timed_condition", in_timed_condition},
              {"semaphore", in_semaphore}, {"timed_semaphore", in_timed_semaphore},
              {"futex", in_futex},         {"join", in_join},
              {"pause", in_pause},         {"sigsuspend", in_sigsuspend},
              {"sigwait", in_sigwait},     {"getchar", in_getchar},
              {"getc", in_getc},           {"fgets", in_fgets},
              {"fread", in_fread},         {"getline", in_getline},
              {"scanf", in_scanf},         {"fprintf", print}, /* works */
              {"fputs", write_lines},                          /* works */
              {"snapshot", snapshot},                          /* works */
              {"handler", in_handler}};

int main(int argc, char** argv) {
  if (argc != 4) return 100;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const size_t size = strtoul(argv[2], NULL, 10) << 20;
  char* memory = malloc(size + 1);
  if (memory == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, g_pair) != 0) return 101;
  memset(memory, 1, size);
  g_file = fdopen(g_pair[0], "r");
  sem_init(&g_semaphore, 0, 0);
  work(strtoul(argv[3], NULL, 10));
  for (size_t i = 0; i < sizeof(kCalls) / sizeof(kCalls[0]); ++i) {
    if (strcmp(argv[1], kCalls[i].name) == 0) kCalls[i].call();
  }
  return memory[size / 2] == 1 ? 102 : 103; /* it came back, or there is no such name */
}
