/*
 * A disk that forgets and a disk that fails, for one process: LD_PRELOAD of the fault tests.
 *
 * Contract
 *   Every change that the process makes to files and folders below SHIM_DIR through libc is written to
 *   SHIM_JOURNAL/changes before it is made, with what is needed to take it back; every fsync and
 *   fdatasync that succeeded is written there after it. Once the process is dead, tests/faults/undo.rs
 *   reads it and takes back what no sync covered: what a power loss would have cost.
 *   - A sync covers the changes of its own file or folder that were complete before the sync began.
 *   - The names in a folder (files made, renamed, removed, linked) are covered by a sync of that folder
 *     and by nothing else; sync_file_range covers nothing.
 *   - Nothing is removed for good: what the process unlinks or replaces is kept in SHIM_JOURNAL/kept,
 *     which must be on the same file system. So inode numbers, by which everything is known, stay unique.
 *   - The journal survives the death of the process, not that of the machine. A journal may be continued
 *     by another process after the first has ended, not by two at once.
 *
 * Environment
 *   SHIM_DIR       absolute path without links. Whatever is not below it passes untouched.
 *   SHIM_JOURNAL   an existing folder outside SHIM_DIR.
 *   SHIM_IGNORE    "fdatasync", "folders" or "all": these syncs are done and answered but not noted, as
 *                  if they had never been called. For negative controls.
 *   SHIM_FAULT     "enospc" (whatever needs space fails; a write is first cut in half), "eio-write" or
 *                  "eio-sync" (fsync, fdatasync and sync_file_range): while the file SHIM_SENTINEL exists.
 *                  "dies": the process is killed after a change or before a sync. The wall clock at the
 *                  first failure, in ns, is written to SHIM_JOURNAL/fault.
 *   SHIM_SKIP      how many calls that would fail pass before the first one does.
 *
 * Limits
 *   Changes by mmap, io_uring, copy_file_range, sendfile, splice, O_TMPFILE, RENAME_EXCHANGE, truncate by
 *   path, punched holes, raw syscalls, modes, owners and times are not seen. That the relay makes no
 *   changes that are not seen is a test (everything_can_be_taken_back in tests/faults/power.rs).
 *   A writev is journaled whole. Calls that change something are made one at a time.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As tests/faults/undo.rs reads it: this head, then the name, the other name, and the old bytes. */
enum kind { WRITE = 1, TRUNCATE, CREATE, RENAME, UNLINK, SYNC };
struct record {
    uint64_t kind, inode, a, b, c, name_bytes, other_bytes, old_bytes;
};

enum fault { NO_FAULT, ENOSPC_FAULT, EIO_WRITE, EIO_SYNC, DIES };

static const char *dir, *sentinel;
static size_t dir_bytes;
static char folder[PATH_MAX], kept[PATH_MAX + 8];
static int journal = -1;
static int ignore_data, ignore_folders, ignore_files;
static enum fault fault;
static long skip, kept_count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what)
{
    dprintf(2, "shim: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static int raw_openat(int at, const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("SHIM_IGNORE");
    dir = getenv("SHIM_DIR");
    if (!dir || !getenv("SHIM_JOURNAL"))
        return;
    dir_bytes = strlen(dir);
    snprintf(folder, sizeof folder, "%s", getenv("SHIM_JOURNAL"));
    snprintf(kept, sizeof kept, "%s/kept", folder);
    if (text && !strcmp(text, "fdatasync"))
        ignore_data = 1;
    if (text && !strcmp(text, "folders"))
        ignore_folders = 1;
    if (text && !strcmp(text, "all"))
        ignore_data = ignore_folders = ignore_files = 1;
    text = getenv("SHIM_FAULT");
    static const char *const faults[] = {"", "enospc", "eio-write", "eio-sync", "dies"};
    for (int n = 1; text && n <= DIES; n++)
        if (!strcmp(text, faults[n]))
            fault = (enum fault)n;
    sentinel = getenv("SHIM_SENTINEL");
    text = getenv("SHIM_SKIP");
    skip = text ? atol(text) : 0;
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/changes", folder);
    syscall(SYS_mkdirat, AT_FDCWD, kept, 0700);
    int opened = raw_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    /* Out of the way of a process that was started without a standard error. */
    journal = fcntl(opened, F_DUPFD_CLOEXEC, 500);
    if (journal < 0)
        die(path);
    syscall(SYS_close, opened);
}

static void put(const void *bytes, size_t count)
{
    const char *next = bytes;
    while (count > 0) {
        long done = syscall(SYS_write, journal, next, count);
        if (done < 0)
            die("the journal");
        next += done;
        count -= (size_t)done;
    }
}

static void note(struct record head, const char *name, const char *other, const void *old)
{
    size_t names = (name ? strlen(name) : 0) + (other ? strlen(other) : 0);
    char *whole = malloc(sizeof head + names + head.old_bytes);
    if (!whole)
        die("memory");
    head.name_bytes = name ? strlen(name) : 0;
    head.other_bytes = other ? strlen(other) : 0;
    char *end = mempcpy(whole, &head, sizeof head);
    end = mempcpy(end, name ? name : "", head.name_bytes);
    end = mempcpy(end, other ? other : "", head.other_bytes);
    end = mempcpy(end, old ? old : "", head.old_bytes);
    put(whole, (size_t)(end - whole));
    free(whole);
}

static int is_below(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < (ssize_t)dir_bytes || strncmp(path, dir, dir_bytes))
        return 0;
    path[length] = 0;
    return path[dir_bytes] == 0 || path[dir_bytes] == '/';
}

