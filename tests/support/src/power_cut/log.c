/* Loaded into a program (LD_PRELOAD), it writes down what the program asks of the C
   library for files, in its order: a line each in the file that FILE_LOG names, with the number of the file
   (inode) where there is one, and the whole path.

     create INODE PATH     write INODE PATH      sync INODE PATH
     folder PATH           unlink PATH           rename INODE OLD<TAB>NEW
     link INODE PATH                                                           */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Counts the acts, and ends the process without warning at the one that KILL_AT names. */
static int is_last;

static void end(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void say(const char *what, unsigned long inode, const char *path) {
    const char *name = getenv("FILE_LOG");
    char line[5 * PATH_MAX];
    if (!name) return;
    int length = inode ? snprintf(line, sizeof line, "%s %lu %s\n", what, inode, path)
                       : snprintf(line, sizeof line, "%s %s\n", what, path);
    int file = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT, 0644);
    syscall(SYS_write, file, line, length);
    syscall(SYS_close, file);
    static int count;
    const char *at = getenv("KILL_AT");
    is_last = at && __sync_add_and_fetch(&count, 1) == atoi(at);
    /* A write ends in its midst. */
    if (is_last && strcmp(what, "write")) end();
}

/* The path of an open file. */
static int path_of(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return -1;
    path[length] = 0;
    return 0;
}

/* The path of a name in an open folder. */
static void path_at(int folder, const char *name, char *path) {
    char of_folder[PATH_MAX] = "";
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    if (folder == AT_FDCWD) {
        if (!getcwd(of_folder, sizeof of_folder)) of_folder[0] = 0;
    } else {
        path_of(folder, of_folder);
    }
    snprintf(path, 2 * PATH_MAX, "%s/%s", of_folder, name);
}

static void say_file(const char *what, int file) {
    struct stat about;
    char path[PATH_MAX];
    if (fstat(file, &about) || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return;
    if (!path_of(file, path)) say(what, about.st_ino, path);
}

static int opened(int file, int is_new) {
    if (file >= 0 && is_new) say_file("create", file);
    return file;
}

#define OPEN(name)                                                       \
    int name(const char *path, int flags, ...) {                         \
        NEXT(name);                                                      \
        va_list more;                                                    \
        va_start(more, flags);                                           \
        mode_t mode = va_arg(more, mode_t);                              \
        va_end(more);                                                    \
        int is_new = (flags & O_CREAT) && access(path, F_OK);            \
        return opened(next(path, flags, mode), is_new);                  \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                     \
    int name(int folder, const char *path, int flags, ...) {             \
        NEXT(name);                                                      \
        va_list more;                                                    \
        va_start(more, flags);                                           \
        mode_t mode = va_arg(more, mode_t);                              \
        va_end(more);                                                    \
        int is_new = (flags & O_CREAT) && faccessat(folder, path, F_OK, 0); \
        return opened(next(folder, path, flags, mode), is_new);          \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *bytes, size_t count) {
    NEXT(write);
    say_file("write", file);
    if (is_last) {
        next(file, bytes, count / 2);
        end();
    }
    return next(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *pieces, int count) {
    NEXT(writev);
    say_file("write", file);
    if (is_last) end();
    return next(file, pieces, count);
}

int ftruncate64(int file, off64_t length) {
    NEXT(ftruncate64);
    say_file("write", file);
    if (is_last) end();
    return next(file, length);
}

#define SYNC(name)                     \
    int name(int file) {               \
        NEXT(name);                    \
        int result = next(file);       \
        if (!result) say_file("sync", file); \
        return result;                 \
    }
SYNC(fsync)
SYNC(fdatasync)

static int renamed(int result, int old_folder, const char *old, int new_folder, const char *new) {
    struct stat about;
    char paths[4 * PATH_MAX], path[2 * PATH_MAX];
    if (result) return result;
    path_at(old_folder, old, paths);
    path_at(new_folder, new, path);
    strcat(strcat(paths, "\t"), path);
    if (!stat(path, &about)) say("rename", about.st_ino, paths);
    return result;
}

int rename(const char *old, const char *new) {
    NEXT(rename);
    return renamed(next(old, new), AT_FDCWD, old, AT_FDCWD, new);
}

int renameat(int old_folder, const char *old, int new_folder, const char *new) {
    NEXT(renameat);
    return renamed(next(old_folder, old, new_folder, new), old_folder, old, new_folder, new);
}

/* A name of a file that had none (O_TMPFILE), or another name. */
int linkat(int old_folder, const char *old, int new_folder, const char *new, int flags) {
    NEXT(linkat);
    struct stat about;
    char path[2 * PATH_MAX];
    int result = next(old_folder, old, new_folder, new, flags);
    path_at(new_folder, new, path);
    if (!result && !stat(path, &about)) say("link", about.st_ino, path);
    return result;
}

int unlink(const char *name) {
    NEXT(unlink);
    char path[2 * PATH_MAX];
    path_at(AT_FDCWD, name, path);
    say("unlink", 0, path);
    return next(name);
}

int unlinkat(int folder, const char *name, int flags) {
    NEXT(unlinkat);
    char path[2 * PATH_MAX];
    path_at(folder, name, path);
    if (!(flags & AT_REMOVEDIR)) say("unlink", 0, path);
    return next(folder, name, flags);
}

int mkdir(const char *name, mode_t mode) {
    NEXT(mkdir);
    char path[2 * PATH_MAX];
    int result = next(name, mode);
    path_at(AT_FDCWD, name, path);
    if (!result) say("folder", 0, path);
    return result;
}
