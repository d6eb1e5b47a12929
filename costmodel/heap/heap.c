/* A heap for the large blocks of training, which is loaded before the C library's (LD_PRELOAD).

Torch takes the memory of every tensor by posix_memalign and gives it back by free. Blocks of LEAST bytes and more lie in
a region of their own here: a block goes into the smallest hole that it fits into, and holes that meet are one. A hole
stays in memory, so that the next block finds pages that need not be cleared, as long as blocks and holes together are no
more than what was in use at most lately, and one part in SLACK of that (library.py says how many parts). Beyond it, the
pages of other holes go back to the system. So a process holds what its tensors need at their peak, and its steps seldom
wait for pages.

Smaller blocks, and all that is allocated in other ways, are the C library's. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define LEAST ((size_t)1 << 16)
#define SPACES (sizeof(void *) == 8 ? 36 : 30) /* the region has two to this power of addresses, which take no memory */
#define LEAST_SPACE 29                         /* or, where a process may not have as many, fewer, down to this */
#define PERIOD 4096                            /* blocks after which an older peak is forgotten */

struct hole {
  size_t first, pages;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t page, space;                    /* bytes of a page and of the region; 0 until the region is there */
static char *base;                            /* the region */
static uint32_t *length;                      /* pages of the block that begins at a page */
static unsigned char *resident;               /* whether a page is in memory */
static struct hole *holes;                    /* ascending by address */
static size_t n_holes, top, live, peak, held; /* top: pages of the region in use so far; the others: pages */
static size_t latest, calls;                  /* the peak of this period, and its blocks so far */

static int (*c_memalign)(void **, size_t, size_t);
static void (*c_free)(void *);
static void *(*c_realloc)(void *, size_t);
static size_t (*c_usable)(void *);

static void *reserve(size_t bytes) {
  void *found = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return found == MAP_FAILED ? NULL : found;
}

static void find(void) {
  if (!c_free) {
    c_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    c_usable = (size_t(*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size");
    c_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    c_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
  }
}

static int mine(const void *block) { return page && (char *)block >= base && (char *)block < base + space; }

/* Number of the first hole at or behind a page. */
static size_t hole_at(size_t first) {
  size_t low = 0, high = n_holes;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (holes[middle].first < first)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static void drop(size_t number) {
  memmove(holes + number, holes + number + 1, (n_holes - number - 1) * sizeof *holes);
  n_holes--;
}

/* Give pages of holes back to the system, as many as are too many. */
static void purge(size_t too_many) {
  for (size_t number = n_holes; number-- && too_many;) {
    size_t end = holes[number].first + holes[number].pages;
    for (size_t at = end; at > holes[number].first && too_many;) {
      size_t stop = at, from;
      while (stop > holes[number].first && !resident[stop - 1]) stop--;
      from = stop;
      while (from > holes[number].first && resident[from - 1] && stop - from < too_many) from--;
      if (stop > from && !madvise(base + from * page, (stop - from) * page, MADV_DONTNEED)) {
        memset(resident + from, 0, stop - from);
        held -= stop - from;
        too_many -= stop - from;
      }
      at = from;
    }
  }
}

static void *get(size_t bytes) {
  size_t pages = (bytes + page - 1) / page, best = n_holes, first, missing = 0;
  for (size_t number = 0; number < n_holes; number++)
    if (holes[number].pages >= pages && (best == n_holes || holes[number].pages < holes[best].pages)) best = number;
  if (best < n_holes) {
    first = holes[best].first;
    holes[best].first += pages;
    holes[best].pages -= pages;
    if (!holes[best].pages) drop(best);
  } else {
    int joins = n_holes && holes[n_holes - 1].first + holes[n_holes - 1].pages == top;
    first = joins ? holes[n_holes - 1].first : top;
    if (first + pages > space / page) return NULL;
    if (joins) n_holes--;
    top = first + pages;
  }
  for (size_t at = first; at < first + pages; at++) missing += !resident[at];
  memset(resident + first, 1, pages);
  length[first] = (uint32_t)pages;
  live += pages;
  held += missing;
  if (live > peak) peak = live;
  if (live > latest) latest = live;
  int ends = ++calls == PERIOD;
  if (ends) peak = latest, latest = live, calls = 0;
  if ((missing || ends) && held > peak + peak / SLACK) purge(held - peak - peak / SLACK);
  return base + first * page;
}

static void put(void *block) {
  size_t first = (size_t)((char *)block - base) / page, pages = length[first], number = hole_at(first);
  if (!pages || (char *)block != base + first * page) abort(); /* it was given back before, or never given out */
  length[first] = 0;
  live -= pages;
  if (number < n_holes && first + pages == holes[number].first) {
    pages += holes[number].pages;
    drop(number);
  }
  if (number && holes[number - 1].first + holes[number - 1].pages == first) {
    holes[number - 1].pages += pages;
    return;
  }
  memmove(holes + number + 1, holes + number, (n_holes - number) * sizeof *holes);
  n_holes++;
  holes[number].first = first;
  holes[number].pages = pages;
}

static void take(void) { pthread_mutex_lock(&lock); }
static void give(void) { pthread_mutex_unlock(&lock); }

/* Give back every page of a hole. */
static void settle(void) {
  peak = latest = live;
  purge(held - live);
}

/* In a child of fork: what its parent left in holes is not the child's to hold. */
static void give_in_child(void) {
  settle();
  give();
}

static void drop_all(size_t pages) {
  if (base) munmap(base, space);
  if (length) munmap(length, pages * sizeof *length);
  if (resident) munmap(resident, pages);
  if (holes) munmap(holes, space / LEAST * sizeof *holes);
}

__attribute__((constructor)) static void start(void) {
  size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
  struct rlimit most;
  find();
  if (getrlimit(RLIMIT_AS, &most)) most.rlim_cur = RLIM_INFINITY;
  for (int power = SPACES; power >= LEAST_SPACE; power--) {
    size_t pages = ((size_t)1 << power) / bytes;
    space = (size_t)1 << power;
    if (most.rlim_cur != RLIM_INFINITY && most.rlim_cur / 4 < space) continue; /* others need addresses, too */
    base = reserve(space);
    length = reserve(pages * sizeof *length);
    resident = reserve(pages);
    holes = reserve(space / LEAST * sizeof *holes);
    if (base && length && resident && holes) {
      pthread_atfork(take, give, give_in_child);
      page = bytes;
      return;
    }
    drop_all(pages);
  }
  space = 0;
}

int posix_memalign(void **block, size_t alignment, size_t bytes) {
  if (page && bytes >= LEAST && bytes <= space && alignment <= page && !(alignment & (alignment - 1)) && alignment >= sizeof(void *)) {
    take();
    void *found = get(bytes);
    give();
    if (found) {
      *block = found;
      return 0;
    }
  }
  find();
  return c_memalign(block, alignment, bytes);
}

void free(void *block) {
  if (!mine(block)) {
    find();
    c_free(block);
    return;
  }
  int before = errno; /* free keeps it */
  take();
  put(block);
  give();
  errno = before;
}

size_t malloc_usable_size(void *block) {
  if (mine(block)) return length[(size_t)((char *)block - base) / page] * page;
  find();
  return c_usable(block);
}

void *realloc(void *block, size_t bytes) {
  find();
  if (!mine(block)) return c_realloc(block, bytes);
  void *moved = c_realloc(NULL, bytes);
  if (moved) {
    size_t old = malloc_usable_size(block);
    memcpy(moved, block, old < bytes ? old : bytes);
    free(block);
  }
  return moved;
}

/* Bytes of the region: in use, in use at most lately, in memory, in all (0 if there is none). */
void costmodel_heap(size_t told[4]) {
  take();
  told[0] = live * page, told[1] = peak * page, told[2] = held * page, told[3] = page ? space : 0;
  give();
}

/* Give back the pages of all holes. */
void costmodel_heap_settle(void) {
  take();
  settle();
  give();
}