/* Whether the descriptor is a file or folder below SHIM_DIR. */
static int is_ours(int fd, struct stat *found)
{
    int error = errno;
    int ours = journal >= 0 && !fstat(fd, found) && (S_ISREG(found->st_mode) || S_ISDIR(found->st_mode)) &&
               is_below(fd);
    errno = error;
    return ours;
}

/* Opens the folder that a path leads through, if that is below SHIM_DIR; tells it, and the last name. */
static int parent(int at, const char *path, struct stat *found, const char **name)
{
    char above[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int error = errno, fd = -1;
    if (journal < 0 || strlen(path) >= sizeof above)
        return -1;
    *name = slash ? slash + 1 : path;
    snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    fd = raw_openat(at, above, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0 && (!is_below(fd) || fstat(fd, found))) {
        syscall(SYS_close, fd);
        fd = -1;
    }
    errno = error;
    return fd;
}

/* Whether this call is to fail. */
static int fails(enum fault one, enum fault other, int code)
{
    if (fault == NO_FAULT || (fault != one && fault != other) || !sentinel ||
        syscall(SYS_faccessat, AT_FDCWD, sentinel, F_OK))
        return 0;
    if (__atomic_fetch_sub(&skip, 1, __ATOMIC_SEQ_CST) > 0)
        return 0;
    char path[PATH_MAX + 16], text[32];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(path, sizeof path, "%s/fault", folder);
    int fd = raw_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        int length = snprintf(text, sizeof text, "%lld", now.tv_sec * 1000000000LL + now.tv_nsec);
        syscall(SYS_write, fd, text, length);
        syscall(SYS_close, fd);
    }
    errno = code;
    return 1;
}

/* After a change, and before a sync. */
static void may_die(void)
{
    while (fails(DIES, DIES, 0))
        syscall(SYS_kill, getpid(), SIGKILL);
}

static int no_space(void)
{
    return fails(ENOSPC_FAULT, ENOSPC_FAULT, ENOSPC);
}

