/* The second half of shim.c: names in folders, and syncs. */

static void note_made(int above, const struct stat *folder_found, const char *name)
{
    struct stat made;
    struct record head = {.kind = CREATE, .a = folder_found->st_ino};
    if (fstatat(above, name, &made, AT_SYMLINK_NOFOLLOW))
        die(name);
    head.inode = made.st_ino;
    note(head, name, NULL, NULL);
}

static int open_noted(int at, const char *path, int flags, mode_t mode)
{
    struct stat above_found, found;
    const char *name;
    int above = flags & (O_CREAT | O_TRUNC) ? parent(at, path, &above_found, &name) : -1;
    if (above < 0)
        return raw_openat(at, path, flags, mode);
    pthread_mutex_lock(&mutex);
    int exists = !fstatat(above, name, &found, 0), fd = -1;
    if (exists || !no_space()) {
        int excluded = (flags & O_CREAT) && (flags & O_EXCL);
        if (exists && (flags & O_TRUNC) && !excluded && S_ISREG(found.st_mode) && found.st_size > 0) {
            int reader = raw_openat(above, name, O_RDONLY | O_CLOEXEC, 0);
            if (reader < 0)
                die(name);
            note_length(reader, &found, 0);
            syscall(SYS_close, reader);
        }
        fd = raw_openat(at, path, flags, mode);
        if (fd >= 0 && !exists)
            note_made(above, &above_found, name);
    }
    int error = errno;
    syscall(SYS_close, above);
    errno = error;
    return (int)after(1, fd);
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(function)                                     \
    int function(const char *path, int flags, ...)         \
    {                                                      \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        mode_t mode = mode_of(flags, rest);                \
        va_end(rest);                                      \
        return open_noted(AT_FDCWD, path, flags, mode);    \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(function)                                   \
    int function(int at, const char *path, int flags, ...) \
    {                                                      \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        mode_t mode = mode_of(flags, rest);                \
        va_end(rest);                                      \
        return open_noted(at, path, flags, mode);          \
    }
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode)
{
    return open_noted(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
    return creat(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    struct stat found, there;
    const char *name;
    int above = parent(at, path, &found, &name);
    if (above < 0)
        return (int)syscall(SYS_mkdirat, at, path, mode);
    pthread_mutex_lock(&mutex);
    int fits = !fstatat(above, name, &there, AT_SYMLINK_NOFOLLOW) || !no_space();
    int result = fits ? (int)syscall(SYS_mkdirat, at, path, mode) : -1, error = errno;
    if (!result)
        note_made(above, &found, name);
    syscall(SYS_close, above);
    errno = error;
    return (int)after(1, result);
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int linkat(int from, const char *path, int to, const char *other, int flags)
{
    struct stat found, there;
    const char *name;
    int above = parent(to, other, &found, &name);
    if (above < 0)
        return (int)syscall(SYS_linkat, from, path, to, other, flags);
    pthread_mutex_lock(&mutex);
    int fits = !fstatat(above, name, &there, AT_SYMLINK_NOFOLLOW) || !no_space();
    int result = fits ? (int)syscall(SYS_linkat, from, path, to, other, flags) : -1, error = errno;
    if (!result)
        note_made(above, &found, name);
    syscall(SYS_close, above);
    errno = error;
    return (int)after(1, result);
}

int link(const char *path, const char *other)
{
    return linkat(AT_FDCWD, path, AT_FDCWD, other, 0);
}

/* A place for what is removed or replaced. */
static long keep(char path[PATH_MAX + 64])
{
    long number;
    do {
        number = ++kept_count;
        snprintf(path, PATH_MAX + 64, "%s/%ld", kept, number);
    } while (!syscall(SYS_faccessat, AT_FDCWD, path, F_OK));
    return number;
}

int unlinkat(int at, const char *path, int flags)
{
    struct stat above_found, found;
    const char *name;
    char place[PATH_MAX + 64];
    int above = parent(at, path, &above_found, &name);
    if (above < 0)
        return (int)syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&mutex);
    int result = fstatat(above, name, &found, AT_SYMLINK_NOFOLLOW);
    if (!result && !S_ISDIR(found.st_mode) == !(flags & AT_REMOVEDIR)) {
        struct record head = {.kind = UNLINK, .inode = found.st_ino, .a = above_found.st_ino, .c = keep(place)};
        note(head, name, NULL, NULL);
        result = (int)syscall(SYS_renameat2, above, name, AT_FDCWD, place, 0);
    } else if (!result) {
        errno = S_ISDIR(found.st_mode) ? EISDIR : ENOTDIR;
        result = -1;
    }
    int error = errno;
    syscall(SYS_close, above);
    errno = error;
    return (int)after(1, result);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int renameat2(int at, const char *path, int to, const char *other, unsigned flags)
{
    struct stat from_found, to_found, found, replaced;
    const char *name, *other_name;
    char place[PATH_MAX + 64];
    int from_above = parent(at, path, &from_found, &name), to_above = parent(to, other, &to_found, &other_name);
    if (from_above < 0 || to_above < 0)
        return (int)syscall(SYS_renameat2, at, path, to, other, flags);
    pthread_mutex_lock(&mutex);
    int result = fstatat(from_above, name, &found, AT_SYMLINK_NOFOLLOW);
    if (!result) {
        struct record head = {.kind = RENAME, .inode = found.st_ino, .a = from_found.st_ino, .b = to_found.st_ino};
        int replaces = !fstatat(to_above, other_name, &replaced, AT_SYMLINK_NOFOLLOW);
        if (replaces && S_ISREG(replaced.st_mode) && replaced.st_ino != found.st_ino && !flags) {
            head.c = (uint64_t)keep(place);
            if (syscall(SYS_linkat, to_above, other_name, AT_FDCWD, place, 0))
                die(place);
        }
        note(head, name, other_name, NULL);
        result = (int)syscall(SYS_renameat2, at, path, to, other, flags);
    }
    int error = errno;
    syscall(SYS_close, from_above);
    syscall(SYS_close, to_above);
    errno = error;
    return (int)after(1, result);
}

int renameat(int at, const char *path, int to, const char *other)
{
    return renameat2(at, path, to, other, 0);
}

int rename(const char *path, const char *other)
{
    return renameat2(AT_FDCWD, path, AT_FDCWD, other, 0);
}

static int sync_noted(int fd, long number, int is_data)
{
    struct stat found, length;
    if (!is_ours(fd, &found))
        return (int)syscall(number, fd);
    may_die();
    if (fails(EIO_SYNC, EIO_SYNC, EIO))
        return -1;
    /* What is in the journal by now is complete by now. */
    pthread_mutex_lock(&mutex);
    fstat(journal, &length);
    pthread_mutex_unlock(&mutex);
    int result = (int)syscall(number, fd), error = errno;
    int ignored = S_ISDIR(found.st_mode) ? ignore_folders : is_data ? ignore_data : ignore_files;
    if (!result && !ignored) {
        struct record head = {.kind = SYNC, .inode = found.st_ino, .a = (uint64_t)length.st_size};
        pthread_mutex_lock(&mutex);
        note(head, NULL, NULL, NULL);
        pthread_mutex_unlock(&mutex);
    }
    errno = error;
    return result;
}

int fsync(int fd)
{
    return sync_noted(fd, SYS_fsync, 0);
}

int fdatasync(int fd)
{
    return sync_noted(fd, SYS_fdatasync, 1);
}

/* Starts or awaits writing pages back; neither the file's length nor the disk's own cache is covered. */
int sync_file_range(int fd, off_t at, off_t length, unsigned flags)
{
    struct stat found;
    if (is_ours(fd, &found) && fails(EIO_SYNC, EIO_SYNC, EIO))
        return -1;
    return (int)syscall(SYS_sync_file_range, fd, at, length, flags);
}
