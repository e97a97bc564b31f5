/* A camera that gives JPEG pictures, as a USB camera does, for programs that speak V4L2 on kernels without it.
 * Preloaded before them; $CAMERA is the file that stands for the device, which is pulled out when the file is removed;
 * $PICTURES is a folder with 0.jpg, 1.jpg and so on, of 640x480 pixels, shown again and again, ten a second. Like a USB
 * camera it streams to one program at a time, and says EBUSY to the next. Only the calls that ustreamer makes are there
 * (the kernel's documentation, "Video for Linux API"). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BYTES (1 << 20)
#define BUFFERS 32
static int camera = -1, lock = -1;
static void *buffers[BUFFERS];
static unsigned queued[BUFFERS], first, last, shown;

static int (*real_open)(const char *, int, ...);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);
static int (*real_ioctl)(int, unsigned long, ...);

__attribute__((constructor)) static void find(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_mmap = dlsym(RTLD_NEXT, "mmap");
    real_ioctl = dlsym(RTLD_NEXT, "ioctl");
}

static int open_camera(void) {
    struct itimerspec every = {{0, 100000000}, {0, 100000000}};
    lock = real_open(getenv("CAMERA"), O_RDONLY);
    if (lock < 0)
        return -1;
    camera = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    timerfd_settime(camera, 0, &every, NULL);
    return camera;
}

#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t mode = va_arg(rest, mode_t);                         \
        va_end(rest);                                               \
        const char *ours = getenv("CAMERA");                        \
        if (ours && strcmp(path, ours) == 0)                        \
            return open_camera();                                   \
        return real_open(path, flags, mode);                        \
    }
OPEN(open)
OPEN(open64)

static void *map(void *at, size_t size, int access, int flags, int file, off_t offset) {
    if (file == -1 || file != camera)
        return real_mmap(at, size, access, flags, file, offset);
    return buffers[offset / BYTES] = real_mmap(at, BYTES, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
void *mmap(void *at, size_t size, int access, int flags, int file, off_t offset) {
    return map(at, size, access, flags, file, offset);
}
void *mmap64(void *at, size_t size, int access, int flags, int file, off_t offset) {
    return map(at, size, access, flags, file, offset);
}

static int next_picture(struct v4l2_buffer *buffer) {
    uint64_t ticks;
    if (access(getenv("CAMERA"), F_OK) != 0) { /* pulled out */
        errno = ENODEV;
        return -1;
    }
    if (first == last || read(camera, &ticks, sizeof ticks) < 0) {
        errno = EAGAIN;
        return -1;
    }
    char name[4096];
    snprintf(name, sizeof name, "%s/%u.jpg", getenv("PICTURES"), shown);
    int file = real_open(name, O_RDONLY);
    if (file < 0) {
        shown = 0;
        snprintf(name, sizeof name, "%s/0.jpg", getenv("PICTURES"));
        file = real_open(name, O_RDONLY);
    }
    shown++;
    buffer->index = queued[first++ % BUFFERS];
    ssize_t size = read(file, buffers[buffer->index], BYTES);
    close(file);
    buffer->bytesused = size < 0 ? 0 : size;
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    return 0;
}

int ioctl(int file, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (file == -1 || file != camera)
        return real_ioctl(file, request, argument);
    switch ((uint32_t)request) { /* some pass a number with a sign */
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *can = argument;
        memset(can, 0, sizeof *can);
        strcpy((char *)can->driver, "pictures");
        strcpy((char *)can->card, "Pictures");
        can->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_DEVICE_CAPS;
        can->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    }
    case VIDIOC_S_FMT:
    case VIDIOC_G_FMT: {
        struct v4l2_format *format = argument;
        if ((uint32_t)request == VIDIOC_S_FMT && flock(lock, LOCK_EX | LOCK_NB) != 0) {
            errno = EBUSY;
            return -1;
        }
        memset(&format->fmt, 0, sizeof format->fmt);
        format->fmt.pix.width = 640;
        format->fmt.pix.height = 480;
        format->fmt.pix.pixelformat = V4L2_PIX_FMT_MJPEG;
        format->fmt.pix.sizeimage = BYTES;
        format->fmt.pix.field = V4L2_FIELD_NONE;
        return 0;
    }
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_streamparm *parameters = argument;
        parameters->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
        parameters->parm.capture.timeperframe.numerator = 1;
        parameters->parm.capture.timeperframe.denominator = 10;
        return 0;
    }
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *wanted = argument;
        first = last = 0;
        if (wanted->count > BUFFERS)
            wanted->count = BUFFERS;
        return 0;
    }
    case VIDIOC_QUERYBUF: {
        struct v4l2_buffer *buffer = argument;
        buffer->length = BYTES;
        buffer->m.offset = buffer->index * BYTES;
        return 0;
    }
    case VIDIOC_QBUF:
        queued[last++ % BUFFERS] = ((struct v4l2_buffer *)argument)->index;
        return 0;
    case VIDIOC_DQBUF:
        return next_picture(argument);
    case VIDIOC_S_INPUT:
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        return 0;
    default:
        errno = ENOTTY;
        return -1;
    }
}
