/* Stands in for /dev/udmabuf on kernels without it: a buffer is the memory file that it would have wrapped.
 * Preloaded before libcamera, whose virtual pipeline allocates its frames there. Nothing here shares memory with a
 * device, so the synchronisation that dma-buf files want is not needed and answered with success. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/udmabuf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>

static const char *instead_of(const char *path) {
    return path && strcmp(path, "/dev/udmabuf") == 0 ? "/dev/null" : path;
}

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = va_arg(rest, mode_t);                                     \
        va_end(rest);                                                           \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);          \
        return real(instead_of(path), flags, mode);                             \
    }
OPEN(open)
OPEN(open64)

int ioctl(int file, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (request == UDMABUF_CREATE)
        return fcntl(((struct udmabuf_create *)argument)->memfd, F_DUPFD_CLOEXEC, 3);
    if (_IOC_TYPE(request) == DMA_BUF_BASE)
        return 0;
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return real(file, request, argument);
}