/* What a file holds from `from` to before `to`, for the journal. */
static char *old_bytes(int fd, uint64_t from, uint64_t to)
{
    char link[64];
    size_t want = (size_t)(to - from), have = 0;
    char *bytes = malloc(want ? want : 1);
    if (!bytes)
        die("memory");
    if (!want)
        return bytes;
    /* The descriptor may be for writing only. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = raw_openat(AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    while (reader >= 0 && have < want) {
        long got = syscall(SYS_pread64, reader, bytes + have, want - have, from + have);
        if (got <= 0)
            die("old bytes");
        have += (size_t)got;
    }
    if (reader < 0)
        die(link);
    syscall(SYS_close, reader);
    return bytes;
}

/* Before a write of `count` bytes at `at`, or where the descriptor stands (-1): 0 not ours, 1 noted, and
 * the mutex is held until after the write; -1 it fails. May cut `count` if `cut`. */
static int before_write(int fd, off_t at, size_t *count, int cut)
{
    struct stat found;
    if (*count == 0 || !is_ours(fd, &found))
        return 0;
    pthread_mutex_lock(&mutex);
    if (fails(ENOSPC_FAULT, EIO_WRITE, fault == EIO_WRITE ? EIO : ENOSPC)) {
        /* A disk that becomes full takes what still fits. */
        if (fault == ENOSPC_FAULT && cut && *count > 1 && skip == -1) {
            *count /= 2;
        } else {
            pthread_mutex_unlock(&mutex);
            return -1;
        }
    }
    fstat(fd, &found);
    uint64_t size = (uint64_t)found.st_size, from;
    if (fcntl(fd, F_GETFL) & O_APPEND)
        from = size;
    else
        from = at >= 0 ? (uint64_t)at : (uint64_t)lseek(fd, 0, SEEK_CUR);
    uint64_t to = from + *count < size ? from + *count : size;
    char *old = from < size ? old_bytes(fd, from, to) : NULL;
    struct record head = {.kind = WRITE, .inode = found.st_ino, .a = from, .b = *count, .c = size};
    head.old_bytes = from < size ? to - from : 0;
    note(head, NULL, NULL, old);
    free(old);
    return 1;
}

static long after(int held, long result)
{
    if (held > 0) {
        int error = errno;
        may_die();
        pthread_mutex_unlock(&mutex);
        errno = error;
    }
    return result;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    int held = before_write(fd, -1, &count, 1);
    return held < 0 ? -1 : after(held, syscall(SYS_write, fd, bytes, count));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at)
{
    int held = before_write(fd, at, &count, 1);
    return held < 0 ? -1 : after(held, syscall(SYS_pwrite64, fd, bytes, count, at));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    return pwrite64(fd, bytes, count, at);
}

static size_t total(const struct iovec *parts, int count)
{
    size_t bytes = 0;
    for (int n = 0; n < count; n++)
        bytes += parts[n].iov_len;
    return bytes;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    size_t bytes = total(parts, count);
    int held = before_write(fd, -1, &bytes, 0);
    return held < 0 ? -1 : after(held, syscall(SYS_writev, fd, parts, count));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at)
{
    size_t bytes = total(parts, count);
    int held = before_write(fd, at, &bytes, 0);
    return held < 0 ? -1 : after(held, syscall(SYS_pwritev, fd, parts, count, at, 0));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return pwritev64(fd, parts, count, at);
}

/* Under the mutex: a file is about to have another length. */
static void note_length(int fd, const struct stat *found, uint64_t length)
{
    uint64_t size = (uint64_t)found->st_size;
    struct record head = {.kind = TRUNCATE, .inode = found->st_ino, .b = length, .c = size};
    head.old_bytes = length < size ? size - length : 0;
    char *old = old_bytes(fd, length < size ? length : size, size);
    note(head, NULL, NULL, old);
    free(old);
}

int ftruncate64(int fd, off_t length)
{
    struct stat found;
    if (!is_ours(fd, &found))
        return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&mutex);
    if (fails(EIO_WRITE, EIO_WRITE, EIO))
        return (int)after(1, -1);
    fstat(fd, &found);
    note_length(fd, &found, (uint64_t)length);
    return (int)after(1, syscall(SYS_ftruncate, fd, length));
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off_t at, off_t length)
{
    struct stat found;
    if (!is_ours(fd, &found))
        return (int)syscall(SYS_fallocate, fd, mode, at, length);
    pthread_mutex_lock(&mutex);
    if (fails(ENOSPC_FAULT, EIO_WRITE, fault == EIO_WRITE ? EIO : ENOSPC))
        return (int)after(1, -1);
    fstat(fd, &found);
    if (mode == 0 && at + length > found.st_size)
        note_length(fd, &found, (uint64_t)(at + length));
    return (int)after(1, syscall(SYS_fallocate, fd, mode, at, length));
}

int fallocate(int fd, int mode, off_t at, off_t length)
{
    return fallocate64(fd, mode, at, length);
}

int posix_fallocate64(int fd, off_t at, off_t length)
{
    return fallocate64(fd, 0, at, length) ? errno : 0;
}

int posix_fallocate(int fd, off_t at, off_t length)
{
    return posix_fallocate64(fd, at, length);
}

#include "shim_names.c"
