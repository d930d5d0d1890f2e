/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the kernel and libbpf give to a program. Headers of the C library stay out: they are another machine's. */
#ifndef PLUMBLINE_KERNEL_H
#define PLUMBLINE_KERNEL_H

#if !__has_include(<linux/bpf.h>) || !__has_include(<asm/types.h>)
#error "the kernel's headers are missing; on Debian: sudo apt-get install linux-libc-dev"
#endif
#if !__has_include(<bpf/bpf_helpers.h>)
#error "libbpf's headers are missing; on Debian: sudo apt-get install libbpf-dev"
#endif

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef _Bool bool;
#define true 1
#define false 0

#define NANOSECONDS 1000000000ULL

#endif
